# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Images: of one instant, never changing, exactly what had to be copied.

t_one_instant_of_two_devices() { # long
    blkdiscard -z $A
    blkdiscard -z $B
    load $A $W/a.journal --pause 300
    load $B $W/b.journal --pause 300
    more_writes $W/b.journal
    snapshot $STORE -- $A $B
    more_writes $W/b.journal
    stop_loads
    stamp prove "${IMAGE[0]}:$W/a.journal" "${IMAGE[1]}:$W/b.journal" --after "$BEFORE" --before "$AFTER"
    stamp prove $A:$W/a.journal $B:$W/b.journal --foreign
    snapc stat "$ID"
}

# Whether a disk was written to since ${WRITES[DISK]} was read.
written() { local count && read -r _ _ _ _ count _ <"/sys/block/${1#/dev/}/stat" && [ "$count" -gt "${WRITES[$1]}" ]; }

t_image_does_not_change_under_fio() { # long
    declare -A WRITES
    local disk i
    for disk in $A $B; do
        read -r _ _ _ _ WRITES[$disk] _ <"/sys/block/${disk#/dev/}/stat"
        fio --name=load --filename="$(node $disk)" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bsrange=4k-64k \
            --size=16m --time_based --runtime=1000 --rate_iops=250 --norandommap >/dev/null 2>&1 &
    done
    within 10 written $A
    within 10 written $B
    snapshot $STORE -- $A $B
    for i in 0 1; do
        copy "${IMAGE[i]}" $W/first 16
        read -r _ _ _ _ WRITES[$A] _ <"/sys/block/${A#/dev/}/stat"
        read -r _ _ _ _ WRITES[$B] _ <"/sys/block/${B#/dev/}/stat"
        within 10 written $A
        within 10 written $B
        copy "${IMAGE[i]}" $W/second 16
        cmp $W/first $W/second
        drop
        cmp -n 16777216 "${IMAGE[i]}" $W/first
    done
    pkill -x fio
}

t_image_equals_a_paused_copy() {
    load $A $W/a.journal
    more_writes $W/a.journal
    stop_loads
    copy $A $W/copy
    snapshot $STORE -- $A
    stamp load "$(node $A)" --direct --journal $W/b.journal --seconds 0.6 --seed 9
    cmp "${IMAGE[0]}" $W/copy
    cmp -s $A $W/copy && fail "the load changed nothing"
    stamp prove $A:$W/a.journal:$W/b.journal --foreign
}

t_first_4k_overwrite_costs_4k() {
    local block
    snapshot $STORE -- $A
    same "$(counter $A copy_reads)" 0 "copy reads before any write"
    block=$((RANDOM % 8192))
    dd if=$A of=$W/old bs=4096 count=1 skip=$block iflag=direct status=none
    dd if=/dev/urandom of=$A bs=4096 count=1 seek=$block oflag=direct conv=notrunc status=none
    within 3 eval '[ "$(counter $A store_bytes)" = 4096 ]'
    same "$(counter $A copy_reads)" 1 "copy reads"
    same "$(counter $A copy_read_bytes)" 4096 "bytes read for copies"
    same "$(counter $A store_bytes)" 4096 "bytes stored"
    # The second time it costs nothing.
    dd if=/dev/urandom of=$A bs=4096 count=1 seek=$block oflag=direct conv=notrunc status=none
    same "$(counter $A copy_read_bytes)" 4096 "bytes read for copies after the second overwrite"
    same "$(counter $A store_bytes)" 4096 "bytes stored after the second overwrite"
    dd if="${IMAGE[0]}" of=$W/image bs=4096 count=1 skip=$block iflag=direct status=none
    cmp $W/old $W/image
}

t_sector_write_costs_4k() {
    snapshot $STORE -- $A
    dd if=/dev/urandom of=$A bs=512 count=1 seek=77 oflag=direct conv=notrunc status=none
    within 3 eval '[ "$(counter $A store_bytes)" = 4096 ]'
    same "$(counter $A copy_read_bytes)" 4096 "bytes read for copies"
}

t_sparse_writes_cost_what_they_cover() {
    snapshot $STORE -- $A
    fio --name=sparse --filename="$(node $A)" --direct=1 --ioengine=libaio --iodepth=4 --rw=randwrite --bs=4k --io_size=2m --size=32m \
        --randseed=7 >/dev/null
    within 3 eval '[ "$(counter $A store_bytes)" -ge 2097152 ]'
    # Where they happen to come close to each other, the blocks between may be copied with them.
    note "bytes stored for 512 sparse writes: $(counter $A store_bytes)"
    [ "$(counter $A copy_read_bytes)" -le $((2097152 + 2097152 / 4 + 64 * 4096)) ] || fail "bytes read for 512 sparse writes: $(counter $A copy_read_bytes)"
}

