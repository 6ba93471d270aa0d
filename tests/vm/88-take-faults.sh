# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Origins and storages that fail, stand still or go away when the take begins or in the middle of it; 85-faults.sh has an origin that stands
# still. After each: the take says why it failed, or the image is right or EIO; the origin holds what was written to it. And a mounted
# file system above storages that fail later.

# What $ID's take came to, with its error in $W/error: true when it was taken.
taken() {
    if snapc take "$ID" 2>$W/error; then return 0; fi
    note "not taken: $(<$W/error)"
    grep -qE '^(EIO|ENODEV|ENXIO|ETIMEDOUT|ENOSPC|ESTALE)$' $W/error || fail "the error: $(<$W/error)"
    return 1
}

# broken_store STORE BREAK…: a storage is broken between the opening of the snapshot and its take.
broken_store() {
    local store=$1 && shift
    begin $A
    ID=$(snapc open "$store")
    snapc attach $A
    snapc add $A "$ID"
    "$@"
    IMAGE=
    if taken; then IMAGE=$(image $A); fi
    more $A 2 0.2 --range 4194304
    if [ -n "$IMAGE" ]; then
        judged "$IMAGE"
        note "taken; $RIGHT blocks right, $EIO lost"
    fi
}

t_fault_store_fails_at_the_take() { # long
    local frail && frail=$(frail frail $B)
    broken_store "$frail" turn frail "0 32768 error"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

t_fault_store_stuck_at_the_take() { # long
    local frail && frail=$(frail frail $B)
    broken_store "$frail" dmsetup suspend frail --nolockfs
    [ -n "$IMAGE" ] || fail "not taken"
    same "$EIO" 0 "blocks of the image that cannot be read"
    dmsetup resume frail
    judged "$IMAGE"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

vanish() { echo 1 >"/sys/block/${1#/dev/}/device/delete"; }

t_fault_store_vanishes_at_the_take() { # long
    scsi_disk 16
    broken_store "$DISK" vanish "$DISK"
    timeout $((10 * ${SLOWER:-1})) snapc destroy "$ID"
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

# The file system has something to write when it is frozen, and its device fails.
t_fault_origin_fails_at_the_take() { # long
    local frail && frail=$(frail_fs frail $A)
    sync -f $W/frail
    snapc attach "$frail"
    ID=$(snapc open memory)
    snapc add "$frail" "$ID"
    echo more >$W/frail/more
    turn frail "0 32768 error"
    if taken; then
        note "taken"
        timeout $((10 * ${SLOWER:-1})) dd if="$(image "$frail")" of=/dev/null bs=64k iflag=direct status=none 2>/dev/null && fail "the image read what cannot be read"
    fi
    destroy
    umount $W/frail
    turn frail "0 32768 linear $A 0"
    # What was not on the disk is lost, and nothing else; the next snapshot is as any.
    mount "$frail" $W/frail
    same "$(<$W/frail/something)" something "what was written before"
    snapshot memory -- "$frail"
    echo after >$W/frail/after
    sync -f $W/frail
    e2fsck -fn "${IMAGE[0]}"
    destroy
    umount $W/frail
    e2fsck -fn "$frail"
}

# A disk goes away while the take waits for a write to another one.
t_fault_origin_vanishes_in_the_take() { # long
    local raw writer pid && raw=$(frail raw $A)
    scsi_disk 16
    begin "$raw"
    ID=$(GATE_MS=600000 snapc open2 memory)
    snapc addall "$ID" "$raw" "$DISK"
    dmsetup suspend raw --nolockfs
    dd if=/dev/urandom of="$raw" bs=4k count=1 oflag=direct conv=notrunc status=none &
    writer=$!
    within 5 writing $writer
    snapc take "$ID" 2>$W/error &
    pid=$!
    # The gate is with a thread of its own.
    within 5 eval 'grep -qs drain /proc/[0-9]*/stack'
    vanish "$DISK"
    within 5 test ! -b "$DISK"
    dmsetup resume raw
    within 10 eval "! kill -0 $pid"
    wait $writer
    wait $pid && fail "a device that is gone is in a snapshot"
    note "not taken: $(<$W/error)"
    grep -qE '^(ENODEV|EIO)$' $W/error || fail "the error: $(<$W/error)"
    destroy
    begin "$raw"
    snapshot memory -- "$raw"
    more "$raw" 3 0.2
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    stamp prove "$raw:$W/1.journal:$W/3.journal" --foreign
}

# used N: somebody works in the mounted file system.
used() {
    dd if=/dev/urandom of=$W/fs/file$1 bs=64k count=16 status=none
    head -c 30000 /dev/urandom >$W/fs/file0
    [ "$1" = 1 ] || rm $W/fs/file$(($1 - 1))
    sync -f $W/fs
}

# whole: the file system on $A has what was written there, and nothing to repair.
whole() {
    (cd $W/fs && md5sum file* >$W/sums)
    umount $W/fs
    e2fsck -fn $A
    mount $A $W/fs
    (cd $W/fs && md5sum --quiet -c $W/sums)
}

# A mounted ext4 goes on above a storage that fails, one that goes away, and a holder that is killed.
t_fault_below_a_mounted_file_system() { # long
    local frail pid && frail=$(frail frail $B)
    mkfs.ext4 -q -F $A
    mkdir -p $W/fs
    mount $A $W/fs
    scsi_disk 16
    snapc attach $A
    ID=$(snapc open "$frail")
    snapc add $A "$ID"
    snapc take "$ID"
    used 1
    turn frail "0 32768 error"
    used 2
    within 5 failed $A
    destroy
    whole

    ID=$(snapc open "$DISK")
    snapc add $A "$ID"
    snapc take "$ID"
    used 3
    vanish "$DISK"
    used 4
    within 5 failed $A
    destroy
    whole

    snapc hold memory >$W/id &
    pid=$!
    within 5 test -s $W/id
    snapc add $A "$(<$W/id)"
    snapc take "$(<$W/id)"
    used 5
    kill -9 $pid
    used 6
    within 5 eval '[ "$(snapc collect)" = 0 ]'
    whole
    umount $W/fs
}

# filled NAME: somebody writes more into the mounted file system than the memory for copies has room for, in the background, by $FILLER; his
# writes are held, as the storage stands still.
filled() {
    dmsetup suspend frail --nolockfs
    { dd if=/dev/urandom of="$W/fs/$1" bs=64k count=64 conv=fsync status=none; } &
    FILLER=$!
    within 10 eval '[ "$(counter $A pool_waits)" -gt 0 ]'
    kill -0 $FILLER || fail "the file was written, and its storage stands still"
}

# A mounted ext4 above a storage that stands still: it waits at the bound of the memory for copies, until the storage goes on, or the snapshot is given up.
t_fault_store_stuck_below_a_mounted_file_system() { # long
    local frail pid timeout=/sys/module/blksnap/parameters/store_timeout_seconds before && frail=$(frail frail $B)
    read -r before <$timeout
    mkfs.ext4 -q -F -E lazy_itable_init=0 $A
    mkdir -p $W/fs
    mount $A $W/fs
    used 1
    # All of the device has been something, which is copied.
    dd if=/dev/urandom of=$W/fs/rest bs=64k count=64 conv=fsync status=none
    rm $W/fs/rest
    snapc attach $A
    ID=$(POOL_KIB=1024 snapc open2 "$frail")
    snapc add $A "$ID"
    snapc take "$ID"
    copy "$(image $A)" $W/copy
    filled more
    dmsetup resume frail
    wait $FILLER
    used 2
    judged "$(image $A)"
    same "$EIO" 0 "blocks of the image that cannot be read"
    e2fsck -fn "$(image $A)"
    destroy
    whole

    ID=$(POOL_KIB=1024 snapc open2 "$frail")
    snapc add $A "$ID"
    snapc take "$ID"
    filled again
    echo 1 >$timeout
    within 20 failed $A
    echo "$before" >$timeout
    wait $FILLER
    used 3
    # What is under way to the storage is waited for.
    destroy &
    pid=$!
    dmsetup resume frail
    wait $pid
    whole
    umount $W/fs
}
