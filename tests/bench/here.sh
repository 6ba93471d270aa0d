# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The bench on somebody's machine. Its disks are made of memory by drivers that nobody else uses meanwhile; no other disk is ever named.

# Ours alone, while we run.
DRIVERS="brd null_blk scsi_debug"
NAMES="linear origin image thin store"

# guard: nothing that we make is there already, there is memory for it, and it goes when we do.
guard() {
    local name
    for name in $DRIVERS blksnap blkfilter; do
        [ ! -d "/sys/module/$name" ] || refuse "the module $name is in use or built in: its disks may be somebody's"
    done
    for name in $NAMES; do [ ! -e "/dev/mapper/$name" ] || refuse "there is a /dev/mapper/$name already"; done
    for name in /tmp/files /tmp/backups /tmp/store; do ! mountpoint -q $name || refuse "something is mounted on $name"; done
    [ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt $((4 << 20)) ] || refuse "4 GiB of free memory are needed"
    trap leave EXIT
}

refuse() {
    echo "nothing is measured: $*" >&2
    trap - ERR
    exit 1
}

# Whatever state we are in.
leave() {
    trap - ERR
    set +e
    down
    unload
    local name
    for name in thin store; do [ ! -e /dev/mapper/$name ] || dmsetup remove --retry $name; done
    for name in /sys/kernel/config/nullb/*/; do rmdir "$name" 2>/dev/null; done
    for name in $DRIVERS; do [ ! -d "/sys/module/$name" ] || rmmod "$name"; done
}
