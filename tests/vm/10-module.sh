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

t_load_parameters() {
    modprobe blksnap tracking_block_minimum_shift=16 tracking_block_maximum_shift=26 tracking_block_maximum_count=2097152 \
        chunk_minimum_shift=18 chunk_maximum_shift=26 chunk_maximum_count_shift=40 chunk_maximum_in_queue=16 \
        diff_storage_minimum=2097152
    same "$(cat /sys/module/blksnap/parameters/diff_storage_minimum)" 2097152 diff_storage_minimum
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
