# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Difference storage: on the snapshotted file system itself, several together, full, given up.

# check_own_store MKFS OPTIONS-OF-THE-IMAGE CHECKER…: the store is a file of the file system that is in the snapshot.
check_own_store() {
    local mkfs=$1 options=$2 device i pid name
    shift 2
    device=$(node $C)
    $mkfs "$device"
    mkdir -p $W/origin $W/image
    mount "$device" $W/origin
    for i in $(seq 30); do head -c $((RANDOM * 8)) /dev/urandom >$W/origin/file$i; done
    (cd $W/origin && md5sum file*) >$W/sums
    fallocate -l 64M $W/origin/store
    snapc attach "$device"
    ID=$(snapc open2 extents:$W/origin/store)
    snapc add "$device" "$ID"
    ( i=0; while :; do
        i=$((i + 1))
        head -c 200000 /dev/urandom >"$W/origin/noise$((i % 9))" 2>/dev/null || exit 0
        [ $((i % 5)) = 0 ] && rm -f "$W/origin/noise$((i % 3))"
    done ) &
    pid=$!
    within 10 test -e $W/origin/noise8
    snapc take "$ID"
    for i in $(seq 30); do head -c $((RANDOM * 8)) /dev/urandom >$W/origin/file$i; done
    sync -f $W/origin
    within 10 eval '[ "$(snapc stat "$ID" | value used)" -gt 0 ]'
    rm -f $W/origin/store 2>/dev/null && fail "the file could be removed"
    read -r _ name < <(snapc info "$device")
    mount -o "$options" "/dev/$name" $W/image
    (cd $W/image && md5sum --quiet -c $W/sums)
    cmp -n $((64 << 20)) $W/image/store /dev/zero
    umount $W/image
    "$@" "/dev/$name"
    kill $pid
    wait $pid 2>/dev/null || true
    destroy
    within 10 rm $W/origin/store
    within 10 umount $W/origin
    "$@" "$device"
    snapc detach "$device"
}

t_store_on_the_snapshotted_ext4() { # long
    check_own_store "mkfs.ext4 -q -F" rw e2fsck -fn
}

t_store_on_the_snapshotted_xfs() { # long
    check_own_store "mkfs.xfs -q -f" rw,nouuid xfs_repair -n
}

# The whole disk is in the snapshot, the file system on one of its partitions: the same sectors.
t_store_on_a_partition_of_the_disk() { # long
    local part name
    printf 'label: gpt\nsize=100MiB\n' | partitioned $C
    part=$(node $C)1
    within 3 test -b "$part"
    mkfs.ext4 -q -F "$part"
    mkdir -p $W/origin
    mount "$part" $W/origin
    head -c 3000000 /dev/urandom >$W/origin/file
    md5sum <$W/origin/file >$W/sum
    fallocate -l 16M $W/origin/store
    snapc attach "$(node $C)"
    ID=$(snapc open2 extents:$W/origin/store)
    snapc add "$(node $C)" "$ID"
    snapc take "$ID"
    head -c 3000000 /dev/urandom >$W/origin/file
    sync -f $W/origin
    within 10 eval '[ "$(snapc stat "$ID" | value used)" -gt 0 ]'
    read -r _ name < <(snapc info "$(node $C)")
    losetup -r -o $((2048 * 512)) /dev/loop7 "/dev/$name"
    mkdir -p $W/image
    mount -o ro,noload /dev/loop7 $W/image
    md5sum <$W/image/file | cmp - $W/sum
    umount $W/image
    losetup -d /dev/loop7
    destroy
}

# Each take tells that the blocks of the store have changed, as they read as zeros then.
t_store_of_extents_is_in_the_changes() { # long
    local device image2
    device=$(node $A)
    mkfs.ext4 -q -F "$device"
    mkdir -p $W/origin
    mount "$device" $W/origin
    dd if=/dev/urandom of=$W/origin/junk bs=1M count=20 status=none
    sync -f $W/origin
    snapc attach "$device"
    rm $W/origin/junk
    sync -f $W/origin
    snapshot memory -- "$device"
    copy "${IMAGE[0]}" $W/image1
    destroy
    fallocate -l 16M $W/origin/store
    ID=$(snapc open2 extents:$W/origin/store)
    snapc add "$device" "$ID"
    snapc take "$ID"
    image2=$(image "$device")
    snapc cbtmap "$device" >$W/map
    # Blocks of the store that held zeros before are told as well.
    stamp delta $W/image1 "$image2" --map $W/map --base 1 >$W/delta 2>&1 || true
    grep -q ' 0 missed' $W/delta || fail "$(cat $W/delta)"
    destroy
}

