# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Origin and store failing, slow, stuck, full and going away, while blocks are copied, stored, read from the image, and at the
# take. After each: the origin holds what was written to it, the image is right or EIO, and no snapshot is left (the runner sees
# to that, and to the module's leaving). 30-snapshot.sh and 80-hostile.sh have the simplest of them.

# frail NAME DISK: a mapping over the first 16 MiB of a disk, to be turned into something worse.
frail() {
    dmsetup create "$1" --table "0 32768 linear $2 0"
    within 5 test -b "/dev/mapper/$1"
    node "/dev/mapper/$1"
}

# turn NAME LINES: its table is these lines from now on. What is in flight ends before.
turn() {
    dmsetup suspend "$1" --nolockfs
    printf '%b\n' "$2" | dmsetup load "$1"
    dmsetup resume "$1"
}

# Fills what a test begins with: a stamped load, and a copy of it.
begin() {
    stamp load "$1" --direct --journal $W/1.journal --seconds 0.3
    copy "$1" $W/copy
}

# judged IMAGE: right or EIO, everywhere; the counts are in $RIGHT and $EIO.
judged() {
    snapc judge "$1" $W/copy >$W/judged || fail "the image is wrong: $(tail -n 1 $W/judged)"
    RIGHT=$(value right <$W/judged) EIO=$(value eio <$W/judged)
}

# A load that is to run without an error.
more() { stamp load "$1" --direct --journal "$W/$2.journal" --seconds "${3:-0.5}" --seed "$2" "${@:4}"; }

t_fault_origin_fails_under_the_image() { # long
    local frail && frail=$(frail frail $A)
    begin "$frail"
    snapshot $STORE -- "$frail"
    more "$frail" 2 0.3 --range 2097152
    # The second half cannot be read any more; nothing was written there, so the image needs it.
    turn frail "0 16384 linear $A 0\n16384 16384 error"
    judged "${IMAGE[0]}"
    [ "$EIO" -ge 2048 ] || fail "only $EIO blocks of the image could not be read"
    [ "$RIGHT" -gt 0 ] || fail "no block of the image could be read"
    turn frail "0 32768 linear $A 0"
    judged "${IMAGE[0]}"
    destroy
    stamp prove "$frail:$W/1.journal:$W/2.journal" --foreign
}

t_fault_origin_slow() { # long
    local frail && frail=$(frail frail $A)
    begin "$frail"
    snapc attach "$frail"
    # Reads take 20 ms, writes none.
    turn frail "0 32768 delay $A 0 20 $A 0 0"
    snapshot $STORE -- "$frail"
    more "$frail" 2
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    turn frail "0 32768 linear $A 0"
    stamp prove "$frail:$W/1.journal:$W/2.journal" --foreign
}

t_fault_origin_stuck_at_the_take() { # long 7.3
    local frail pid id && frail=$(frail frail $A)
    snapc attach "$frail"
    id=$(GATE_MS=300 snapc open memory)
    snapc add "$frail" "$id"
    dmsetup suspend frail --nolockfs
    dd if=/dev/urandom of="$frail" bs=4k count=1 oflag=direct conv=notrunc status=none &
    pid=$!
    within 5 writing $pid
    errno ETIMEDOUT snapc take "$id"
    dmsetup resume frail
    wait $pid
    begin "$frail"
    snapc take "$id"
    more "$frail" 2 0.3
    judged "$(image "$frail")"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy "$id"
    stamp prove "$frail:$W/1.journal:$W/2.journal" --foreign
}

# frail_fs NAME DISK: a frail mapping with a mounted ext4 that has something to write, at $W/NAME.
frail_fs() {
    local frail && frail=$(frail "$1" "$2")
    mkfs.ext4 -q -F "$frail"
    mkdir -p "$W/$1"
    mount "$frail" "$W/$1"
    echo something >"$W/$1/something"
    echo "$frail"
}

# The process is in the middle of a freeze that stands still.
freezing() { grep -qE 'freeze|bsk_wait|bsk_mutex' "/proc/$1/stack"; }

