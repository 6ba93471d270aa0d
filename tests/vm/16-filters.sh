# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Several filters on a device; the example filter in Rust; what a device may do while filters are on it.

switch() { echo "$2" >/sys/module/blkfilter_sample/parameters/"$1"; }
counted() { filterc "$1" stat "$2" | value "$3"; }
has_more() { [ "$(counted "$1" "$2" "$3")" -gt "$4" ]; }
has() { [ "$(counted "$1" "$2" "$3")" = "$4" ]; }
write() { dd if=/dev/urandom of="$1" bs=4k count="$2" oflag=direct conv=notrunc status=none; }

t_load_filter_in_rust() {
    modprobe blkfilter_rust
    filterc rust attach $A
    write $A 10
    same "$(counted rust $A shown) $(counted rust $A held)" "10 0" "writes shown, held"
    filterc rust mode $A 1
    write $A 5
    same "$(counted rust $A held) $(counted rust $A sent)" "5 5" "writes held, sent on"
    filterc rust mode $A 2
    copy $A $W/before 1
    blkdiscard -l 1M $A
    copy $A $W/after 1
    cmp $W/before $W/after
    same "$(counted rust $A held) $(counted rust $A sent)" "6 5" "held, sent on when a discard was ended by the filter"
    filterc rust detach $A
}

# The one attached first is asked first; who sends on a bio goes on with the next one.
t_load_filters_in_order() { # long
    modprobe blkfilter_rust
    modprobe blkfilter_sample hold=1 delay_ms=1000000
    filterc sample attach $A
    filterc rust attach $A
    errno EALREADY filterc rust attach $A
    errno EINVAL filterc blksnap detach $A
    write $A 1 &
    within 5 has sample $A held 1
    has rust $A shown 0 || fail "the second filter was shown a bio that the first one holds"
    filterc sample detach $A # which sends on what it held
    wait $!
    same "$(counted rust $A shown)" 1 "shown to the second filter"
    # The other way round: now sample is behind.
    filterc sample attach $A
    write $A 1 &
    within 5 has sample $A held 1
    same "$(counted rust $A shown)" 2 "shown to the first filter"
    filterc sample detach $A
    wait $!
    # Both hold each bio, and each is asked once for it.
    switch delay_ms 0
    filterc sample attach $A
    filterc rust mode $A 1
    write $A 20
    same "$(counted rust $A shown) $(counted rust $A sent)" "22 20" "shown to the first filter, sent on by it"
    same "$(counted sample $A shown) $(counted sample $A sent)" "20 20" "shown to the second filter, sent on by it"
}

# Tracking between two filters that hold each write, one of them reordering them, on the disk and on its partition; filters come and go.
t_load_filters_beside_a_snapshot() { # long
    blkdiscard -z $A
    modprobe blksnap
    modprobe blkfilter_rust
    modprobe blkfilter_sample hold=1 delay_ms=4 reverse=1
    filterc sample attach $A
    snapc attach $A
    filterc rust attach $A
    filterc rust mode $A 1
    load $A $W/a.journal
    more_writes $W/a.journal
    has_more sample $A sent 0
    has_more rust $A sent 0
    snapshot memory -- $A
    rmmod blkfilter_sample
    filterc rust detach $A
    filterc rust attach $A
    more_writes $W/a.journal
    stop_loads
    copy "${IMAGE[0]}" $W/image
    stamp prove $W/image:$W/a.journal --after "$BEFORE" --before "$AFTER"
    stamp prove $A:$W/a.journal
    destroy
    printf 'label: gpt\nsize=14MiB\n' | partitioned $A
    within 3 test -b ${A}1
    exec 7<${A}1 # so that udev does not make it anew when the disk was written to
    errno EBUSY snapc attach ${A}1
    filterc rust detach $A
    filterc rust attach ${A}1
    write ${A}1 3
    same "$(counted rust ${A}1 shown)" 3 "shown to the filter on the partition"
    dd if=/dev/zero of=$A bs=4k seek=16 count=1 oflag=direct conv=notrunc status=none
    same "$(counted rust ${A}1 shown)" 3 "shown to the filter on the partition, after a write before it"
}

# A write that sleeps below the hook, of no filter and of one: MD lets writes wait.
t_load_filter_leaves_sleepers() { # long
    modprobe raid1 || skip "no raid1"
    mdadm --create /dev/md8 --quiet --run --assume-clean --metadata=1.2 --level=1 --raid-devices=2 --size=16M $A $B >/dev/null 2>&1
    within 3 test -b /dev/md8
    local md=/sys/block/md8/md writer
    trap 'echo 0 >/sys/block/md8/md/suspend_hi' EXIT
    modprobe blkfilter
    echo 0 >$md/suspend_lo
    echo 16384 >$md/suspend_hi
    dd if=/dev/zero of=/dev/md8 bs=4k count=1 oflag=direct status=none &
    writer=$!
    within 5 asleep $writer
    rmmod blkfilter
    asleep $writer || fail "the write did not wait"
    echo 0 >$md/suspend_hi
    wait $writer

    modprobe blksnap
    snapc attach /dev/md8
    echo 16384 >$md/suspend_hi
    dd if=/dev/zero of=/dev/md8 bs=4k count=1 oflag=direct status=none &
    writer=$!
    within 5 asleep $writer
    rmmod blksnap
    ! rmmod blkfilter 2>/dev/null || fail "unloaded while a write was in flight that it counts"
    asleep $writer || fail "the write did not wait"
    echo 0 >$md/suspend_hi
    wait $writer
    within 5 rmmod blkfilter
}

