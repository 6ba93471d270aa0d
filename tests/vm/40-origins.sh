# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Every kind of device, by the same proof: a stamped load, a take in its middle, a second take, the true difference.

t_origin_disk() { # long
    check_origin "$(node $A)"
}

partitions() {
    printf 'label: gpt\nsize=14MiB\nsize=14MiB\n' | partitioned $A
    within 3 test -b "$(node $A)2"
}

t_origin_partition() { # long
    partitions
    check_origin "$(node $A)2"
}

t_origin_disk_written_through_its_partition() { # long
    partitions
    check_origin "$(node $A)" "$(node $A)1"
}

t_origin_partition_written_through_the_disk() { # long
    local a old && a=$(node $A)
    partitions
    snapshot $STORE -- "${a}2"
    copy "${a}2" $W/copy
    # The second partition begins at 15 MiB.
    same "$(cat "/sys/class/block/$(basename "$a")2/start")" $((15 * 2048)) "the start of the partition"
    dd if=/dev/urandom of="$a" bs=64k seek=$((16 * 16)) count=64 oflag=direct conv=notrunc status=none
    cmp "${IMAGE[0]}" $W/copy
    drop
    cmp -s "${a}2" $W/copy && fail "the write did not reach the partition"
    within 10 stored "${a}2"
    old=$(counter "${a}2" store_bytes)
    # Beside the partition: costs nothing.
    dd if=/dev/urandom of="$a" bs=64k seek=$((4 * 16)) count=16 oflag=direct conv=notrunc status=none
    same "$(counter "${a}2" store_bytes)" "$old" "bytes stored for a write beside the partition"
}

t_origin_dm_linear() { # long
    printf '0 16384 linear %s 0\n16384 16384 linear %s 2048\n' "$A" "$B" | dmsetup create joined
    udevadm settle
    check_origin /dev/mapper/joined
}

t_origin_md_raid1() { # long
    modprobe raid1 || skip "no raid1"
    mdadm --create /dev/md7 --quiet --run --assume-clean --metadata=1.2 --level=1 --raid-devices=2 --size=16M "$(node $A)" "$(node $B)" >/dev/null 2>&1
    udevadm settle
    check_origin /dev/md7
}

t_origin_md_raid5() { # long
    modprobe raid456 || skip "no raid456"
    local i loops=()
    for i in 1 2 3; do
        truncate -s 9M "$W/leg$i"
        loops+=("$(losetup -f --show "$W/leg$i")")
    done
    mdadm --create /dev/md7 --quiet --run --assume-clean --metadata=1.2 --level=5 --raid-devices=3 "${loops[@]}" >/dev/null 2>&1
    udevadm settle
    check_origin /dev/md7
    # All of it must be off the loop devices before they go.
    within 10 mdadm --stop --quiet /dev/md7
}

t_origin_dm_crypt() { # long
    local key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
    modprobe dm-crypt || skip "no dm-crypt"
    dmsetup create secret --table "0 32768 crypt aes-xts-plain64 $key 0 $A 0"
    udevadm settle
    check_origin "$(node /dev/mapper/secret)"
}

t_origin_dm_thin() { # long
    local i
    modprobe dm-thin-pool || skip "no dm-thin"
    dmsetup create pool --table "0 65536 thin-pool $B $A 128 0 1 skip_block_zeroing"
    dmsetup message pool 0 "create_thin 0"
    dmsetup create thin --table "0 32768 thin /dev/mapper/pool 0"
    udevadm settle
    check_origin "$(node /dev/mapper/thin)"
    for i in thin pool; do dmsetup remove --retry $i; done
}

t_origin_zram() { # long
    modprobe zram num_devices=1 || skip "no zram"
    within 5 test -b /dev/zram0
    echo 16M >/sys/block/zram0/disksize
    check_origin /dev/zram0
}

t_origin_scsi_disk() { # long
    scsi_disk 16 && check_origin "$DISK"
}

t_origin_nvme() { # long
    modprobe nvme || skip "no nvme"
    within 10 test -b /dev/nvme0n1
    check_origin /dev/nvme0n1
}

t_origin_bcache() { # long
    modprobe bcache || skip "no bcache"
    local i
    trap bcache_off EXIT
    # A write to them while udev still looks at one of before is not seen.
    udevadm settle
    make-bcache -B "$(node $A)" -C "$(node $C)" --writeback --block 512 --bucket 64k >/dev/null
    # udev registers both, and each finds the other.
    within 10 eval 'ls /sys/fs/bcache/*-*/bdev0 && [ -b /dev/bcache0 ]'
    for i in $A $C; do errno EBUSY snapc attach "$(node $i)"; done
    grep -q '\[writeback\]' /sys/block/bcache0/bcache/cache_mode || fail "no cache of writes"
    check_origin /dev/bcache0
}

