# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# NVMe multipath: one namespace, to which several controllers of a subsystem lead, over NVMe's loop transport or, where the kernel has not that, TCP. Its
# paths have no device number, so that nobody can open one.

SUBSYSTEM=/sys/kernel/config/nvmet/subsystems/blksnap PORT=/sys/kernel/config/nvmet/ports/1

# Another controller, and so another path.
connect() { echo "$TRANSPORT,nqn=blksnap" >/dev/nvme-fabrics; }

# The paths are $PATHS, their controllers $CONTROLLERS, when there are so many; the disk is $DISK.
paths() {
    PATHS=(/sys/block/nvme*c*n1)
    mapfile -t CONTROLLERS < <(grep -lx blksnap /sys/class/nvme/nvme*/subsysnqn 2>/dev/null)
    [ ${#CONTROLLERS[@]} = "$1" ] && [ ${#PATHS[@]} = "$1" ] && [ -e "${PATHS[0]}" ] || return
    DISK=${PATHS[0]##*/}
    DISK=/dev/${DISK%%c*}n1
    [ -b "$DISK" ]
}

disconnect() { echo 1 >"${CONTROLLERS[$1]%/*}/delete_controller"; }

multipath_off() {
    local i
    for i in /sys/class/nvme/nvme*; do
        if grep -qx blksnap "$i/subsysnqn" 2>/dev/null; then echo 1 >"$i/delete_controller"; fi
    done
    rm -f $PORT/subsystems/blksnap
    rmdir $PORT $SUBSYSTEM/namespaces/1 $SUBSYSTEM
}

# multipath DEVICE COUNT: so many paths to a device.
multipath() {
    local i
    if modprobe -a nvmet nvme-loop 2>/dev/null; then
        TRANSPORT=transport=loop
    else
        modprobe -a nvmet-tcp nvme-tcp 2>/dev/null || skip "no NVMe over loop or TCP"
        TRANSPORT=transport=tcp,traddr=127.0.0.1,trsvcid=4420,duplicate_connect
        busybox ifconfig lo 127.0.0.1
    fi
    same "$(cat /sys/module/nvme_core/parameters/multipath)" Y "multipath of nvme_core"
    mount -t configfs none /sys/kernel/config 2>/dev/null || true
    mkdir $SUBSYSTEM $SUBSYSTEM/namespaces/1 $PORT
    trap multipath_off EXIT
    echo 1 >$SUBSYSTEM/attr_allow_any_host
    echo -n "$1" >$SUBSYSTEM/namespaces/1/device_path
    echo 1 >$SUBSYSTEM/namespaces/1/enable
    if [ $TRANSPORT != transport=loop ]; then
        echo ipv4 >$PORT/addr_adrfam
        echo 127.0.0.1 >$PORT/addr_traddr
        echo 4420 >$PORT/addr_trsvcid
    fi
    echo "${TRANSPORT:10}" | cut -d, -f1 >$PORT/addr_trtype
    ln -s $SUBSYSTEM $PORT/subsystems/blksnap
    for ((i = 0; i < $2; i++)); do connect; done
    within 10 paths "$2"
}

# The path in use goes under load: the writes in flight come back, and go over the other.
t_origin_nvme_multipath() { # long
    local hidden
    multipath "$(node $A)" 2
    for hidden in "${PATHS[@]}"; do
        [ ! -e "$hidden/dev" ] && [ ! -e "/dev/${hidden##*/}" ] || fail "the path ${hidden##*/} can be opened"
    done
    check_origin "$DISK"
    blkdiscard -z "$DISK"
    load "$DISK" $W/3.journal
    snapshot memory -- "$DISK"
    for _ in 1 2; do
        disconnect 0
        more_writes $W/3.journal
        connect
        within 10 paths 2
    done
    stop_loads
    copy "${IMAGE[0]}" $W/image
    stamp prove $W/image:$W/3.journal --after "$BEFORE" --before "$AFTER"
    stamp prove "$DISK:$W/3.journal"
    destroy
    snapc detach "$DISK"
}

# What has gone to a path, and sleeps at its queue that somebody else has frozen, is in no count of the disk: an attach waits for it.
t_attach_multipath_waits_for_its_paths() { # long
    local path first second scheduler attach
    dmsetup create slow --table "0 65536 linear $(node $A) 0"
    multipath /dev/mapper/slow 1
    trap 'dmsetup resume slow; multipath_off' EXIT
    udevadm settle
    dmsetup suspend --nolockfs slow
    path=${PATHS[0]}
    dd if=/dev/zero of="$DISK" bs=4k count=1 oflag=direct conv=notrunc status=none &
    first=$!
    within 3 eval "[ \"\$(tr -s ' ' <$path/inflight)\" != ' 0 0' ]"
    # Changing the scheduler freezes the queue until the first write has ended.
    sh -c "echo mq-deadline >$path/queue/scheduler" &
    scheduler=$!
    within 3 grep -q freeze_queue_wait /proc/$scheduler/stack
    dd if=/dev/zero of="$DISK" bs=4k seek=8 count=1 oflag=direct conv=notrunc status=none &
    second=$!
    within 3 grep -q queue_enter /proc/$second/stack
    snapc attach "$DISK" &
    attach=$!
    within 3 grep -q msleep /proc/$attach/stack
    dmsetup resume slow
    wait $attach
    same "$(awk '{ print $5 }' $path/stat)" 2 "writes that ended before the attach did"
    wait $first $second $scheduler
    snapc detach "$DISK"
    multipath_off
    trap - EXIT
    dmsetup remove --retry slow
}

# A path is being removed, and its queue stays frozen: an attach waits for the write that is under way there, and for nothing else. Until the change of
# the scheduler has ended, which waits for that write, the removal does not get on.
t_attach_multipath_while_a_path_leaves() { # long 6.12
    local i path= controller first scheduler removal pid
    dmsetup create slow --table "0 65536 linear $(node $A) 0"
    multipath /dev/mapper/slow 2
    trap 'dmsetup resume slow; multipath_off' EXIT
    udevadm settle
    dmsetup suspend --nolockfs --noflush slow
    dd if=/dev/zero of="$DISK" bs=4k count=1 oflag=direct conv=notrunc status=none &
    first=$!
    within 3 eval 'for path in "${PATHS[@]}"; do [ "$(tr -s " " <$path/inflight)" = " 0 0" ] || break; done; [ "$(tr -s " " <$path/inflight)" != " 0 0" ]'
    controller=${path##*/}
    # nvmeScCnN is a path by way of the controller nvmeC.
    controller=${controller#nvme*c}
    controller=/sys/class/nvme/nvme${controller%n*}
    sh -c "echo mq-deadline >$path/queue/scheduler" &
    scheduler=$!
    within 3 grep -q freeze_queue_wait /proc/$scheduler/stack
    sh -c "echo 1 >$controller/delete_controller" &
    removal=$!
    within 5 grep -q del_gendisk /proc/$removal/stack
    snapc attach "$DISK" &
    pid=$!
    within 5 grep -q bsk_queue_settle /proc/$pid/stack
    kill -0 $first || fail "the write has ended, and its disk stands still"
    kill -0 $pid || fail "attached before the write has ended"
    dmsetup resume slow
    wait $pid || fail "not attached"
    wait $first $scheduler $removal
    snapshot memory -- "$DISK"
    more "$DISK" 1 0.2
    destroy
    snapc detach "$DISK"
    multipath_off
    trap - EXIT
    dmsetup remove --retry slow
}