t_store_of_extents_is_refused_with_a_reason() { # long
    modprobe btrfs || skip "no btrfs"
    mkfs.btrfs -q -f $C
    mkdir -p $W/origin
    mount $C $W/origin
    fallocate -l 8M $W/origin/store
    errno EOPNOTSUPP snapc open2 extents:$W/origin/store
    umount $W/origin
    mkfs.ext4 -q -F $C
    mount $C $W/origin
    truncate -s 8M $W/origin/store
    errno EINVAL snapc open2 extents:$W/origin/store
    rm $W/origin/store
    fallocate -l 8M $W/origin/store
    ID=$(snapc open2 extents:$W/origin/store)
    errno EBUSY snapc open2 extents:$W/origin/store
    destroy
    # While the device is in a taken snapshot, its blocks may be needed.
    snapshot memory -- $C
    errno EBUSY snapc open2 extents:$W/origin/store
}

t_store_added_when_the_first_is_nearly_full() { # long
    copy $A $W/copy
    ID=$(snapc open2 memory $((2 << 20)))
    snapc attach "$(node $A)"
    snapc add "$(node $A)" "$ID"
    snapc take "$ID"
    errno ENOENT snapc wait "$ID" 10
    dd if=/dev/urandom of=$A bs=64k count=30 oflag=direct conv=notrunc status=none
    # The bytes are stored a moment after the writes: the event tells.
    same "$(snapc wait "$ID" 10000)" code=64 "the event"
    mkfs.ext4 -q -F $D
    mkdir -p $W/d
    mount $D $W/d
    truncate -s 0 $W/d/store
    snapc addstore "$ID" $W/d/store
    dd if=/dev/urandom of=$A bs=64k count=400 seek=32 oflag=direct conv=notrunc status=none
    cmp "$(image $A)" $W/copy
    snapc addstore "$ID" memory $((16 << 20))
    [ "$(snapc stat "$ID" | value capacity)" -gt $((18 << 20)) ] || fail "capacity: $(snapc stat "$ID")"
    destroy
    within 10 umount $W/d
}

# stuck POLICY: a snapshot of $A, its store on a device that does nothing; then 2048 writes at once, 8 MiB in all, in the background, by $WRITER.
stuck() {
    modprobe dm-mod
    dmsetup create store --table "0 $(blockdev --getsz $D) linear $(node $D) 0"
    ID=$(POLICY=$1 POOL_KIB=1024 snapc open2 /dev/mapper/store)
    snapc attach "$(node $A)"
    snapc add "$(node $A)" "$ID"
    snapc take "$ID"
    copy $A $W/copy
    dmsetup suspend --nolockfs --noflush store
    fio --name=many --filename="$(node $A)" --direct=1 --ioengine=libaio --iodepth=2048 --rw=randwrite --bs=4k --size=8m >/dev/null &
    WRITER=$!
}

# Blocks of 4 KiB that were written to a disk.
written_blocks() {
    local stat
    read -r -a stat <"/sys/block/${1#/dev/}/stat"
    echo $((stat[6] / 8))
}

t_policy_holds_writers() { # long
    local waits before after longest
    before=$(written_blocks $A)
    stuck 0
    within 5 eval '[ "$(counter $A pool_bytes)" -ge $((1000 << 10)) ]'
    # All are there: each found room, or a block that was copied ahead, and is written; or waits.
    within 5 eval '[ $(($(counter $A pool_waits) + $(written_blocks $A) - before)) -ge 2048 ]'
    kill -0 $WRITER || fail "the writer was not held"
    same "$(counter $A pool_limit)" $((1 << 20)) "the bound of the memory for copies"
    [ "$(counter $A pool_bytes)" -le $((1 << 20)) ] || fail "$(counter $A pool_bytes) bytes of copies"
    # Each is of a block of its own, so that no more than the pool has found room. They wait, and nothing happens meanwhile.
    waits=$(counter $A pool_waits) before=$(counter $A pool_wait_ns)
    [ "$waits" -ge 1792 ] || fail "$waits writes waited at the bound"
    within 5 eval '[ "$(counter $A pool_wait_ns)" -gt $((before + waits * 1000000)) ]'
    dmsetup resume store
    wait $WRITER
    after=$(counter $A pool_wait_ns) longest=$(counter $A pool_wait_longest_ns)
    note "$waits writes waited $((after / 1000000)) ms together, the longest $((longest / 1000000)) ms"
    [ $((longest * waits)) -ge "$after" ] || fail "the longest wait, $longest ns, is less than the mean"
    blksnap snapshot info >$W/info
    grep -q "^waited    $waits writes at that bound, " $W/info || fail "$(<$W/info)"
    blksnap status --metrics | grep -qE "^blksnap_image_pool_wait_seconds_total.* [0-9.]+$" || fail "no metric of it"
    # Nobody waits any more.
    same "$(counter $A pool_waits) $(counter $A pool_wait_ns)" "$waits $after" "waits, and their nanoseconds"
    cmp "$(image $A)" $W/copy
    destroy
    dmsetup remove --retry store
}

t_policy_gives_up() { # long
    local error
    stuck 1
    wait $WRITER
    same "$(counter $A pool_waits)" 0 "writes that waited at the bound"
    read -r error _ < <(snapc info "$(node $A)")
    same "$error" -28 "the snapshot's error"
    dmsetup resume store
    destroy
    dmsetup remove --retry store
}

