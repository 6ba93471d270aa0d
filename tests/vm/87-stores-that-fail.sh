# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Difference storages failing, slow, stuck, full and going away; see 85-faults.sh.

# The store goes from good to failing while it is written to; the origin must not notice.
t_fault_store_fails_when_it_holds_something() { # long
    local frail error && frail=$(frail frail $B)
    begin $A
    snapshot "$frail" -- $A
    more $A 2 0.2 --range 4194304
    within 5 eval '[ "$(counter $A store_bytes)" -gt 0 ]'
    turn frail '0 32768 error'
    # What is stored cannot be read now, and what is not is right.
    judged "${IMAGE[0]}"
    more $A 3
    within 5 failed $A
    read -r error _ < <(snapc info $A)
    same "$error" -5 "the snapshot's error"
    judged "${IMAGE[0]}"
    same "$RIGHT" 0 "blocks that the image of a failed snapshot gives"
    destroy
    stamp prove "$A:$W/1.journal:$W/2.journal:$W/3.journal" --foreign
}

t_fault_store_slow() { # long
    local frail && frail=$(frail frail $B)
    begin $A
    turn frail "0 32768 delay $B 0 50"
    snapshot "$frail" -- $A
    more $A 2 0.5 --range 8388608
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

# Reads that a device has served.
served() { local count && read -r count _ <"/sys/block/${1#/dev/}/stat" && echo "$count"; }

# A snapshot of $A whose first 512 KiB were overwritten, all of it in the storage and nothing more in memory.
overwritten() {
    begin $A
    snapshot "$1" -- $A
    more $A 2 0.2 --range 524288
    within 5 stored $A
    [ "$(counter $A store_bytes)" -gt 0 ] || fail "nothing was stored"
}

t_fault_store_slow_under_the_image_read() { # long
    local before frail && frail=$(frail frail $B)
    overwritten "$frail"
    turn frail "0 32768 delay $B 0 5 $B 0 0"
    before=$(served "$frail")
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    note "$(($(served "$frail") - before)) slow reads"
    [ "$(served "$frail")" -gt "$before" ] || fail "the storage was not read"
    more $A 3 0.2
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal:$W/3.journal --foreign
}

# In the middle of a read: what lies there is lost, and the rest of the image is right.
t_fault_store_vanishes_under_the_image_read() { # long
    local pid
    scsi_disk 32
    overwritten "$DISK"
    # Reads what is stored, again and again, until it cannot.
    while dd if="${IMAGE[0]}" of=/dev/null bs=4k count=128 iflag=direct status=none 2>/dev/null; do :; done &
    pid=$!
    within 5 eval '[ "$(counter $A image_reads)" -gt 256 ]'
    echo 1 >"/sys/block/${DISK#/dev/}/device/delete"
    within 10 eval "! kill -0 $pid"
    judged "${IMAGE[0]}"
    note "$RIGHT blocks right, $EIO lost"
    [ "$EIO" -gt 0 ] || fail "the image has blocks whose storage is gone"
    [ "$RIGHT" -ge $((8192 - 256)) ] || fail "only $RIGHT blocks are right"
    more $A 3 0.2
    within 5 failed $A
    judged "${IMAGE[0]}"
    same "$RIGHT" 0 "blocks that the image of a failed snapshot gives"
    timeout $((10 * ${SLOWER:-1})) snapc destroy "$ID"
    stamp prove $A:$W/1.journal:$W/2.journal:$W/3.journal --foreign
}

# Copies stay in memory, then writers are held, then the snapshot is given up and they go on.
t_fault_store_stuck() { # long
    local frail timeout=/sys/module/blksnap/parameters/store_timeout_seconds before copies=/sys/module/blksnap/parameters/copy_memory_kib
    local memory pid
    read -r before <$timeout
    read -r memory <$copies
    echo 1024 >$copies
    frail=$(frail frail $B)
    begin $A
    snapshot "$frail" -- $A
    dmsetup suspend frail --nolockfs
    echo 1 >$timeout
    head -c 16M /dev/urandom >$W/new
    dd if=$W/new of=$A bs=64k oflag=direct conv=notrunc status=none
    within 10 failed $A
    echo "$before" >$timeout
    echo "$memory" >$copies
    judged "${IMAGE[0]}"
    same "$RIGHT" 0 "blocks that the image of a failed snapshot gives"
    destroy &
    pid=$!
    dmsetup resume frail
    wait $pid
    drop
    cmp -n 16777216 $A $W/new
    begin $A
    snapshot $STORE -- $A
    more $A 2 0.2
    judged "${IMAGE[0]}"
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

t_fault_store_device_full() { # long
    local loop error
    truncate -s 2M $W/small
    loop=$(losetup -f --show $W/small)
    begin $A
    snapshot "$loop" -- $A
    load $A $W/2.journal --seed 2
    within 5 failed $A
    stop_loads
    read -r error _ < <(snapc info $A)
    same "$error" -28 "the snapshot's error"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

# What is written to an image has no room: that write fails, and nothing else.
t_fault_store_full_under_an_image_write() { # long
    begin $A
    snapshot memory $((1 << 20)) -- $A
    dd if=/dev/urandom of="${IMAGE[0]}" bs=64k count=32 oflag=direct conv=notrunc status=none 2>$W/error && fail "2 MiB are in a storage of one"
    grep -q 'No space left' $W/error || fail "the error: $(<$W/error)"
    same "$(snapc info $A | cut -d" " -f1)" 0 "the snapshot's error"
    cmp -i $((2 << 20)) "${IMAGE[0]}" $W/copy
    cmp $A $W/copy
    destroy
}

t_fault_store_vanishes() {
    scsi_disk 32
    begin $A
    snapshot "$DISK" -- $A
    load $A $W/2.journal --seed 2
    within 5 eval '[ "$(counter $A store_bytes)" -gt 0 ]'
    echo 1 >"/sys/block/${DISK#/dev/}/device/delete"
    within 10 failed $A
    stop_loads
    judged "${IMAGE[0]}"
    timeout $((10 * ${SLOWER:-1})) snapc destroy "$ID"
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

t_fault_holder_killed_while_the_store_is_stuck() { # long
    local frail pid id && frail=$(frail frail $B)
    begin $A
    snapc hold "$frail" >$W/id &
    pid=$!
    within 5 test -s $W/id
    read -r id <$W/id
    snapc attach $A
    snapc add $A "$id"
    snapc take "$id"
    dmsetup suspend frail --nolockfs
    more $A 2 0.2 --range 4194304
    kill -9 $pid
    dmsetup resume frail
    within 10 eval '[ "$(snapc collect)" = 0 ]'
    more $A 3 0.2
    stamp prove $A:$W/1.journal:$W/2.journal:$W/3.journal --foreign
}

t_fault_store_fails_for_a_moment() { # long
    local frail && frail=$(frail frail $B)
    begin $A
    snapshot "$frail" -- $A
    turn frail "0 32768 flakey $B 0 0 1 1 error_writes"
    more $A 2
    within 5 failed $A
    turn frail "0 32768 linear $B 0"
    judged "${IMAGE[0]}"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}

# The storage's device has less room than it says.
t_fault_store_in_a_pool_that_is_full() { # long
    local error
    thin
    begin $A
    snapshot "$THIN" -- $A
    load $A $W/2.journal --seed 2
    within 20 failed $A
    stop_loads
    read -r error _ < <(snapc info $A)
    [ "$error" = -5 ] || same "$error" -28 "the snapshot's error"
    judged "${IMAGE[0]}"
    same "$RIGHT" 0 "blocks that the image of a failed snapshot gives"
    destroy
    stamp prove $A:$W/1.journal:$W/2.journal --foreign
}
