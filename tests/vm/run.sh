#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# TEST_SECONDS=N run.sh: runs tests in a guest, one verdict line each, stopped after so many seconds. It says NEXT, and reads `FILE t_NAME` for the next test, or `END`.
#
# After each test its programs are ended (all are in one cgroup), and what it left is taken away: mounts, snapshots,
# attachments, devices. The modules stay loaded from one test to the next; whether they can be removed is tried after every
# eighth test, after a test that loads them itself (t_load_*), after one that failed, and at the end.
here=$(dirname "$0")
seconds=$TEST_SECONDS
group=/sys/fs/cgroup/test
work=/tmp/work
leaks=/sys/kernel/debug/kmemleak
disks=()
for disk in a b c d; do disks+=("$(readlink -f /dev/disk/by-id/virtio-$disk)"); done
export A=${disks[0]} B=${disks[1]} C=${disks[2]} D=${disks[3]}

# again COMMAND…: until it succeeds; after ten seconds it says why not. udev looks at what a writer has closed, and what it looks at is in use.
again() {
    local i
    for ((i = 0; i < 200 * ${SLOWER:-1}; i++)); do
        "$@" >/dev/null 2>/tmp/again && return
        sleep 0.05
    done
    echo "after it: $*: $(head -n 1 /tmp/again)"
}

# The test's programs; true when all have ended, and have closed what they had open: that is later than they are in no list any more.
end_programs() {
    local i populated left
    echo 1 >$group/cgroup.kill
    for ((i = 0; i < 500 * ${SLOWER:-1}; i++)); do
        read -r _ populated <$group/cgroup.events
        [ "$populated" != 0 ] || return 0
        sleep 0.02
    done
    read -r left <$group/cgroup.procs
    reason="a program cannot be ended: $(cat "/proc/$left/comm" "/proc/$left/wchan" 2>&1 | tr '\n' ' ')"
    return 1
}

