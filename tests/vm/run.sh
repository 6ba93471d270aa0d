#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# run.sh [PART-OF-A-NAME [GUEST GUESTS]]: runs the tests in a guest, or those whose names hold the word given, one verdict line
# each. With several guests, each runs every so many-th test, beginning with its own number from 0.
here=$(dirname "$0")
pattern=${1:-}
guest=${2:-0}
guests=${3:-1}
count=0
bad='WARNING: |BUG: |Oops|general protection|Call Trace|INFO: task|rcu: INFO|refcount_t:|sleeping function|UBSAN|KASAN|Unknown rela|Unknown symbol'

# Takes away whatever a test left: returns non-zero when something of ours cannot be removed.
reset() {
    local pid device id i
    touch /tmp/work/stop
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
    pkill -x 'stamp|fio|snapc|blksnap|dd|strace|cmp'
    for i in 1 2 3 4 5; do
        awk '$2 ~ "^/tmp/work/" || $2 ~ "^/mnt/" { print $2 }' /proc/mounts | sort -r | while read -r device; do umount "$device" 2>/dev/null; done
        if [ -e /dev/blksnap-control ]; then
            for id in $(snapc collect 64 2>/dev/null); do snapc destroy "$id" 2>/dev/null; done
        fi
        grep -qE ' (/tmp/work|/mnt)/' /proc/mounts || break
        sleep 0.3
    done
    # blkfilter stays loaded, with nobody using it: loading and unloading it costs seconds here, and has its own tests.
    if grep -q '^blksnap ' /proc/modules; then
        rmmod blksnap 2>/dev/null || { sleep 0.5; rmmod blksnap 2>/dev/null; }
    fi
    grep -q : /proc/mdstat 2>/dev/null && mdadm --stop --scan >/dev/null 2>&1
    [ -z "$(ls /sys/block | grep '^dm-')" ] || dmsetup remove_all -f >/dev/null 2>&1
    losetup -D 2>/dev/null
    for device in scsi_debug null_blk brd; do [ ! -d /sys/module/$device ] || rmmod $device 2>/dev/null; done
    rm -rf /tmp/work
    for device in a b c d; do
        device=$(readlink -f /dev/disk/by-id/virtio-$device)
        dd if=/dev/zero of="$device" bs=128k count=1 oflag=direct status=none
        [ ! -b "${device}1" ] || blockdev --rereadpt "$device" 2>/dev/null
    done
    udevadm settle -t 5
    ! grep -q '^blksnap ' /proc/modules && { [ ! -d /sys/module/blkfilter ] || [ "$(cat /sys/module/blkfilter/refcnt)" = 0 ]; }
}

one() {
    local file=$1 name=$2 begin=$EPOCHREALTIME code reason line seconds
    mkdir -p /tmp/work
    echo "TEST $name" >/dev/kmsg
    timeout -k 5 "${TEST_SECONDS:-60}" bash -c '
        . "$1/lib.sh"
        trap '\''code=$?; [ -s $W/reason ] || echo "line $LINENO: $BASH_COMMAND ($code)" >$W/reason'\'' ERR
        [ "${2#t_load}" != "$2" ] || modprobe blksnap
        . "$3"
        "$2"
    ' test "$here" "$name" "$file" >/tmp/test.out 2>&1
    code=$?
    reason=$(head -c 300 /tmp/work/reason 2>/dev/null | tr '\n' ' ')
    if [ $code = 124 ] || [ $code = 137 ]; then reason="hung: stopped after ${TEST_SECONDS:-60} s"; fi
    if ! reset && [ $code = 0 ]; then code=1 reason="the modules cannot be removed after it"; fi
    line=$(dmesg | awk -v mark="TEST $name" 'index($0, mark) { text = ""; next } { text = text "\n" $0 } END { print text }' |
        grep -E "$bad" | head -n 1)
    if [ -n "$line" ]; then code=1 reason="kernel log: $line"; fi
    seconds=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    case $code in
    0) echo "PASS ${name#t_} ($seconds s)" ;;
    77) echo "SKIP ${name#t_} $reason" ;;
    *)
        echo "FAIL ${name#t_} ${reason:-exit $code}"
        tail -n 15 /tmp/test.out | sed 's/^/    | /'
        ;;
    esac
}

modprobe -a loop dm-mod 2>/dev/null
echo "machine up for $(cut -d" " -f1 /proc/uptime) s"
for file in "$here"/[0-9]*.sh; do
    for name in $(sed -n 's/^\(t_[a-z0-9_]*\)() {.*/\1/p' "$file"); do
        case $name in *$pattern*) ;; *) continue ;; esac
        [ $((count++ % guests)) -ne "$guest" ] || one "$file" "$name"
    done
done
echo "END OF TESTS"
