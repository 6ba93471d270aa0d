# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the tests in virtual machines share. A test is a function t_NAME of a file here; it fails by a failing command
# (its line is the reason) or by `fail REASON`, and is skipped by `skip REASON`. Each begins with the modules loaded and
# nothing attached (t_load_*: with no module loaded), and what it leaves behind (mounts, devices, snapshots, background
# programs) is cleaned away after it.
#
# Starting a program costs about 20 ms in an emulated guest: the shell's own words are dear enough.

set -Eeuo pipefail

# Disks, named by run.sh: $A and $B are of 32 MiB and empty at their first 128 KiB, $C and $D of 512 MiB.
W=/tmp/work # an empty folder in memory

fail() {
    echo "$*" >$W/reason
    exit 1
}

skip() {
    echo "$*" >$W/reason
    exit 77
}

note() { echo "  $*"; }

same() { [ "$1" = "$2" ] || fail "${3:-value}: $1, expected $2"; }

# within SECONDS COMMAND…: waits until the command succeeds: so many seconds, 20 at least, as the machine may be busy; on a slow kernel $SLOWER
# times as long.
within() {
    local end=$((SECONDS + ($1 > 20 ? $1 : 20) * ${SLOWER:-1} + 1)) pause=$((50 * ${SLOWER:-1})) && shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep ${pause}e-3
    done
}

# errno NAME COMMAND…: the command must fail, with just this errno.
errno() {
    local want=$1 got && shift
    if got=$("$@" 2>&1 >/dev/null); then fail "$*: succeeded, expected $want"; fi
    [ "$got" = "$want" ] || fail "$*: $got, expected $want"
}

# The device node a name stands for.
node() { if [ -L "$1" ]; then readlink -f "$1"; else echo "$1"; fi; }

# value NAME < lines of NAME=VALUE
value() { sed -n "s/^$1=//p"; }

# snapshot STORE [BYTES] -- DEVICE…: attaches those that are not, makes, takes. The id is in $ID, the images in ${IMAGE[i]},
# the times around the take in $BEFORE and $AFTER.
snapshot() {
    local store=$1 limit=0
    shift
    if [ "$1" != -- ]; then limit=$1 && shift; fi
    shift
    snapc snapshot "$store" "$limit" "$@" >$W/snapshot
    read -r ID BEFORE AFTER IMAGES <$W/snapshot
    read -r -a IMAGE <<<"$IMAGES"
}

# The image's device node of a device.
image() {
    local error name
    read -r error name < <(snapc info "$(node "$1")")
    [ "$error" = 0 ] || fail "the snapshot of $1 has failed with $error"
    [ -n "$name" ] || fail "$1 has no image"
    within 5 test -b "/dev/$name"
    echo "/dev/$name"
}

counter() { snapc counters "$(node "$1")" | value "$2"; }

destroy() { snapc destroy "${1:-$ID}"; }

# Nothing of a disk is cached, and nobody reads it up to the test's end: the kernel refuses a direct write with NOWAIT where a page is. udev
# reads a disk that was closed by a writer (fio opens and closes it before it begins), but not one that is locked.
uncached() {
    udevadm settle
    exec 6<"$(node "$1")"
    flock 6
    blockdev --flushbufs "$(node "$1")"
}

# Starts a stamped load in the background; `stop_loads` ends all of them, or the test's end.
load() {
    local device=$1 journal=$2
    shift 2
    stamp load "$(node "$device")" --direct --journal "$journal" --seconds $((120 * ${SLOWER:-1})) --stop $W/stop --pause $((1500 * ${SLOWER:-1})) "$@" >>$W/load.log 2>&1 &
    LOADS+=($!)
}

# more_writes JOURNAL [COUNT]: waits until the load with that journal has begun so many more writes (40).
more_writes() {
    local from=0
    [ ! -s "$1.writes" ] || from=$(<"$1.writes")
    within 30 eval "[ \"\$(<$1.writes)\" -ge $((from + ${2:-40})) ]"
}

stop_loads() {
    local pid
    touch $W/stop
    for pid in "${LOADS[@]}"; do wait "$pid" || fail "a load failed: $(tail -n 2 $W/load.log)"; done
    rm -f $W/stop
    LOADS=()
}
LOADS=()

# copy FROM TO [MIB]: reads past the page cache, so that what is compared comes from the device.
copy() { dd if="$1" of="$2" bs=1M ${3:+count=$3} iflag=direct status=none; }