# The last snapshot of a device ends while another one is being taken of it: the take begins again, and nobody waits for the gate's limit.
t_fault_other_snapshot_ends_during_the_take() { # long
    local frail first second pid ending && frail=$(frail_fs frail $A)
    snapc attach "$frail"
    first=$(snapc open2 memory)
    snapc join "$frail" "$first"
    snapc take "$first"
    second=$(GATE_MS=60000 snapc open2 memory)
    snapc join "$frail" "$second"
    echo more >$W/frail/more
    # Nobody reads the image.
    udevadm settle
    dmsetup suspend frail --nolockfs
    snapc take "$second" &
    pid=$!
    within 5 freezing $pid
    # Copies are being read, perhaps: its end waits for them.
    snapc destroy "$first" &
    ending=$!
    within 5 eval 'grep -q bsk_wait /proc/$ending/stack || ! kill -0 $ending'
    dmsetup resume frail
    within 20 eval "! kill -0 $pid"
    wait $pid
    wait $ending
    e2fsck -fn "$(image "$frail")"
    destroy "$second"
    umount $W/frail
}

# A device that stands still does not keep the file systems of the others frozen.
t_fault_device_stuck_while_it_is_frozen() { # long 6.1
    local good bad pid id before timeout=/sys/module/blksnap/parameters/store_timeout_seconds
    good=$(frail_fs good $B) bad=$(frail_fs bad $A)
    id=$(snapc open2 memory)
    snapc addall "$id" "$good" "$bad"
    read -r before <$timeout
    echo 1 >$timeout
    dmsetup suspend bad --nolockfs
    snapc take "$id" 2>$W/error &
    pid=$!
    within 5 freezing $pid
    echo more >$W/good/more &
    within 20 eval "! kill -0 $!"
    wait $pid && fail "the snapshot was taken"
    same "$(<$W/error)" ETIMEDOUT "the error"
    echo "$before" >$timeout
    dmsetup resume bad
    snapc take "$id"
    destroy "$id"
    umount $W/good $W/bad
}

# Who waits for another take's gate has nothing frozen meanwhile.
t_fault_take_waits_for_a_stuck_one() {
    local raw fs first second pids=() && raw=$(frail raw $A) fs=$(frail_fs fs $B)
    first=$(GATE_MS=60000 snapc open2 memory) second=$(snapc open2 memory)
    snapc addall "$first" "$raw"
    snapc addall "$second" "$fs"
    dmsetup suspend raw --nolockfs
    dd if=/dev/urandom of="$raw" bs=4k count=1 oflag=direct conv=notrunc status=none &
    pids+=($!)
    within 5 writing $!
    snapc take "$first" &
    pids+=($!)
    within 5 grep -q drain "/proc/$!/stack"
    snapc take "$second" &
    pids+=($!)
    within 5 freezing $!
    echo more >$W/fs/more &
    within 10 eval "! kill -0 $!"
    dmsetup resume raw
    for pid in "${pids[@]}"; do wait "$pid"; done
    destroy "$first"
    destroy "$second"
    umount $W/fs
}

# The process sleeps in the kernel for its write.
writing() { grep -qE 'io_schedule|blkdev|dio|iomap|bio_wait' "/proc/$1/wchan" "/proc/$1/stack"; }

t_fault_origin_stuck_under_the_copy() { # long
    local frail && frail=$(frail frail $A)
    begin "$frail"
    snapshot $STORE -- "$frail"
    load "$frail" $W/2.journal --seed 2 --pause 500
    more_writes $W/2.journal 4
    dmsetup suspend frail --nolockfs
    dd if="${IMAGE[0]}" of=/dev/null bs=1M iflag=direct status=none &
    within 10 writing $!
    dmsetup resume frail
    wait $!
    stop_loads
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
    stamp prove "$frail:$W/1.journal:$W/2.journal" --foreign
}

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

failed() { local error && read -r error _ < <(snapc info "$1") && [ "$error" -lt 0 ]; }

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
    timeout 10 snapc destroy "$ID"
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
