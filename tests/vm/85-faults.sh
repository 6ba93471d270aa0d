# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Origins failing, slow, stuck and going away, while blocks are copied, read from the image, and at the take; 87-stores-that-fail.sh has the
# storages. After each: the origin holds what was written to it, the image is right or EIO, and no snapshot is left (the runner sees to
# that, and to the leaving of the module). 30-snapshot.sh and 80-hostile.sh have the simplest of them.

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

# What has to be copied cannot be read, and the writes that it was for are good.
t_fault_origin_reads_fail_under_the_copy() { # long
    local frail dead && frail=$(frail frail $A)
    dmsetup create dead --table "0 32768 error"
    dead=$(node /dev/mapper/dead)
    begin "$frail"
    snapshot $STORE -- "$frail"
    more "$frail" 2 0.3 --range 2097152
    turn frail "0 32768 delay $dead 0 0 $A 0 0"
    more "$frail" 3
    judged "${IMAGE[0]}"
    [ "$EIO" -gt 0 ] || fail "the image has blocks that could not be copied"
    same "$(snapc info "$frail" | cut -d" " -f1)" -5 "the snapshot's error"
    turn frail "0 32768 linear $A 0"
    judged "${IMAGE[0]}"
    [ "$EIO" -gt 0 ] || fail "blocks that were lost are there again"
    destroy
    stamp prove "$frail:$W/1.journal:$W/2.journal:$W/3.journal" --foreign
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

# Writes are on their way for long when the gate closes.
t_fault_origin_slow_at_the_take() { # long
    local frail && frail=$(frail frail $A)
    blkdiscard -z "$frail"
    turn frail "0 32768 delay $A 0 0 $A 0 20"
    snapc attach "$frail"
    load "$frail" $W/1.journal --pause 100 --jobs 4
    more_writes $W/1.journal 20
    snapshot $STORE -- "$frail"
    more_writes $W/1.journal 20
    stop_loads
    note "$(snapc stat "$ID" | grep gate_ns)"
    turn frail "0 32768 linear $A 0"
    stamp prove "${IMAGE[0]}:$W/1.journal" --after "$BEFORE" --before "$AFTER"
    destroy
    stamp prove "$frail:$W/1.journal" --foreign
}

# What was copied is in memory, and its storage stands still, when the device fails: it is stored all the same, and read from there.
t_fault_origin_fails_under_the_store() { # long
    local frail store && frail=$(frail frail $A) store=$(frail store $B)
    begin "$frail"
    snapshot "$store" -- "$frail"
    dmsetup suspend store --nolockfs
    dd if=/dev/urandom of="$frail" bs=64k count=16 oflag=direct conv=notrunc status=none
    turn frail "0 32768 error"
    [ "$(counter "$frail" pool_bytes)" = $((1 << 20)) ] || fail "$(counter "$frail" pool_bytes) bytes are not stored yet"
    dmsetup resume store
    within 5 stored "$frail"
    judged "${IMAGE[0]}"
    same "$RIGHT $EIO" "256 3840" "blocks of the image that are right, and that cannot be read"
    destroy
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

# The process is in the middle of a freeze that stands still.
freezing() { grep -qE 'freeze|bsk_wait|bsk_mutex' "/proc/$1/stack"; }

# The last snapshot of a device ends while another one is being taken of it: the take begins again, and nobody waits for the gate's limit.
t_fault_other_snapshot_ends_during_the_take() { # long
    local frail first second pid ending && frail=$(frail_fs frail $A)
    snapc attach "$frail"
    first=$(snapc open2 memory)
    snapc join "$frail" "$first"
    snapc take "$first"
    second=$(GATE_MS=600000 snapc open2 memory)
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
    # So long it stands, and is seen to.
    echo $((2 * ${SLOWER:-1})) >$timeout
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
    first=$(GATE_MS=600000 snapc open2 memory) second=$(snapc open2 memory)
    snapc addall "$first" "$raw"
    snapc addall "$second" "$fs"
    dmsetup suspend raw --nolockfs
    dd if=/dev/urandom of="$raw" bs=4k count=1 oflag=direct conv=notrunc status=none &
    pids+=($!)
    within 5 writing $!
    snapc take "$first" &
    pids+=($!)
    # On a thread of its own.
    within 5 eval 'grep -qs drain /proc/[0-9]*/stack'
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

# What has to be copied can be read, and what is written has no room: the writer has the error, and the image what was there.
t_fault_origin_full() { # long
    thin
    stamp load "$THIN" --direct --journal $W/1.journal --seconds 0.3 --range 4194304
    copy "$THIN" $W/copy
    snapshot $STORE -- "$THIN"
    dd if=/dev/urandom of="$THIN" bs=64k oflag=direct conv=notrunc status=none 2>$W/error && fail "the pool is not full"
    grep -q 'No space left\|Input/output error' $W/error
    judged "${IMAGE[0]}"
    same "$EIO" 0 "blocks of the image that cannot be read"
    destroy
}
