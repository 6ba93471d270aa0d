# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
# Devices and states of the bench. `devices KIND` sets $ORIGIN and $STORE; `up_STATE` sets $TARGET, what is written, and $IMAGE, what
# shows the time of the take; `down` takes any state back; `info` says in JSON what it cost.

MIB=768 # size of origin and store
COMMON="--eta=never --direct=1 --randseed=7 --group_reporting --lat_percentiles=1 --clat_percentiles=0 --percentile_list=50:99"

# within SECONDS COMMAND…: waits until the command succeeds.
within() {
    local end=$((SECONDS + $1 + 1)) && shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not in time: $*" >&2 && return 1; }
        sleep 0.05
    done
}

devices() {
    KIND=$1
    "devices_$1"
    for disk in "$ORIGIN" "$STORE"; do
        within 10 test -b "$disk"
        [ "$1" != thin ] || continue
        # What lies in memory allocates a page at its first write.
        dd if=/dev/zero of="$disk" bs=1M count=$MIB oflag=direct status=none
    done
    # udev has looked at them before, not in a figure.
    udevadm settle -t 60
}

devices_ram() {
    modprobe brd rd_nr=3 rd_size=$((MIB * 1024))
    ORIGIN=/dev/ram0 STORE=/dev/ram1 OTHER=/dev/ram2
}

# Two jobs, each on its half.
devices_two() {
    devices_ram
    COMMON+=" --numjobs=2 --offset_increment=384M"
}

devices_scsi() {
    modprobe scsi_debug per_host_store=1 add_host=2 dev_size_mb=$MIB ndelay=100000 max_queue=64
    local disk disks=()
    udevadm settle -t 60
    for disk in /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*; do disks+=("/dev/${disk##*/}"); done
    ORIGIN=${disks[0]} STORE=${disks[1]}
    for disk in "${disks[@]}"; do echo none >"/sys/block/${disk#/dev/}/queue/scheduler"; done
}

devices_null() {
    modprobe configfs
    mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
    modprobe null_blk nr_devices=0
    local number folder disk
    for number in 0 1; do
        folder=/sys/kernel/config/nullb/nullb$number
        mkdir $folder
        for setting in size=$MIB memory_backed=1 irqmode=2 completion_nsec=100000 blocksize=512; do
            echo "${setting#*=}" >"$folder/${setting%=*}"
        done
        echo 1 >$folder/power
        within 10 test -b /dev/nullb$number
        echo none >/sys/block/nullb$number/queue/scheduler
    done
    ORIGIN=/dev/nullb0 STORE=/dev/nullb1
}

devices_nulls() { devices_null; }

devices_virtio() {
    ORIGIN=$(readlink -f /dev/disk/by-id/virtio-origin) STORE=$(readlink -f /dev/disk/by-id/virtio-store)
    local disk
    for disk in "$ORIGIN" "$STORE"; do echo none >"/sys/block/${disk#/dev/}/queue/scheduler"; done
}

devices_thin() {
    modprobe brd rd_nr=256 rd_size=4096
    dmsetup create store --table "0 $((64 << 21)) zero"
    dmsetup create thin --table "0 $((64 << 21)) zero"
    ORIGIN=/dev/mapper/thin STORE=/dev/mapper/store
}

sectors() { blockdev --getsz "$ORIGIN"; }

up_raw() { unload && TARGET=$ORIGIN IMAGE=$ORIGIN; }

up_linear() {
    unload
    files_away
    dmsetup create linear --table "0 $(sectors) linear $ORIGIN 0"
    TARGET=/dev/mapper/linear IMAGE=$TARGET
    DM=linear
}

# dm KIND SECTORS: the device-mapper's snapshot, N (not persistent) or P, with chunks of so many sectors. The origin's device is made
# after the snapshot: the other way round, large writes are not cut, and only their first chunk is saved.
up_dm() {
    unload
    files_away
    dd if=/dev/zero of="$STORE" bs=1M count=1 oflag=direct status=none
    dmsetup create image --table "0 $(sectors) snapshot $ORIGIN $STORE $1 $2"
    dmsetup create origin --table "0 $(sectors) snapshot-origin $ORIGIN"
    TARGET=/dev/mapper/origin IMAGE=/dev/mapper/image
    DM="origin image"
}

