# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Writes that are held: what they keep, how large they may be, and who waits for nobody.

# A traced function of the kernel, or of ours, from now on: its lines are in $W/trace when `traced` has ended it.
tracing() {
    local event
    TRACING=/sys/kernel/tracing
    [ -e $TRACING/trace ] || mount -t tracefs tracefs $TRACING
    echo >$TRACING/trace
    for event; do echo 1 >"$TRACING/events/$event/enable"; done
}

traced() {
    echo 0 >$TRACING/events/enable
    cat $TRACING/trace >$W/trace
}

# The kernel's own trace of requests tells the priority of each: those of the writes that others send on are their writers'.
t_held_writes_keep_their_priority() { # long 7.3
    local disk
    disk=$((0x$(stat -c %t $A))),$((0x$(stat -c %T $A)))
    [ -e /sys/kernel/tracing/trace ] || mount -t tracefs tracefs /sys/kernel/tracing
    grep -q ioprio /sys/kernel/tracing/events/block/block_rq_issue/format || skip "the kernel's trace has no priorities"
    snapshot $STORE -- $A
    uncached $A
    tracing block/block_rq_issue
    fio --name=prio --filename="$(node $A)" --direct=1 --ioengine=io_uring --nowait=1 --iodepth=32 --rw=randwrite --bs=4k --size=16m --io_size=2m \
        --randseed=4 --prioclass=1 --prio=3 >$W/fio 2>&1 || fail "fio: $(tail -n 1 $W/fio)"
    traced
    grep "block_rq_issue: $disk W" $W/trace >$W/writes || fail "no write of $disk: $(tail -n 3 $W/trace)"
    note "$(wc -l <$W/writes) requests, $(grep -vc '^ *fio-' $W/writes) of them not by their writer; $(counter $A held) writes were held"
    grep -qv '^ *fio-' $W/writes || fail "no write was sent on by another than its writer"
    # So are their flags: a direct write is synchronous.
    grep -v "$disk WS " $W/writes && fail "of other flags: $(grep -v -m1 "$disk WS " $W/writes)"
    grep -v ' rt,0,3 ' $W/writes && fail "of another priority: $(grep -v -m1 ' rt,0,3 ' $W/writes)"
    # The others are of blocks that were copied ahead: a quarter at most, and 64.
    [ "$(counter $A held)" -ge 345 ] || fail "$(counter $A held) writes of 512 were held"
}

# Writers that poll for their writes' ends, which a held write has without being polled for.
t_held_writes_of_pollers_end() { # long
    local null=/sys/kernel/config/nullb/blkpoll
    modprobe null_blk nr_devices=0 || skip "no null_blk"
    [ -d /sys/kernel/config/nullb ] || mount -t configfs configfs /sys/kernel/config
    mkdir $null
    echo 1 >$null/memory_backed
    echo 2 >$null/poll_queues || skip "null_blk has no queues to be polled"
    echo 4 >$null/size
    echo 1 >$null/power
    within 5 eval '[ -b /dev/blkpoll ] || [ -b /dev/nullb0 ]'
    local disk=/dev/nullb0
    [ ! -b /dev/blkpoll ] || disk=/dev/blkpoll
    stamp load $disk --direct --journal $W/1.journal --seconds 0.2
    copy $disk $W/copy
    snapshot $STORE -- $disk
    uncached $disk
    local fio=(fio --name=poll --filename=$disk --direct=1 --ioengine=io_uring --hipri --iodepth=16 --rw=randwrite --bs=4k --size=4m --randseed=8
        --verify=crc32c --verify_fatal=1)
    "${fio[@]}" --do_verify=0 >$W/fio 2>&1 || fail "fio: $(tail -n 1 $W/fio)"
    [ "$(counter $disk held)" -gt 0 ] || fail "no write was held"
    note "$(counter $disk held) writes held, $(counter $disk saved_blocks) blocks saved"
    cmp "${IMAGE[0]}" $W/copy
    "${fio[@]}" --verify_only >$W/fio 2>&1 || fail "what was written is not there: $(grep -m1 -i verify $W/fio)"
    destroy
    snapc detach $disk
}

# A write of 64 MiB in one piece, as of huge pages, and the storage stands still until the memory for copies is full.
t_writes_of_64_mib() { # long 6.12
    local writer size=$((64 << 20))
    [ -e /proc/sys/vm/nr_hugepages ] || skip "no huge pages"
    echo 36 >/proc/sys/vm/nr_hugepages
    [ "$(</proc/sys/vm/nr_hugepages)" -ge 33 ] || skip "only $(</proc/sys/vm/nr_hugepages) huge pages"
    stamp load "$(node $C)" --direct --journal $W/1.journal --seconds 0.3 --range $size --longest 65536
    copy $C $W/copy 64
    dmsetup create store --table "0 $(blockdev --getsz $D) linear $(node $D) 0"
    ID=$(POOL_KIB=4096 snapc open2 /dev/mapper/store)
    snapc attach "$(node $C)"
    snapc add "$(node $C)" "$ID"
    snapc take "$ID"
    tracing blksnap/blksnap_hold
    dmsetup suspend --nolockfs --noflush store
    fio --name=large --filename="$(node $C)" --direct=1 --rw=write --bs=64m --size=64m --mem=mmaphuge --hugepage-size=2m --zero_buffers >$W/fio 2>&1 &
    writer=$!
    within 10 eval '[ "$(counter $C pool_bytes)" -ge $((3840 << 10)) ]'
    [ "$(counter $C pool_bytes)" -le $((4 << 20)) ] || fail "$(counter $C pool_bytes) bytes of copies"
    kill -0 $writer || fail "the writer was not held: $(tail -n 1 $W/fio)"
    dmsetup resume store
    while kill -0 $writer 2>/dev/null; do
        [ "$(counter $C pool_bytes)" -le $((4 << 20)) ] || fail "$(counter $C pool_bytes) bytes of copies"
    done
    wait $writer || fail "fio: $(tail -n 1 $W/fio)"
    traced
    grep -q "blksnap_hold: .* 0 + 131072$" $W/trace || fail "no write of 64 MiB: $(tail -n 3 $W/trace)"
    within 10 eval '[ "$(counter $C store_bytes)" = $size ]'
    same "$(counter $C copy_read_bytes)" $size "bytes copied"
    cmp -n $size "$(image $C)" $W/copy
    cmp -n $size $C /dev/zero
    destroy
    dmsetup remove --retry store
}