# scsi_disk MIB [PARAMETER…]: makes a disk that can be taken away, its node in $DISK.
scsi_disk() {
    local block
    modprobe scsi_debug dev_size_mb="$1" delay=0 "${@:2}" || skip "no scsi_debug"
    within 10 eval 'ls /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*/size'
    block=(/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*)
    DISK=/dev/${block[0]##*/}
    within 10 test -b "$DISK"
}

# No bcache device is left, nor a set of caches; and no late event registers one of them once more.
bcache_off() { within 20 no_bcache; }

no_bcache() {
    local i
    for i in /sys/block/bcache*/bcache /sys/fs/bcache/*-*; do [ ! -e "$i" ] || echo 1 >"$i/stop"; done
    udevadm settle
    ! ls -d /sys/block/bcache* /sys/fs/bcache/*-*
}

# The snapshot of the device, or its snapshot of that id, has failed.
failed() { local error && read -r error _ < <(snapc info "$@") && [ "$error" -lt 0 ]; }

# All that was copied of the device is in the storage, and counted.
stored() { [ "$(counter "$1" pool_bytes)" = 0 ]; }

# partitioned DISK < what sfdisk reads: udev has the partitions made anew when a disk was written to: after this they stay.
partitioned() {
    udevadm settle
    sfdisk -q "$@"
    udevadm settle
}

# logged PATTERN: the kernel's log has it, since the test began.
logged() {
    dmesg | sed -n '/ TEST t_/h; / TEST t_/!H; ${x;p}' >$W/dmesg
    grep -q "$1" $W/dmesg
}

# A store for tests that do not care: memory.
STORE=memory

drop() { echo 3 >/proc/sys/vm/drop_caches; }

# frail NAME DISK: a mapping over the first 16 MiB of a disk, to be turned into something worse.
frail() {
    dmsetup create "$1" --table "0 32768 linear $2 0"
    within 5 test -b "/dev/mapper/$1"
    node "/dev/mapper/$1"
}

# thin: a thin device of 32 MiB, its node in $THIN, whose pool has 8 MiB, and fails what does not fit.
thin() {
    modprobe dm-thin-pool || skip "no dm-thin"
    dd if=/dev/zero of=$D bs=4k count=1 oflag=direct conv=notrunc status=none
    dmsetup create pool --table "0 16384 thin-pool $(node $D) $(node $C) 128 0 1 error_if_no_space"
    dmsetup message pool 0 "create_thin 0"
    dmsetup create thin --table "0 65536 thin /dev/mapper/pool 0"
    within 5 test -b /dev/mapper/thin
    THIN=$(node /dev/mapper/thin)
}

# frail_fs NAME DISK: a frail mapping with a mounted ext4 that has something to write, at $W/NAME.
frail_fs() {
    local frail && frail=$(frail "$1" "$2")
    mkfs.ext4 -q -F "$frail"
    mkdir -p "$W/$1"
    mount "$frail" "$W/$1"
    echo something >"$W/$1/something"
    echo "$frail"
}

# turn NAME LINES: its table is these lines from now on. What is in flight ends before.
turn() {
    dmsetup suspend "$1" --nolockfs
    printf '%b\n' "$2" | dmsetup load "$1"
    dmsetup resume "$1"
}

# Fills what a test begins with: a stamped load, and a copy of it.
begin() {
    stamp load "$1" --direct --journal $W/1.journal --seconds 0.3
    copy "$1" $W/copy
}

# judged IMAGE: right or EIO, everywhere; the counts are in $RIGHT and $EIO.
judged() {
    snapc judge "$1" $W/copy >$W/judged || fail "the image is wrong: $(tail -n 1 $W/judged)"
    RIGHT=$(value right <$W/judged) EIO=$(value eio <$W/judged)
}

# A load that is to run without an error.
more() { stamp load "$1" --direct --journal "$W/$2.journal" --seconds "${3:-0.5}" --seed "$2" "${@:4}"; }

# The process sleeps in the kernel for its write.
writing() { grep -qE 'io_schedule|blkdev|dio|iomap|bio_wait' "/proc/$1/wchan" "/proc/$1/stack"; }

# check_origin DEVICE [DEVICE the load goes to]: a stamped load, a take in its middle, a second take, the true difference.
check_origin() {
    local device=$1 target=${2:-$1} device_node
    device_node=$(node "$device")
    blkdiscard -z "$target" 2>/dev/null || dd if=/dev/zero of="$target" bs=1M status=none 2>/dev/null || true
    drop
    snapc attach "$device_node"
    load "$target" $W/1.journal
    more_writes $W/1.journal 80
    snapshot $STORE -- "$device"
    more_writes $W/1.journal 80
    stop_loads
    copy "${IMAGE[0]}" $W/image1
    if [ "$device" = "$target" ]; then
        stamp prove $W/image1:$W/1.journal --after "$BEFORE" --before "$AFTER"
    fi
    destroy
    load "$target" $W/2.journal --seed 3
    more_writes $W/2.journal 80
    snapshot $STORE -- "$device"
    more_writes $W/2.journal
    stop_loads
    copy "${IMAGE[0]}" $W/image2
    if [ "$device" = "$target" ]; then
        stamp prove $W/image2:$W/1.journal:$W/2.journal --after "$BEFORE" --before "$AFTER"
    fi
    snapc cbtmap "$device_node" >$W/map
    stamp delta $W/image1 $W/image2 --map $W/map --base 1
    destroy
    snapc detach "$device_node"
    stamp prove "$target:$W/1.journal:$W/2.journal"
}
