# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# blkfilter.ko by itself: the example filter, how writes are counted off, what an attach waits for, and who else is on the hook.

sample() { filterc sample "$@"; }
switch() { echo "$2" >/sys/module/blkfilter_sample/parameters/"$1"; }
counted() { sample stat "$1" | value "$2"; }

# write DEVICE COUNT: writes of 4 KiB.
write() { dd if=/dev/urandom of="$1" bs=4k count="$2" oflag=direct conv=notrunc status=none; }

t_load_filter_sample() {
    modprobe blkfilter_sample
    sample attach $A
    errno EALREADY sample attach $A
    errno ENOENT filterc none attach $A
    errno EINVAL filterc none detach $A
    write $A 30
    same "$(counted $A shown)" 30 "writes shown"
    dd if=$A of=/dev/null bs=1M count=4 iflag=direct status=none
    same "$(counted $A shown)" 30 "writes shown after reads"
    switch hold 1
    switch delay_ms 50
    write $A 5
    same "$(counted $A held) $(counted $A sent)" "5 5" "writes held and sent on"
    ! rmmod blkfilter 2>$W/error || fail "removed while a filter needs it"
    sample detach $A
    errno ENOENT sample detach $A
}

# Who submits a write that is held sends it on; also after a filter asked for that in vain, for each write of before.
t_load_filter_after() { # long
    modprobe blkfilter_sample after=2
    sample attach $A
    write $A 8
    same "$(counted $A shown) $(counted $A held)" "8 0" "writes shown, held"
    dmesg | tail -n 5 | grep -q 'asked blkfilter_after' || fail "the log does not say what the filter did"
    switch after 1
    switch hold 1
    write $A 8
    same "$(counted $A held) $(counted $A sent) $(counted $A served)" "8 8 8" "writes held, sent, sent by their submitters"
    sample detach $A
}

# A chain of hundreds of bios, whose first is the last to end: each end is that of the next one. Both ways of counting.
t_load_filter_long_chain() { # long
    local table disk
    modprobe brd rd_nr=1 rd_size=$((300 << 10)) || skip "no brd"
    within 3 test -b /dev/ram0
    for table in 1024 0; do
        modprobe blkfilter completions=$table
        modprobe blkfilter_sample hold=1 reverse=1 delay_ms=300
        sample attach /dev/ram0
        filterc sample zero /dev/ram0 $((300 << 20))
        [ "$(counted /dev/ram0 held)" -ge 100 ] || fail "not a chain: $(counted /dev/ram0 held) bios"
        same "$(counted /dev/ram0 held)" "$(counted /dev/ram0 sent)" "bios sent on"
        sample detach /dev/ram0
        rmmod blkfilter_sample
        rmmod blkfilter
    done
}

# Without room in the table every write is counted by memory of its own: the take must be as exact.
t_load_filter_full_table() { # long
    blkdiscard -z $A
    blkdiscard -z $B
    modprobe blkfilter completions=1
    modprobe blksnap
    load $A $W/a.journal
    load $B $W/b.journal
    snapshot memory -- $A $B
    sleep 0.2
    stop_loads
    copy "${IMAGE[0]}" $W/a
    copy "${IMAGE[1]}" $W/b
    stamp prove $W/a:$W/a.journal $W/b:$W/b.journal --after "$BEFORE" --before "$AFTER"
    destroy
    snapc detach $A
    snapc detach $B
}

# A null_blk whose I/O takes so many nanoseconds each: udev does not read it.
slow_null_blk() {
    echo 'KERNEL=="nullb*", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{ID_FS_TYPE}="none"' >/run/udev/rules.d/00-slow.rules
    udevadm control --reload
    modprobe null_blk nr_devices=1 queue_mode=2 irqmode=2 completion_nsec="$@" || skip "no null_blk"
    within 3 test -b /dev/nullb0
    modprobe blksnap
    QUEUE=/sys/block/nullb0
    echo none >$QUEUE/queue/scheduler
}

# A program that is to write so many bytes as one, and has all but its data: starting one may take longer than a write. `send` gives it them.
next_write() {
    NEXT=$1
    mkfifo $W/data
    dd if=$W/data of=/dev/nullb0 bs="$NEXT" iflag=fullblock seek=1 count=1 oflag=direct conv=notrunc status=none &
    WRITERS+=($!)
    exec 7>$W/data
    within 30 grep -q pipe_read /proc/$!/stack
}

# send FUNCTION: in which of the kernel's functions the write then sleeps.
send() {
    printf "%${NEXT}s" "" >&7
    within 1 grep -q "$1" /proc/${WRITERS[0]}/stack
}

first_write() {
    dd if=/dev/zero of=/dev/nullb0 bs=4k count=1 oflag=direct conv=notrunc status=none &
    WRITERS+=($!)
    within 30 eval "read -r reads writes <$QUEUE/inflight && [ \$writes = 1 ]"
}

# A write whose task sleeps at a queue that somebody else has frozen has passed the hook: an attach waits for it.
t_load_filter_frozen_queue() { # long 6.1
    local WRITERS=()
    slow_null_blk 2200000000
    next_write 4096
    first_write
    # Changing the scheduler freezes the queue until the first write has ended.
    echo mq-deadline >$QUEUE/queue/scheduler &
    WRITERS+=($!)
    within 1 grep -q freeze_queue_wait /proc/$!/stack
    send queue_enter
    snapc attach /dev/nullb0
    same "$(awk '{ print $5 }' $QUEUE/stat)" 2 "writes that ended before the attach did"
    wait "${WRITERS[@]}"
    snapc detach /dev/nullb0
}