t_overflow_fails_the_snapshot_not_the_origin() { # long
    local error
    copy $A $W/copy
    snapshot memory $((1 << 20)) -- $A
    load $A $W/a.journal
    within 10 failed $A
    more_writes $W/a.journal
    stop_loads
    stamp prove $A:$W/a.journal --foreign
    read -r error _ < <(snapc info "$(node $A)")
    same "$error" -28 "the snapshot's error"
    dd if="${IMAGE[0]}" of=/dev/null bs=4k count=1 iflag=direct status=none 2>$W/error && fail "the image of a failed snapshot can be read"
    grep -q 'Input/output error' $W/error
    # Perhaps after a word that space is low.
    { snapc wait "$ID" 1000; snapc wait "$ID" 1000; } >$W/event
    grep -qE '^code=[01]$' $W/event
    destroy
    snapc detach "$(node $A)"
}

t_killed_holder_leaves_nothing() {
    local pid id
    snapc attach "$(node $A)"
    snapc hold memory >$W/id &
    pid=$!
    within 3 test -s $W/id
    id=$(cat $W/id)
    snapc add "$(node $A)" "$id"
    snapc take "$id"
    image $A
    load $A $W/a.journal
    more_writes $W/a.journal
    kill -9 $pid
    within 5 eval '[ "$(snapc collect)" = 0 ]'
    within 5 eval '! ls /dev/blksnap-image*'
    stop_loads
    stamp prove $A:$W/a.journal --foreign
    snapc detach "$(node $A)"
}

t_tracepoints_follow_a_write() {
    local tracing=/sys/kernel/tracing major minor
    [ -e $tracing/trace ] || mount -t tracefs tracefs $tracing
    echo >$tracing/trace
    echo 1 >$tracing/events/blksnap/enable
    snapshot $STORE -- $A
    dd if=/dev/urandom of=$A bs=4096 count=1 seek=3 oflag=direct conv=notrunc status=none
    within 3 grep -q blksnap_store $tracing/trace
    echo 0 >$tracing/events/blksnap/enable
    major=$((0x$(stat -c %t $A))) minor=$((0x$(stat -c %T $A)))
    sed -n "s/.*: \(blksnap_.*\)/\1/p" $tracing/trace >$W/trace
    grep -qE '^blksnap_take: 1 devices, gate closed for [0-9]+ ns, error 0$' $W/trace
    for event in hold copy resubmit; do grep -q "^blksnap_$event: $major,$minor 24 + 8$" $W/trace || fail "$event: $(cat $W/trace)"; done
    grep -q "^blksnap_store: $major,$minor 8 sectors$" $W/trace
}

# Who overwrites has the copy made by himself, but when the worker is busy at that moment.
t_submitter_serves_its_own_write() {
    local tracing=/sys/kernel/tracing
    [ -e $tracing/trace ] || mount -t tracefs tracefs $tracing
    copy $A $W/copy
    snapshot $STORE -- $A
    echo >$tracing/trace
    echo 1 >$tracing/events/blksnap/blksnap_copy/enable
    dd if=/dev/urandom of=$A bs=4096 count=32 oflag=direct conv=notrunc status=none
    echo 0 >$tracing/events/blksnap/blksnap_copy/enable
    grep -q '^ *dd-.*blksnap_copy: ' $tracing/trace || fail "copies by others only: $(head -n 20 $tracing/trace)"
    cmp "${IMAGE[0]}" $W/copy
}

t_events_are_polled() {
    local id pid
    snapc attach "$(node $A)"
    snapc hold memory 1048576 >$W/events &
    pid=$!
    within 5 test -s $W/events
    id=$(cat $W/events)
    snapc add "$(node $A)" "$id"
    snapc take "$id"
    # It sleeps, with nothing to tell.
    within 5 grep -q '^State:.S' /proc/$pid/status
    same "$(wc -l <$W/events)" 1 "lines before there is an event"
    dd if=/dev/urandom of=$A bs=64k count=64 oflag=direct conv=notrunc status=none
    within 10 grep -q '^code=[01]$' $W/events
    kill $pid
    within 5 eval '[ "$(snapc collect)" = 0 ]'
}

# Any store: what is in the image is what was there.
check_store() {
    load $A $W/a.journal
    more_writes $W/a.journal
    stop_loads
    copy $A $W/copy
    snapshot "$1" -- $A
    stamp load "$(node $A)" --direct --journal $W/b.journal --seconds 0.7 --seed 5
    cmp "${IMAGE[0]}" $W/copy
    # The bytes are stored a moment after the writes.
    within 10 eval '[ "$(snapc stat "$ID" | value used)" -gt 0 ]'
    destroy
    stamp prove $A:$W/a.journal:$W/b.journal --foreign
}

t_store_memory() { # long
    check_store memory
}