# The file system that has the storage of an older snapshot is frozen after the device which that one copies, whose dirty data must be stored.
t_store_on_a_device_that_is_taken_later() { # long
    local first second
    mkdir -p $W/c $W/d
    mkfs.ext4 -q -F $C
    mkfs.ext4 -q -F $D
    mount $C $W/c
    mount $D $W/d
    truncate -s 0 $W/c/store
    snapc attach "$(node $C)"
    snapc attach "$(node $D)"
    first=$(POOL_KIB=256 snapc open2 $W/c/store $((64 << 20)))
    snapc join "$(node $D)" "$first"
    snapc take "$first"
    second=$(snapc open2 memory)
    snapc join "$(node $C)" "$second"
    snapc join "$(node $D)" "$second"
    dd if=/dev/zero of=$W/d/file bs=1M count=16 status=none
    snapc take "$second" &
    within 30 eval "! kill -0 $!"
    wait $!
    same "$(snapc stat "$first" | value state)" 1 "the state of the first"
    destroy "$first"
    destroy "$second"
    within 10 umount $W/c
    within 10 umount $W/d
}

# An image's blocks are of 512 bytes; what it needs lies with a newer snapshot, on a disk of larger blocks.
t_store_of_larger_blocks_than_the_image() { # long
    local first name disk
    modprobe scsi_debug dev_size_mb=16 delay=0 sector_size=4096 || skip "no scsi_debug"
    within 10 eval 'ls /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*/size'
    disk=(/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*)
    disk=/dev/${disk[0]##*/}
    within 10 test -b "$disk"
    head -c 64k /dev/urandom >$W/old
    dd if=$W/old of=$A bs=64k seek=1 oflag=direct conv=notrunc status=none
    snapc attach "$(node $A)"
    first=$(snapc open2 memory)
    snapc join "$(node $A)" "$first"
    snapc take "$first"
    ID=$(snapc open2 "$disk")
    snapc join "$(node $A)" "$ID"
    snapc take "$ID"
    dd if=/dev/urandom of=$A bs=64k count=1 seek=1 oflag=direct conv=notrunc status=none
    within 5 eval '[ "$(snapc stat "$ID" | value used)" = 65536 ]'
    read -r _ name < <(snapc info "$(node $A)" "$first")
    within 5 test -b "/dev/$name"
    dd if="/dev/$name" bs=512 skip=128 count=128 iflag=direct status=none | cmp - $W/old
    dd if="/dev/$name" bs=1536 iflag=direct,skip_bytes skip=$((65536 + 512)) count=1 status=none | cmp - <(tail -c +513 $W/old | head -c 1536)
    destroy "$first"
    destroy
}

# The file was written through the journal, which writes the blocks again later.
t_store_in_a_file_of_journalled_data() { # long
    local device name
    device=$(node $C)
    mkfs.ext4 -q -F -E lazy_itable_init=0 "$device"
    mkdir -p $W/origin
    mount -o data=journal "$device" $W/origin
    dd if=/dev/urandom of=$W/origin/data bs=1M count=2 status=none
    sync -f $W/origin
    dd if=/dev/urandom of=$W/origin/store bs=1M count=48 status=none
    snapc attach "$device"
    ID=$(snapc open2 extents:$W/origin/store)
    snapc add "$device" "$ID"
    snapc take "$ID"
    read -r _ name < <(snapc info "$device")
    within 5 test -b "/dev/$name"
    md5sum <$W/origin/data >$W/sum
    dd if=/dev/urandom of=$W/origin/data bs=1M count=2 conv=notrunc status=none
    sync -f $W/origin
    mkdir -p $W/image
    mount -o ro,noload "/dev/$name" $W/image
    md5sum <$W/image/data | cmp - $W/sum
    umount $W/image
    destroy
    within 10 umount $W/origin
}

# What a storage that grows has no room for yet is not put into another snapshot's.
t_store_of_another_snapshot_is_not_used_while_the_own_one_grows() { # long
    local first portion=/sys/module/blksnap/parameters/diff_storage_minimum before
    read -r before <$portion
    mkfs.ext4 -q -F $D
    mkdir -p $W/d
    mount $D $W/d
    truncate -s 0 $W/d/store
    snapc attach "$(node $A)"
    first=$(snapc open2 memory)
    snapc join "$(node $A)" "$first"
    snapc take "$first"
    echo 256 >$portion
    ID=$(snapc open2 $W/d/store $((64 << 20)))
    echo "$before" >$portion
    snapc join "$(node $A)" "$ID"
    snapc take "$ID"
    dd if=/dev/urandom of=$A bs=1M count=16 oflag=direct conv=notrunc status=none
    within 10 stored $A
    same "$(snapc stat "$first" | value used)" 0 "bytes in the first one's storage"
    same "$(snapc stat "$ID" | value used)" $((16 << 20)) "bytes in its own"
    destroy "$first"
    destroy
    within 10 umount $W/d
}