# Who sleeps for a tag may have the rest of a write with him, which has passed the hook and is in no queue yet: an attach waits for it.
t_load_filter_rest_of_a_write() { # long
    local WRITERS=()
    slow_null_blk 2200000000 submit_queues=1 hw_queue_depth=1
    echo 4 >$QUEUE/queue/max_sectors_kb
    next_write 8192
    first_write
    send get_tag
    snapc attach /dev/nullb0
    same "$(awk '{ print $5 }' $QUEUE/stat)" 3 "writes that ended before the attach did"
    wait "${WRITERS[@]}"
    snapc detach /dev/nullb0
}

# What MD has under way is known by its statistics alone; without them the log says so, and the attach is as good as it can be.
t_filter_without_statistics() { # long
    local stats=/sys/block/md8/queue/iostats
    modprobe raid1 || skip "no raid1"
    mdadm --create /dev/md8 --quiet --run --assume-clean --metadata=1.2 --level=1 --raid-devices=2 --size=16M $A $B >/dev/null 2>&1
    within 3 test -b /dev/md8
    for on in 1 0; do
        echo $on >$stats
        echo "iostats is $on" >/dev/kmsg
        snapc attach /dev/md8
        snapc detach /dev/md8
    done
    dmesg | sed -n '/iostats is 0/,$p' | grep -q 'md8: .*cannot be waited for' || fail "the log does not say so"
    ! dmesg | sed -n '/iostats is 1/,/iostats is 0/p' | grep 'cannot be waited for' || fail "it has statistics"
}

t_filter_leg_by_a_partition() {
    printf 'label: gpt\nsize=14MiB\nsize=14MiB\n' | sfdisk -q $A
    udevadm settle
    within 3 test -b ${A}2
    printf '0 16384 linear %s 0\n' ${A}2 | dmsetup create upper
    errno EBUSY snapc attach $A
    errno EBUSY snapc attach ${A}2
    snapc attach ${A}1
    snapc detach ${A}1
    dmsetup remove upper
    snapc attach $A
}

# A live patch of one of the same functions, a BPF program at the entry of one: a clear no, whoever comes second.
t_load_filter_rival() { # long
    local rival rivals=("modify=1 function=submit_bio_noacct" "direct=1 function=submit_bio_noacct_nocheck")
    for rival in "${rivals[@]}"; do
        # shellcheck disable=SC2086 # two words
        modprobe blkfilter_rival $rival
        ! modprobe blkfilter 2>$W/error || fail "loaded beside a rival: $rival"
        dmesg | tail -n 5 | grep -q "cannot hook ${rival#*function=}:" || fail "the log does not say why: $rival"
        rmmod blkfilter_rival
    done
    modprobe blkfilter
    for rival in "${rivals[@]}"; do
        # shellcheck disable=SC2086 # two words
        ! modprobe blkfilter_rival $rival 2>$W/error || fail "a rival was let on: $rival"
    done
    rmmod blkfilter
}

# A hook that is not called, as were the function inlined where it is called: each by itself is missed at load.
t_load_filter_proves_both_hooks() { # long
    local around missed=(- submit_bio_noacct submit_bio_noacct_nocheck)
    for around in 1 2; do
        modprobe blkfilter_rival function=submit_bio around=$around
        ! modprobe blkfilter 2>$W/error || fail "loaded where it cannot see what comes to ${missed[around]}"
        grep -q 'not supported' $W/error || fail "it says: $(<$W/error)"
        dmesg | tail -n 5 | grep -q "self-test of ${missed[around]} failed at a write that passes" || fail "the log says: $(dmesg | tail -n 5)"
        rmmod blkfilter_rival
    done
    modprobe blkfilter
}

probe_hits() { awk '$1 == "probe" { print $2 }' /sys/kernel/tracing/kprobe_profile; }
# Tracers on the same function see each write, and so do we; loading and leaving between them.
t_load_filter_beside_tracers() { # long
    local trace=/sys/kernel/tracing calls=/sys/module/blkfilter_rival/parameters/calls seen hits
    grep -q $trace /proc/mounts || mount -t tracefs none $trace
    modprobe blkfilter_rival
    echo 'p:bsk/probe submit_bio_noacct' >$trace/kprobe_events
    modprobe blkfilter_sample
    sample attach $A
    echo 1 >$trace/events/bsk/probe/enable
    write $A 20
    echo submit_bio_noacct >$trace/set_ftrace_filter
    echo function_graph >$trace/current_tracer
    write $A 20
    switch hold 1
    write $A 20
    echo nop >$trace/current_tracer
    write $A 20
    same "$(counted $A shown) $(counted $A held) $(counted $A sent)" "80 40 40" "writes shown, held, sent on"
    # Leaving while another user of ftrace and a kprobe are on, who go on.
    rmmod blkfilter_sample
    rmmod blkfilter
    seen=$(<$calls) hits=$(probe_hits)
    write $A 5
    [ "$(<$calls)" -ge $((seen + 5)) ] || fail "the other user of ftrace sees nothing any more"
    [ "$(probe_hits)" -ge $((hits + 5)) ] || fail "the kprobe sees nothing any more"
    # They leave while it is loaded.
    modprobe blkfilter_sample
    sample attach $A
    rmmod blkfilter_rival
    echo 0 >$trace/events/bsk/probe/enable
    echo >$trace/kprobe_events
    echo >$trace/set_ftrace_filter
    write $A 20
    same "$(counted $A shown) $(counted $A sent)" "20 0" "writes shown, held"
}