t_store_block_device() { # long
    check_store "$(node $D)"
}

t_store_file_on_ext4() { # long
    mkfs.ext4 -q -F $D
    mkdir -p $W/d
    mount $D $W/d
    truncate -s 0 $W/d/store
    check_store $W/d/store
}

t_store_directory_on_xfs() { # long
    mkfs.xfs -q -f $D
    mkdir -p $W/d
    mount $D $W/d
    check_store $W/d
    same "$(find $W/d -type f | wc -l)" 0 "files left in the directory"
}

t_store_file_on_tmpfs() { # long 7.3
    truncate -s 0 $W/store
    check_store $W/store
}

t_load_store_file_grows() { # long
    local capacity
    modprobe blksnap diff_storage_minimum=4096
    mkfs.ext4 -q -F $D
    mkdir -p $W/d
    mount $D $W/d
    truncate -s 0 $W/d/store
    snapshot $W/d/store $((200 << 20)) -- $A
    capacity=$(snapc stat "$ID" | value capacity)
    copy $A $W/copy
    dd if=/dev/urandom of=$A bs=64k oflag=direct count=256 conv=notrunc status=none
    within 10 eval '[ "$(snapc stat "$ID" | value capacity)" -gt $capacity ]'
    cmp "${IMAGE[0]}" $W/copy
}

t_image_is_writable() {
    copy $A $W/origin
    snapshot $STORE -- $A
    dd if=/dev/urandom of=$W/new bs=64k count=16 status=none
    dd if=$W/new of="${IMAGE[0]}" bs=64k seek=20 oflag=direct conv=notrunc status=none
    dd if="${IMAGE[0]}" of=$W/back bs=64k skip=20 count=16 iflag=direct status=none
    cmp $W/new $W/back
    drop
    cmp $A $W/origin
    # And what was not written is as it was.
    cmp -n $((20 * 65536)) "${IMAGE[0]}" $W/origin
}

# A part of $A's image is zeros: the file, and in MiB where and how much.
zeros() { cmp -n $(($2 << 20)) -i $(($1 << 20)):0 "${IMAGE[0]}" /dev/zero; }

# What is discarded in an image reads as zeros there and takes no storage; what was written there keeps the storage that it has.
t_image_is_discarded() { # long 7.3
    local used
    stamp load $A --direct --journal $W/1.journal --seconds 0.3
    copy $A $W/origin
    snapshot $STORE -- $A
    holds() { same "$(snapc stat "$ID" | value used)" $(($1 << 10)) "bytes of storage $2"; }
    dd if=/dev/urandom of=$W/new bs=1M count=2 status=none
    dd if=$W/new of="${IMAGE[0]}" bs=1M seek=2 oflag=direct conv=notrunc status=none
    holds 2048 "for 2 MiB that were written"
    blkdiscard -o $((4 << 20)) -l $((4 << 20)) "${IMAGE[0]}"
    blkdiscard -z -o $((10 << 20)) -l $((2 << 20)) "${IMAGE[0]}"
    # The second of the two that were written, in place; a discard of the first is a hint.
    blkdiscard -z -o $((3 << 20)) -l $((1 << 20)) "${IMAGE[0]}"
    blkdiscard -o $((2 << 20)) -l $((1 << 20)) "${IMAGE[0]}"
    holds 2048 "after the discards"
    drop
    zeros 3 5
    zeros 10 2
    cmp -n $((1 << 20)) -i $((2 << 20)):0 "${IMAGE[0]}" $W/new
    # A part of a block needs the rest of it; and what is written where zeros are is storage again.
    blkdiscard -z -o $(((20 << 20) + 512)) -l 512 "${IMAGE[0]}"
    dd if=$W/new of="${IMAGE[0]}" bs=64k seek=80 count=1 oflag=direct conv=notrunc status=none
    holds 2116 "after writes"
    # The origin goes on there, and is what it was elsewhere.
    dd if=/dev/urandom of=$A bs=1M seek=4 count=1 oflag=direct conv=notrunc status=none
    cp $W/origin $W/image
    dd if=/dev/zero of=$W/image bs=1M seek=3 count=5 conv=notrunc status=none
    dd if=/dev/zero of=$W/image bs=1M seek=10 count=2 conv=notrunc status=none
    dd if=$W/new of=$W/image bs=1M seek=2 count=1 conv=notrunc status=none
    dd if=$W/new of=$W/image bs=64k seek=80 count=1 conv=notrunc status=none
    dd if=/dev/zero of=$W/image bs=512 seek=$(((20 << 11) + 1)) count=1 conv=notrunc status=none
    drop
    cmp "${IMAGE[0]}" $W/image
    cmp -n $((4 << 20)) $A $W/origin
    cmp -i $((5 << 20)) $A $W/origin
}