asleep() { grep -q '^State:.D' /proc/"$1"/status && grep -q md_ /proc/"$1"/wchan; }

# A tracked disk under load: another scheduler, its partitions read again, its queue frozen by changes of its settings.
t_filter_disk_is_changed_under_load() { # long
    local queue=/sys/block/${A#/dev/}/queue
    blkdiscard -z $A
    snapc attach $A
    load $A $W/a.journal
    more_writes $W/a.journal
    echo mq-deadline >$queue/scheduler
    snapshot memory -- $A
    echo none >$queue/scheduler
    blockdev --rereadpt $A
    echo 512 >$queue/max_sectors_kb
    echo 2 >$queue/nomerges
    echo mq-deadline >$queue/scheduler
    more_writes $W/a.journal
    stop_loads
    echo none >$queue/scheduler
    echo 0 >$queue/nomerges
    copy "${IMAGE[0]}" $W/image
    stamp prove $W/image:$W/a.journal --after "$BEFORE" --before "$AFTER"
    stamp prove $A:$W/a.journal
}

# Read-only at the take, and written again later.
t_filter_disk_is_read_only_for_a_while() { # long
    snapc attach $A
    write $A 4
    copy $A $W/before
    blockdev --setro $A
    snapshot memory -- $A
    cmp "${IMAGE[0]}" $W/before
    blockdev --setrw $A
    write $A 4
    copy "${IMAGE[0]}" $W/after
    cmp $W/before $W/after
}

# A DM device that is suspended and resumed again and again, with another table, too.
t_filter_dm_is_suspended_under_load() { # long
    blkdiscard -z $A
    printf '0 32768 linear %s 0\n' $A | dmsetup create upper
    snapc attach "$(node /dev/mapper/upper)"
    load /dev/mapper/upper $W/a.journal
    for i in 1 2 3 4; do
        dmsetup suspend --noflush --nolockfs upper
        [ $i != 3 ] || printf '0 16384 linear %s 0\n16384 16384 linear %s 16384\n' $A $A | dmsetup load upper
        dmsetup resume upper
        more_writes $W/a.journal 10
        [ $i != 2 ] || snapshot memory -- /dev/mapper/upper
    done
    stop_loads
    copy "${IMAGE[0]}" $W/image
    stamp prove $W/image:$W/a.journal --after "$BEFORE" --before "$AFTER"
    stamp prove /dev/mapper/upper:$W/a.journal
}

# A partition that is deleted takes its attachment along; the disk's stays, and what was written to the partition is in its snapshot.
t_filter_partition_is_deleted() {
    printf 'label: gpt\nsize=14MiB\n' | partitioned $B
    printf 'label: gpt\nsize=14MiB\n' | partitioned $A
    within 3 test -b ${A}1
    within 3 test -b ${B}1
    snapc attach $A
    snapc attach ${B}1
    copy $A $W/before
    snapshot memory -- $A
    write ${A}1 4
    partitioned --delete $A 1
    partitioned --delete $B 1
    within 3 test ! -e ${B}1
    # Its attachment ends a little after its node.
    within 3 snapc attach $B
    # One that is made while its disk is attached, and in a snapshot: what is written through it is seen.
    printf 'start=16MiB, size=8MiB\n' | partitioned --append $A
    within 3 test -b ${A}1
    write ${A}1 4
    drop
    ! cmp -s $W/before $A || fail "nothing was written"
    write $A 4
    copy "${IMAGE[0]}" $W/image
    cmp $W/before $W/image
}

# A file system that somebody else has frozen stays frozen. Kernels that cannot freeze it once more, as 6.1, refuse the snapshot.
t_filter_file_system_is_frozen() {
    mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 $A
    mkdir -p /mnt/frozen
    mount $A /mnt/frozen
    snapc attach $A
    echo before >/mnt/frozen/file
    fsfreeze -f /mnt/frozen
    copy $A $W/origin
    if snapc snapshot memory 0 $A >$W/snapshot 2>$W/error; then
        read -r _ _ _ image <$W/snapshot
    else
        same "$(<$W/error)" EBUSY "why it is refused"
    fi
    (echo after >/mnt/frozen/file) &
    within 5 grep -q '^State:.D' /proc/$!/status
    cmp $A $W/origin
    fsfreeze -u /mnt/frozen
    wait $!
    sync
    if [ -n "${image-}" ]; then
        copy "$image" $W/image
        cmp $W/origin $W/image
    fi
    umount /mnt/frozen
}

# Sectors with integrity data: a filter that holds a write leaves them on it.
t_load_filter_integrity() { # long
    modprobe scsi_debug dev_size_mb=16 delay=0 dif=1 dix=1 || skip "no scsi_debug"
    local block
    within 10 eval 'ls /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*/size'
    block=(/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*)
    DISK=/dev/${block[0]##*/}
    within 10 test -b "$DISK"
    grep -q DIF /sys/block/"${DISK#/dev/}"/integrity/format || skip "no integrity data: $(cat /sys/block/"${DISK#/dev/}"/integrity/format)"
    modprobe blksnap
    modprobe blkfilter_sample hold=1
    filterc sample attach "$DISK"
    write "$DISK" 4
    copy "$DISK" $W/before
    snapshot memory -- "$DISK"
    write "$DISK" 4
    copy "$DISK" $W/now
    ! cmp -s $W/before $W/now || fail "the writes changed nothing"
    copy "${IMAGE[0]}" $W/image
    cmp $W/before $W/image
    destroy
    snapc detach "$DISK"
    filterc sample detach "$DISK"
}