t_origin_loop() { # long
    local loop
    truncate -s 16M $W/file
    loop=$(losetup -f --show $W/file)
    check_origin "$loop"
}

t_origin_brd() { # long
    modprobe brd rd_nr=1 rd_size=16384 || skip "no brd"
    within 3 test -b /dev/ram0
    dd if=/dev/zero of=/dev/ram0 bs=1M count=16 oflag=direct status=none
    check_origin /dev/ram0
}

t_origin_null_blk() { # long
    local i
    modprobe null_blk nr_devices=0 || skip "no null_blk"
    mount -t configfs none /sys/kernel/config 2>/dev/null || true
    mkdir /sys/kernel/config/nullb/nullb0
    for i in size=16 memory_backed=1 blocksize=4096 discard=1 power=1; do echo "${i#*=}" >"/sys/kernel/config/nullb/nullb0/${i%=*}"; done
    within 5 test -b /dev/nullb0
    check_origin /dev/nullb0
    rmdir /sys/kernel/config/nullb/nullb0
}

t_zoned_disk_is_refused() {
    modprobe null_blk nr_devices=1 gb=1 zoned=1 || skip "no null_blk"
    within 5 test -b /dev/nullb0
    errno EOPNOTSUPP snapc attach /dev/nullb0
    logged 'zoned devices are not supported' || fail "the log does not say why"
}

t_dax_disk_is_refused() {
    modprobe -a nd_e820 nd_pmem 2>/dev/null || skip "no memory as a disk"
    within 5 test -b /dev/pmem0
    same "$(cat /sys/block/pmem0/queue/dax)" 1 "whether it can be mapped"
    errno EOPNOTSUPP snapc attach /dev/pmem0
    logged 'memory mappings (DAX)' || fail "the log does not say why"
}

# A part of a device and the device itself, both tracked: what is written through the upper one is in both images as of the take.
t_leg_by_force() { # long
    local a && a=$(node $A)
    blkdiscard -z $A
    dmsetup create upper --minor 200 --major "$(sed -n 's/ device-mapper$//p' /proc/devices)" --table "0 65536 linear $a 0"
    ! blksnap attach $a 2>$W/said || fail "attached without being told to"
    grep -q 'blksnap attach --force' $W/said || fail "it does not say what to do: $(<$W/said)"
    blksnap attach /dev/mapper/upper
    blksnap attach --force $a 2>$W/said
    grep -q 'warning: .* is a part of dm-' $W/said || fail "no warning: $(<$W/said)"
    logged 'is a part of an active device' || fail "nothing in the log"
    load /dev/mapper/upper $W/a.journal
    more_writes $W/a.journal
    snapshot memory -- $a /dev/mapper/upper
    more_writes $W/a.journal
    stop_loads
    copy "${IMAGE[0]}" $W/leg
    copy "${IMAGE[1]}" $W/upper
    stamp prove $W/upper:$W/a.journal --after "$BEFORE" --before "$AFTER"
    stamp prove $W/leg:$W/a.journal --after "$BEFORE" --before "$AFTER"
    cmp $W/upper $W/leg
}

# Multipath with a request queue puts requests into its paths' queues: there is nothing to be seen of them, so that no force helps.
t_leg_of_multipath() { # long
    local a && a=$(node $A)
    modprobe dm-multipath || true
    dmsetup targets | grep '^multipath' || skip "no multipath of device-mapper"
    blkdiscard -z $A
    printf '0 65536 multipath 2 queue_mode mq 0 1 1 round-robin 0 1 1 %s 1\n' $a | dmsetup create paths
    errno EBUSY snapc attach $a
    ! blksnap attach --force $a 2>$W/said || fail "attached"
    grep -q 'dm-.* sends it requests' $W/said || fail "it does not say why: $(<$W/said)"
    logged 'multipath device sends it requests' || fail "nothing in the log"
    snapshot memory -- /dev/mapper/paths
    dd if=/dev/urandom of=/dev/mapper/paths bs=64k count=4 oflag=direct status=none
    cmp -n $((1 << 20)) "$IMAGES" /dev/zero
    destroy
    snapc detach "$(node /dev/mapper/paths)"
    dmsetup remove --retry paths
    snapc attach $a
}

t_leg_is_refused() {
    printf '0 %d linear %s 0\n' 65536 "$(node $A)" | dmsetup create upper
    errno EBUSY snapc attach "$(node $A)"
    logged 'cannot attach to vd.*: an active device' || fail "the log does not say why"
    dmsetup remove --retry upper
    snapc attach "$(node $A)"
}
