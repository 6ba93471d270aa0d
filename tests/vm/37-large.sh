# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Many devices, a very large one, and writes that do not want to wait.

t_64_devices_in_one_snapshot() { # long
    local i text
    modprobe brd rd_nr=64 rd_size=512
    within 5 test -b /dev/ram63
    ID=$(snapc open2 memory)
    for i in $(seq 0 63); do echo "device $i" >/dev/ram$i; done
    sync
    snapc addall "$ID" /dev/ram?{,?}
    snapc take "$ID"
    for i in $(seq 0 63); do echo "changed!!!" >/dev/ram$i; done
    sync
    snapc members "$ID" >$W/members
    same "$(wc -l <$W/members)" 64 members
    while read -r i error name _; do
        same "$error" 0 "the error of device $i"
        read -r text <"/dev/$name"
        same "$text" "device ${i#*:}" "the image of device $i"
    done <$W/members
    note "$(snapc stat "$ID" | grep gate_ns)"
    destroy
}

# vast SECTORS: a thin device of that size, /dev/mapper/vast, in a pool of 320 MiB.
vast() {
    modprobe dm-thin-pool || skip "no dm-thin"
    dd if=/dev/zero of=$D bs=4k count=1 oflag=direct conv=notrunc status=none
    dmsetup create pool --table "0 $((320 << 11)) thin-pool $(node $D) $(node $C) 2048 0 1 skip_block_zeroing"
    dmsetup message pool 0 "create_thin 0"
    dmsetup create vast --table "0 $1 thin /dev/mapper/pool 0"
    within 5 test -b /dev/mapper/vast
}

# 16 TiB, of which there is what is written.
t_16_tib() { # long
    local memory before saved
    vast $((16 << 31))
    snapc attach /dev/mapper/vast
    snapshot memory $((64 << 20)) -- /dev/mapper/vast
    memory=$(snapc stat "$ID" | value memory)
    note "idle: $((memory >> 10)) KiB"
    [ "$memory" -le $((16 * (32 << 20))) ] || fail "an idle snapshot takes $memory bytes"
    memory=$(snapc cbtmemory /dev/mapper/vast)
    [ "$memory" -le $((16 * (16 << 20))) ] || fail "tracking takes $memory bytes"
    blksnap snapshot info "$ID" --json >$W/info
    same "$(jq .tracking_memory_bytes $W/info) $(jq .memory_bytes $W/info)" "$memory $(snapc stat "$ID" | value memory)" "what the command tells of it"
    before=$(counter /dev/mapper/vast memory)
    fio --name=sparse --filename=/dev/mapper/vast --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --size=128m --io_size=16m \
        --norandommap --randseed=3 >/dev/null
    saved=$(counter /dev/mapper/vast saved_blocks)
    memory=$(($(counter /dev/mapper/vast memory) - before))
    note "$saved blocks saved: $memory bytes"
    # Beside a bit per block of the part that was written.
    [ $((memory - (128 << 20) / 4096 / 8)) -le $((saved * 32)) ] || fail "$saved saved blocks take $memory bytes"
    dd if="${IMAGE[0]}" of=$W/image bs=1M count=4 skip=$((8 << 20)) iflag=direct status=none
    cmp -n $((4 << 20)) $W/image /dev/zero
}

# A discard of a TiB takes no memory, and the image stays what it was.
t_discard_of_a_tib() { # long
    local memory
    vast $((1 << 31))
    stamp load "$(node /dev/mapper/vast)" --direct --journal $W/1.journal --seconds 0.3 --range 16777216
    copy /dev/mapper/vast $W/copy 16
    snapshot memory $((64 << 20)) -- /dev/mapper/vast
    stamp load "$(node /dev/mapper/vast)" --direct --journal $W/2.journal --seconds 0.3 --seed 2 --range 8388608
    memory=$(snapc stat "$ID" | value memory)
    blkdiscard /dev/mapper/vast
    memory=$(($(snapc stat "$ID" | value memory) - memory))
    note "$((memory >> 10)) KiB more"
    [ $memory -le $((1 << 20)) ] || fail "$memory bytes more after a discard of a TiB"
    cmp -n 16777216 "${IMAGE[0]}" $W/copy
}

# Writes that ask not to wait are parked, not refused.
t_nowait_writes_are_parked() { # long
    copy $A $W/copy
    snapshot memory -- $A
    uncached $A
    fio --name=nowait --filename="$(node $A)" --direct=1 --ioengine=io_uring --nowait=1 --iodepth=32 --rw=randwrite --bs=4k --size=32m \
        --io_size=8m --randseed=5 --output-format=json >$W/fio.json 2>$W/fio.err || fail "fio: $(cat $W/fio.err)"
    grep -q '"error" : 0' $W/fio.json || fail "$(grep '"error"' $W/fio.json)"
    [ "$(counter $A held)" -gt 0 ] || fail "no write was held"
    cmp "${IMAGE[0]}" $W/copy
}

# mounted MKFS OPTIONS: an image is written beside its mounted origin, which is written as well.
mounted() {
    local i
    $1 "$(node $C)"
    mkdir -p $W/origin $W/image
    mount "$(node $C)" $W/origin
    for i in $(seq 20); do head -c 60000 /dev/urandom >$W/origin/file$i; done
    (cd $W/origin && md5sum file*) >$W/sums
    sync -f $W/origin
    snapshot memory -- "$(node $C)"
    [ "$1" != "mkfs.btrfs -q -f" ] || btrfstune -f -m "${IMAGE[0]}" >/dev/null
    mount -o "$2" "${IMAGE[0]}" $W/image
    for i in $(seq 20); do
        head -c 60000 /dev/urandom >$W/origin/file$i
        head -c 90000 /dev/urandom >$W/image/new$i
        rm $W/image/file$i
    done
    (cd $W/image && md5sum new*) >$W/new-sums
    (cd $W/origin && md5sum file*) >$W/origin-sums
    umount $W/image
    drop
    mount -o "$2" "${IMAGE[0]}" $W/image
    (cd $W/image && md5sum --quiet -c $W/new-sums)
    [ ! -e $W/image/file1 ] || fail "a file that was removed is there"
    umount $W/image
    umount $W/origin
    mount "$(node $C)" $W/origin
    (cd $W/origin && md5sum --quiet -c $W/origin-sums)
    [ ! -e $W/origin/new1 ] || fail "a file of the image is in the origin"
    umount $W/origin
}

t_image_of_ext4_written_beside_its_origin() { # long
    mounted "mkfs.ext4 -q -F" rw
}

t_image_of_xfs_written_beside_its_origin() { # long
    mounted "mkfs.xfs -q -f" nouuid
}

t_image_of_btrfs_written_beside_its_origin() { # long
    modprobe btrfs || skip "no btrfs"
    mounted "mkfs.btrfs -q -f" rw
}

t_consumers_keep_their_bases() { # long
    local device
    device=$(node $A)
    snapc attach "$device"
    errno ENOENT snapc consumer "$device" get nightly
    snapc takes "$device" 3
    snapc consumer "$device" set nightly 2
    snapc consumer "$device" set weekly 1
    errno ERANGE snapc consumer "$device" set weekly 4
    same "$(snapc consumer "$device" get nightly)" "nightly 2"
    same "$({ snapc consumer "$device" list 0; snapc consumer "$device" list 1; } | sort | tr '\n' ' ')" "nightly 2 weekly 1 "
    errno ENOENT snapc consumer "$device" list 2
    snapc consumer "$device" remove nightly
    errno ENOENT snapc consumer "$device" remove nightly
}