# Unmounts what is below the folders of the tests, the last first; true when nothing is left.
unmount() {
    local mounts i point left=0
    mapfile -t mounts </proc/mounts
    for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
        point=${mounts[i]#* }
        case ${point%% *} in $work/* | /mnt/*) umount "${point%% *}" || left=1 ;; esac
    done
    return $left
}

# Whether there are devices that are made of others; they are in $dm, $loops, $caches and $mdstat.
stacked() {
    dm=(/sys/block/dm-*) loops=(/sys/block/loop*/loop) caches=(/sys/block/bcache*/bcache /sys/fs/bcache/*-*)
    mapfile -t mdstat </proc/mdstat
    [ -d "${dm[0]}" ] || [ -d "${loops[0]}" ] || [ -d "${caches[0]}" ] || [ -d "${caches[1]}" ] || [[ ${mdstat[*]} == *active* ]]
}

# Takes them away, and what is mounted; true when nothing is left.
unstack() {
    local device
    unmount && ! stacked && return
    [[ ${mdstat[*]} != *active* ]] || mdadm --stop --scan
    for device in "${caches[@]}"; do [ ! -d "$device" ] || echo 1 >"$device/stop"; done
    [ ! -d "${dm[0]}" ] || dmsetup remove_all -f
    [ ! -d "${loops[0]}" ] || losetup -D
    return 1
}

# Devices that a module makes by itself.
remove_devices() {
    local device
    for device in /sys/kernel/config/nullb/*/; do [ ! -d "$device" ] || rmdir "$device"; done
    for device in scsi_debug null_blk brd zram; do [ ! -d /sys/module/$device/holders ] || again rmmod $device; done
}

remove_modules() {
    local module why
    # In kmemleak's backtraces nothing has a name whose module is gone: where each was is noted.
    [ ! -e $leaks ] || sed -n "s/^blk/until $SECONDS s: &/p" /proc/modules >>/tmp/modules
    for module in blksnap blkfilter_sample blkfilter_rust blkfilter blkfilter_rival; do
        [ -d /sys/module/$module ] || continue
        why=$(again rmmod $module)
        [ -z "$why" ] || { reason=$why && return 1; }
    done
}

# Takes away whatever a test left; false, with a reason, when something is wrong.
reset() {
    local name=$1 failed=$2 device said= swaps dm loops caches mdstat
    for device in /sys/block/dm-*/dm/suspended; do
        [ ! -e "$device" ] || [ "$(<"$device")" = 0 ] || dmsetup resume "$(<"${device%suspended}name")"
    done
    end_programs || return
    mapfile -t swaps </proc/swaps
    [ ${#swaps[@]} -lt 2 ] || swapoff -a
    [ ! -e /proc/sys/vm/nr_hugepages ] || echo 0 >/proc/sys/vm/nr_hugepages
    if ! unmount 2>/dev/null || stacked; then
        # Snapshots first, whose storages may be on them.
        said=$(tidy "$here/complaints.txt" 2>&1)
        udevadm settle
        said+=$(again unstack)
    fi
    said+=$(tidy "$here/complaints.txt" "${disks[@]}" 2>&1; remove_devices)
    if [ -n "$said" ]; then reason=${said//$'\n'/; }; fi
    rm -rf $work
    mkdir $work
    [ -z "$said" ] || return
    case $name in t_load*) since=8 ;; esac
    if [ $((++since)) -lt 8 ] && [ "$failed" = 0 ]; then return; fi
    since=0
    remove_modules
}

one() {
    local file=$1 name=$2 begin=${EPOCHREALTIME/./} code reason='' time
    echo "TEST $name" >/dev/kmsg
    case $name in t_load*) remove_modules ;; *) [ -d /sys/module/blksnap ] || modprobe blksnap ;; esac
    timeout -k 5 "$seconds" bash -c '
        echo $$ >"$4/cgroup.procs"
        . "$1/lib.sh"
        trap '\''code=$?; [ -s $W/reason ] || echo "line $LINENO: $BASH_COMMAND ($code)" >$W/reason'\'' ERR
        . "$1/$3"
        "$2"
    ' test "$here" "$name" "$file" $group >/tmp/test.out 2>&1
    code=$?
    if [ -s $work/reason ]; then
        reason=$(head -c 300 $work/reason | tr '\n' ' ')
        # What the command said of it is the last that was said.
        case $reason in line*) reason+=": $(tail -n 1 /tmp/test.out | head -c 300)" ;; esac
    fi
    if [ $code = 124 ] || [ $code = 137 ]; then reason="hung: stopped after $seconds s"; fi
    reset "$name" $code || { [ $code != 0 ] && [ $code != 77 ]; } || code=1
    time=$((${EPOCHREALTIME/./} - begin))
    printf -v time '%d.%d s' $((time / 1000000)) $((time / 100000 % 10))
    case $code in
    0) echo "PASS ${name#t_} ($time)" ;;
    77) echo "SKIP ${name#t_} $reason" ;;
    *)
        echo "FAIL ${name#t_} ${reason:-exit $code}"
        tail -n 15 /tmp/test.out | sed 's/^/    | /'
        ;;
    esac
}

exec 9</dev/kmsg
mkdir -p $group $work
since=0
modprobe -a loop dm-mod md-mod 2>/dev/null
echo "machine up for $(cut -d" " -f1 /proc/uptime) s"
while echo NEXT && read -r file name && [ "$file" != END ]; do one "$file" "$name"; done
remove_modules || echo "FAIL remove_modules $reason"
# A kernel that watches itself: what nothing points to any more was leaked. Twice, as the first scan may find pointers on their way. Who
# has stopped to watch, as lockdep does after its first report, finds nothing any more.
if [ -e $leaks ]; then
    { echo scan && echo scan; } 2>/dev/null >$leaks || echo "FAIL kmemleak is off"
    grep -q 'debug_locks: *1$' /proc/lockdep_stats || echo "FAIL lockdep is off"
    if read -r <$leaks; then
        echo "FAIL kmemleak leaked:"
        cat /tmp/modules $leaks
    fi
fi
echo "END OF TESTS"