# size SIZE STATE…: a state of a thin origin of that size.
up_size() {
    dmsetup remove --retry thin
    dmsetup create thin --table "0 $(($(numfmt --from=iec "$1") / 512)) zero"
    within 10 test -b "$ORIGIN"
    "up_$2" "${@:3}"
}

# many NUMBER: so many devices are tracked, the origin among them.
up_many() {
    load
    local -a disks=("$ORIGIN")
    local number
    for ((number = 1; number < $1; number++)); do disks+=(/dev/ram$number); done
    attach "${disks[@]}"
    TARGET=$ORIGIN
}

up_loaded() { load && TARGET=$ORIGIN IMAGE=$ORIGIN; }

up_other() {
    load
    attach "$OTHER"
    TARGET=$ORIGIN IMAGE=$ORIGIN
}

up_tracked() {
    load
    attach "$ORIGIN"
    TARGET=$ORIGIN IMAGE=$ORIGIN
}

# snapshot STORE [NUMBER]: as many snapshots as said; the storage of the newest is `device`, `memory`, that of the others memory.
up_snapshot() {
    load
    local store=$1 number=${2:-1}
    [ "$store" != device ] || store=$STORE
    while [ $((--number)) -gt 0 ]; do take memory; done
    take "$store"
    TARGET=$ORIGIN
}

take() {
    ID=$(blksnap snapshot create -q "$ORIGIN" --store "$1" --take --json 2>/dev/null | jq -r .id)
    IDS+=("$ID")
    IMAGE=$(blksnap snapshot info "$ID" --json | jq -r '.images[0].image')
    within 10 test -b "$IMAGE"
    udevadm settle -t 60
}

load() {
    if [ -d /sys/module/blksnap ]; then
        :
    elif [ -n "${MODULES:-}" ]; then
        insmod "$MODULES/blkfilter.ko"
        insmod "$MODULES/blksnap.ko"
    else
        modprobe blksnap
    fi
}

unload() { [ ! -d /sys/module/blksnap ] || rmmod blksnap blkfilter; }

attach() {
    blksnap attach -q "$@" >/dev/null
    ATTACHED=("$@")
}

# A file on a file system of the store.
up_file() {
    ext4 "$STORE"
    mkdir -p /tmp/store
    mount "$STORE" /tmp/store
    up_snapshot /tmp/store
}

# requests before|after: what a disk that is not of the guest's memory counts, for both: reads, writes and the sectors of each.
requests() {
    [ "$KIND" = virtio ] || return 0
    local disk
    for disk in "$ORIGIN" "$STORE"; do awk '{ printf "%d %d %d %d ", $1, $5, $3, $7 }' "/sys/class/block/${disk##*/}/stat"; done >"/tmp/requests-$1"
}

# What came to them between the two, as JSON: a list for the origin, and one for the store.
requested() {
    paste -d ' ' /tmp/requests-before /tmp/requests-after |
        awk '{ for (i = 1; i <= 8; i++) printf "%s%d%s", i == 1 ? "[[" : i == 5 ? "[" : "", $(i + 8) - $i, i == 8 ? "]]" : i == 4 ? "]," : ","; }'
}

info() {
    if [ "$KIND" = virtio ]; then described | jq --argjson requests "$(requested)" '. + { requests: $requests }'; else described; fi
}

described() {
    if [ ${#GATES[@]} -gt 0 ]; then
        printf '%s\n' "${GATES[@]}" | jq -s '{ gates: . }'
    elif [ ${#IDS[@]} -gt 0 ]; then
        blksnap snapshot info "$ID" --json
    elif [ "$DM" = "origin image" ]; then
        dmsetup status image | jq -R 'split(" ") | { dm: .[3] }'
    else
        echo '{}'
    fi
}

down() {
    udevadm settle -t 60
    local id name
    for id in "${IDS[@]}"; do blksnap snapshot destroy -q "$id" >/dev/null && ATTACHED=("$ORIGIN"); done
    # Its store may have been there.
    files_away
    [ ${#ATTACHED[@]} = 0 ] || blksnap detach -q "${ATTACHED[@]}" >/dev/null
    for name in /tmp/store /tmp/backups; do ! mountpoint -q $name || umount $name; done
    for name in $DM; do dmsetup remove --retry "$name"; done
    IDS=() ATTACHED=() GATES=() DM=''
}
IDS=() ATTACHED=() GATES=() DM=''
