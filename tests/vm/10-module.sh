# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Loading and leaving.

t_load_unload() { # long
    for _ in 1 2; do
        modprobe blksnap
        within 3 test -c /dev/blksnap-control
        snapc version
        rmmod blksnap
        rmmod blkfilter
        [ ! -e /dev/blksnap-control ] || fail "the control device outlived the module"
    done
}

t_load_parameters() { # long
    modprobe blksnap tracking_block_minimum_shift=16 tracking_block_maximum_shift=26 tracking_block_maximum_count=2097152 \
        chunk_minimum_shift=18 chunk_maximum_shift=26 chunk_maximum_count_shift=40 chunk_maximum_in_queue=16 \
        diff_storage_minimum=2097152
    same "$(cat /sys/module/blksnap/parameters/diff_storage_minimum)" 2097152 diff_storage_minimum
    logged 'chunk_' || fail "the log does not say what has no effect"
    # Blocks as small as they may be where there is room for all, and larger where there is not.
    echo 17 >/sys/module/blksnap/parameters/tracking_block_minimum_shift
    snapc attach "$(node $A)"
    same "$(snapc cbtinfo "$(node $A)" | value block_size)" 131072 "block size by the minimum shift"
    snapc detach "$(node $A)"
    echo 16 >/sys/module/blksnap/parameters/tracking_block_minimum_shift
    echo 64 >/sys/module/blksnap/parameters/tracking_block_maximum_count
    snapc attach "$(node $A)"
    same "$(snapc cbtinfo "$(node $A)" | value block_size)" $((32 << 14)) "block size by the maximum count"
}

t_load_ioctls_gone_after_rmmod() {
    modprobe blksnap
    snapc attach "$(node $A)"
    rmmod blksnap
    rmmod blkfilter
    errno ENOTTY snapc attach "$(node $A)"
    blockdev --getsize64 $A
}

t_attach_detach_under_load() { # long
    load $A $W/a.journal
    load $B $W/b.journal
    for _ in 1 2 3 4; do
        snapc attach "$(node $A)"
        snapc attach "$(node $B)"
        more_writes $W/b.journal 8
        snapc detach "$(node $A)"
        snapc detach "$(node $B)"
    done
    stop_loads
    stamp prove $A:$W/a.journal $B:$W/b.journal --foreign
}

t_rmmod_attached_under_load() { # long
    load $A $W/a.journal
    load $B $W/b.journal
    snapc attach "$(node $A)"
    snapc attach "$(node $B)"
    more_writes $W/b.journal
    rmmod blksnap
    rmmod blkfilter
    more_writes $W/b.journal
    modprobe blksnap
    snapc attach "$(node $A)"
    rmmod blksnap
    stop_loads
    stamp prove $A:$W/a.journal $B:$W/b.journal --foreign
}

t_rmmod_with_snapshot_under_load() {
    load $A $W/a.journal
    snapshot $STORE -- $A
    more_writes $W/a.journal
    # Either way is right: refused, or everything goes.
    if ! rmmod blksnap 2>$W/error; then
        grep -qiE 'busy|in use|temporarily' $W/error || fail "rmmod: $(cat $W/error)"
        destroy
        within 5 rmmod blksnap
    fi
    rmmod blkfilter
    more_writes $W/a.journal
    stop_loads
    stamp prove $A:$W/a.journal --foreign
}

# What the kernel itself uses, in KiB, when what can be given back is.
kernel_memory() {
    drop
    awk '/^(SUnreclaim|Percpu|VmallocUsed|KernelStack):/ { sum += $2 } END { print sum }' /proc/meminfo
}

# a_round NUMBER: in and out again, with writes passing, held by a filter, or copied for a snapshot that goes with its module. The first time
# somebody who looks has to have seen it.
a_round() {
    local filter=blkfilter_sample
    case $(($1 % 3)) in
    0) modprobe $filter && filterc sample attach $A ;;
    1) modprobe $filter hold=1 && filterc sample attach $A ;;
    2) filter=blksnap && modprobe $filter && snapshot memory -- $A ;;
    esac
    [ $1 != 0 ] || within 10 test -s $W/seen
    # An image is in use while udev looks at it.
    within 10 rmmod $filter
    rmmod blkfilter
}

# Looks at what the modules show of themselves, again and again, while they come and go.
look() {
    local file text
    while [ ! -e $W/stop ]; do
        for file in /sys/module/blk{filter/parameters/attachments,snap/parameters/{devices,snapshots}}; do
            text=
            { read -r -d '' text <$file || true; } 2>/dev/null
            case $text in *state=live*) echo "$text" >$W/seen ;; esac
        done
        sleep 0.1
    done
}

# How much more memory the kernel uses than after the first rounds, which fill caches: in $grown, and for who waits outside.
tell_memory() {
    grown=$(($(kernel_memory) - memory))
    echo "$round rounds; the kernel's memory grew by $grown KiB" | tee -a /host/rounds.txt
}

# ROUNDS of it under load; a thousand by `cargo xtask test --vm --name load_rounds --rounds 1000`. Memory must not grow with them: by a KiB each
# and some MiB of chance at most. Each ten rounds the load is proved and begun anew.
t_load_rounds() { # long
    local round rounds=${ROUNDS:-3} memory=0 grown
    for ((round = 0; round < rounds; round++)); do
        if [ $((round % 10)) = 0 ]; then
            [ $round != 30 ] || memory=$(kernel_memory)
            [ $((round % 100)) != 0 ] || [ "$memory" = 0 ] || tell_memory
            rm -f $W/a.journal*
            blkdiscard -z $A
            load $A $W/a.journal
            look &
            LOADS+=($!)
        fi
        a_round $round
        if [ $((round % 10)) = 9 ] || [ $((round + 1)) = "$rounds" ]; then
            stop_loads
            stamp prove $A:$W/a.journal
        fi
    done
    [ "$memory" != 0 ] || return 0
    tell_memory
    [ $grown -lt $((round + 8192)) ] || fail "the kernel's memory grew by $grown KiB in $round rounds"
}