# bounded PID: until it ends, the copies of /dev/mapper/vast are within their memory, and the snapshot takes little more than before.
bounded() {
    local memory pool before
    before=$(snapc stat "$ID" | value memory)
    MOST=0
    while kill -0 "$1" 2>/dev/null; do
        pool=$(counter /dev/mapper/vast pool_bytes)
        [ "$pool" -le $((2 << 20)) ] || fail "$pool bytes of copies"
        memory=$(($(snapc stat "$ID" | value memory) - before))
        [ $memory -le $MOST ] || MOST=$memory
    done
    wait "$1"
}

# Zeros written over a TiB, in writes of up to 2 GiB without data: what is free at the take is not copied; where all has to be, the
# storage is full at once, and the zeros go on.
t_zeroes_over_a_tib() { # long 6.1
    local error memory=$((16 << 20))
    scsi_disk 8 virtual_gb=1024 fake_rw=1 lbpws=1 write_same_length=8388607
    dmsetup create vast --table "0 32768 linear $(node $A) 0
32768 $(((1 << 31) - 32768)) linear $DISK 0"
    within 5 test -b /dev/mapper/vast
    stamp load "$(node /dev/mapper/vast)" --direct --journal $W/1.journal --seconds 0.3 --range $memory
    copy /dev/mapper/vast $W/copy 16
    ID=$(POOL_KIB=2048 snapc open2 memory $((64 << 20)))
    snapc attach /dev/mapper/vast
    snapc add /dev/mapper/vast "$ID"
    snapc take "$ID"
    same "$(echo "$memory $(((1 << 40) - memory))" | snapc free /dev/mapper/vast "$ID")" $(((1 << 40) - memory)) "bytes known as free"
    blkdiscard -z /dev/mapper/vast &
    bounded $!
    note "$((MOST >> 10)) KiB more at most; $(counter /dev/mapper/vast copy_read_bytes) bytes copied"
    [ $MOST -le $((18 << 20)) ] || fail "$MOST bytes more while a TiB was written"
    same "$(counter /dev/mapper/vast copy_read_bytes)" $memory "bytes copied"
    cmp -n $memory "$(image /dev/mapper/vast)" $W/copy
    cmp -n $memory /dev/mapper/vast /dev/zero
    destroy

    ID=$(POOL_KIB=2048 snapc open2 memory $((16 << 20)))
    snapc add /dev/mapper/vast "$ID"
    snapc take "$ID"
    blkdiscard -z /dev/mapper/vast &
    bounded $!
    note "$((MOST >> 10)) KiB more at most"
    [ $MOST -le $((20 << 20)) ] || fail "$MOST bytes more while a TiB was written"
    read -r error _ < <(snapc info /dev/mapper/vast)
    same "$error" -28 "the snapshot's error"
    destroy
    snapc detach /dev/mapper/vast
}

# Who reads an image waits for its storage; who writes to the origin does not wait for him.
t_image_read_that_waits_delays_no_write() { # long
    local frail pid readers=() && frail=$(frail frail $B)
    stamp load $A --direct --journal $W/1.journal --seconds 0.2
    copy $A $W/copy
    snapshot "$frail" -- $A
    dd if=/dev/urandom of=$A bs=64k count=4 oflag=direct conv=notrunc status=none
    for at in 100 102; do dd if=/dev/urandom of=$A bs=4k seek=$at count=1 oflag=direct conv=notrunc status=none; done
    # All of it is stored, and nothing more in memory.
    within 5 stored $A
    dmsetup suspend frail --nolockfs
    # In one piece, and in three.
    dd if="${IMAGE[0]}" of=$W/read bs=64k count=4 iflag=direct status=none &
    readers+=($!)
    dd if="${IMAGE[0]}" of=$W/pieces bs=12k count=1 iflag=direct,skip_bytes skip=$((100 * 4096)) status=none &
    readers+=($!)
    for pid in "${readers[@]}"; do within 5 waiting "$pid"; done
    # What is saved, what the reader waits for, and what is fresh.
    dd if=/dev/urandom of=$A bs=64k count=4 oflag=direct conv=notrunc status=none &
    within 10 eval "! kill -0 $!"
    dd if=/dev/urandom of=$A bs=4k seek=100 count=32 oflag=direct conv=notrunc status=none &
    within 10 eval "! kill -0 $!"
    for pid in "${readers[@]}"; do waiting "$pid" || fail "an image was read while its storage stood still"; done
    dmsetup resume frail
    for pid in "${readers[@]}"; do wait "$pid"; done
    cmp -n 262144 $W/read $W/copy
    cmp $W/pieces <(tail -c +$((100 * 4096 + 1)) $W/copy | head -c 12288)
    cmp "${IMAGE[0]}" $W/copy
}

# The process sleeps in the kernel for its read.
waiting() { grep -q direct /proc/"$1"/stack; }
