# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Devices that fail or go away, snapshots and attachments under their feet.

t_scsi_disk_vanishes() { # long
    scsi_disk 32
    snapshot $STORE -- "$DISK"
    dd if=/dev/urandom of="$DISK" bs=4k count=512 oflag=direct conv=notrunc status=none
    dd if=/dev/urandom of="$DISK" bs=4k oflag=direct conv=notrunc status=none 2>/dev/null &
    dd if="${IMAGE[0]}" of=/dev/null bs=64k iflag=direct status=none 2>/dev/null &
    # The first 512 writes were before the two.
    within 10 eval '[ "$(awk "{ print \$5 }" /sys/block/${DISK#/dev/}/stat)" -gt 560 ]'
    echo 1 >"/sys/block/${DISK#/dev/}/device/delete"
    wait
    within 5 test ! -b "$DISK"
    timeout $((10 * ${SLOWER:-1})) dd if="${IMAGE[0]}" of=/dev/null bs=4k count=1 skip=4000 iflag=direct status=none 2>/dev/null &&
        fail "an image of a disk that is gone can be read where nothing was copied"
    timeout $((10 * ${SLOWER:-1})) snapc destroy "$ID"
    same "$(snapc collect)" 0 "the number of snapshots"
}

t_attached_disk_vanishes() { # long
    scsi_disk 32
    snapc attach "$DISK"
    echo 1 >"/sys/block/${DISK#/dev/}/device/delete"
    within 5 test ! -b "$DISK"
    within 5 rmmod scsi_debug
}

t_origin_fails_under_the_copy() {
    local sectors
    sectors=$(blockdev --getsz $A)
    printf '0 %d linear %s 0\n' "$sectors" "$(node $A)" | dmsetup create frail
    udevadm settle
    snapshot $STORE -- /dev/mapper/frail
    dd if=/dev/urandom of=/dev/mapper/frail bs=64k count=16 oflag=direct conv=notrunc status=none
    dmsetup suspend frail --nolockfs
    printf '0 %d error\n' "$sectors" | dmsetup load frail
    dmsetup resume frail
    dd if=/dev/urandom of=/dev/mapper/frail bs=64k count=4 seek=100 oflag=direct conv=notrunc status=none 2>/dev/null && fail "the origin did not fail"
    timeout $((10 * ${SLOWER:-1})) dd if="${IMAGE[0]}" of=/dev/null bs=64k count=1 skip=200 iflag=direct status=none 2>/dev/null && fail "the image read what cannot be read"
    timeout $((10 * ${SLOWER:-1})) snapc destroy "$ID"
    snapc detach "$(node /dev/mapper/frail)"
}

t_store_fails() {
    local error
    printf '0 %d error\n' 131072 | dmsetup create broken
    udevadm settle
    if ! ID=$(snapc open "$(node /dev/mapper/broken)" 2>$W/error); then note "refused: $(cat $W/error)"; return 0; fi
    snapc attach "$(node $A)"
    snapc add "$(node $A)" "$ID"
    if snapc take "$ID" 2>$W/error; then
        stamp load "$(node $A)" --direct --journal $W/a.journal --seconds 0.5
        stamp prove $A:$W/a.journal --foreign
        within 5 eval '[ "$(snapc info "$(node $A)" | cut -d" " -f1)" -lt 0 ]'
    fi
    destroy
}

t_store_full() { # long
    mkfs.ext4 -q -F $B 16M
    mkdir -p $W/d
    mount $B $W/d
    truncate -s 0 $W/d/store
    copy $A $W/copy
    if ! ID=$(snapc open $W/d/store 2>$W/error); then
        same "$(cat $W/error)" ENOSPC "the refusal"
        return 0
    fi
    snapc attach "$(node $A)"
    snapc add "$(node $A)" "$ID"
    snapc take "$ID"
    dd if=/dev/urandom of=$A bs=1M oflag=direct conv=notrunc status=none 2>/dev/null || true
    local error
    within 10 failed "$(node $A)"
    read -r error _ < <(snapc info "$(node $A)")
    same "$error" -28 "the snapshot's error"
    destroy
}

t_loop_resized() {
    local loop before error
    truncate -s 32M $W/file
    loop=$(losetup -f --show $W/file)
    snapshot $STORE -- "$loop"
    before=$(snapc cbtinfo "$loop" | value generation)
    truncate -s 48M $W/file
    losetup -c "$loop"
    dd if=/dev/urandom of="$loop" bs=64k count=16 seek=600 oflag=direct conv=notrunc status=none
    destroy
    ID=
    snapshot $STORE -- "$loop"
    [ "$(snapc cbtinfo "$loop" | value generation)" != "$before" ] || fail "the same generation after a resize"
    same "$(snapc cbtinfo "$loop" | value capacity)" $((48 << 20)) capacity
    destroy
}

t_loop_with_another_file() {
    local loop before
    truncate -s 32M $W/file $W/other
    loop=$(losetup -f --show $W/file)
    snapc attach "$loop"
    before=$(snapc cbtinfo "$loop" | value generation)
    losetup -d "$loop"
    within 5 losetup "$loop" $W/other
    [ "$(snapc cbtinfo "$loop" | value generation)" != "$before" ] || fail "the same generation with another file of the same size"
    snapc detach "$loop"
}

t_loop_and_the_file_system_below_it() { # long
    local loop
    mkfs.ext4 -q -F $C
    mkdir -p $W/below $W/above
    mount $C $W/below
    truncate -s 64M $W/below/file
    loop=$(losetup -f --show $W/below/file)
    mkfs.ext4 -q -F "$loop"
    mount "$loop" $W/above
    dd if=/dev/urandom of=$W/above/data bs=64k count=50 status=none
    for _ in 1 2; do
        snapshot $STORE -- "$C" "$loop"
        dd if=/dev/urandom of=$W/above/more bs=64k count=50 conv=fsync status=none
        e2fsck -fn "${IMAGE[0]}"
        e2fsck -fn "${IMAGE[1]}"
        destroy
    done
    umount $W/above
    # udev may still look at it, and it goes when nobody does.
    losetup -d "$loop"
    within 10 umount $W/below
}

# resized DISK MIB: its first partition, which the test has open, becomes so large in place, while it is in use: what growpart and parted do.
resized() {
    echo "2048,$(($2 << 11))" | sfdisk -q --no-reread --force -N 1 "$1" 2>/dev/null
    partx -u --nr 1 "$1"
    same "$(blockdev --getsize64 "${1}1")" $(($2 << 20)) "the partition's size"
}

t_partition_that_grew() { # long
    local disk part before sum
    disk=$(node $D)
    echo "2048,$((16 << 11))" | partitioned "$disk"
    part=${disk}1
    within 5 test -b "$part"
    exec 7<"$part" # so that udev does not make it anew when the disk was written to
    snapc attach "$part"
    before=$(snapc cbtinfo "$part" | value generation)
    resized "$disk" 64
    snapshot $STORE -- "$part"
    [ "$(snapc cbtinfo "$part" | value generation)" != "$before" ] || fail "the same generation after a resize"
    sum=$(md5sum <"${IMAGE[0]}")
    # Behind the old end.
    dd if=/dev/urandom of="$part" bs=1M seek=40 count=4 oflag=direct conv=notrunc status=none
    same "$(md5sum <"${IMAGE[0]}")" "$sum" "the image, after a write to the grown part"
    within 5 eval '[ "$(counter $part store_bytes)" = $((4 << 20)) ]'
    destroy
    snapc detach "$part"
}

# Smaller, written behind its new end, and as large as before: nobody asks it for its size in between.
t_partition_that_shrank_and_grew_back() { # long
    local disk part error
    disk=$(node $D)
    echo "2048,$((16 << 11))" | partitioned "$disk"
    part=${disk}1
    within 5 test -b "$part"
    exec 7<"$part"
    snapshot $STORE -- "$part"
    resized "$disk" 8
    dd if=/dev/urandom of="$disk" bs=1M seek=13 count=2 oflag=direct conv=notrunc status=none
    resized "$disk" 16
    # What was overwritten could not be read at the smaller size: the snapshot is lost, and says so.
    read -r error _ < <(snapc info "$part")
    same "$error" -5 "the error of the snapshot"
    destroy
    snapc detach "$part"
}

t_snapshots_come_and_go_under_load() { # long
    load $A $W/a.journal
    load $B $W/b.journal
    for _ in 1 2 3 4; do
        snapshot $STORE -- $A $B
        dd if="${IMAGE[0]}" of=/dev/null bs=1M count=8 iflag=direct status=none
        destroy
    done
    stop_loads
    stamp prove $A:$W/a.journal $B:$W/b.journal --foreign
}

free_kib() { awk '/^MemFree/ { f = $2 } /^Cached/ { c = $2 } /^Buffers/ { b = $2 } END { print f + c + b }' /proc/meminfo; }

t_memory_is_given_back() { # long
    local before
    snapshot $STORE -- $A && destroy
    before=$(free_kib)
    # Each holds 48 MiB: 32 of its storage, 16 for copies. The kernel's lists of free pages of each CPU, which later kernels let
    # grow to tens of MiB, are not in MemFree: so the bound is more than they hold, and far less than what eight could lose.
    for _ in 1 2 3 4 5 6 7 8; do
        snapshot memory -- $A
        dd if=/dev/zero of=$A bs=1M oflag=direct conv=notrunc status=none 2>/dev/null || true
        destroy
    done
    # What is freed after a grace period comes a little later.
    within 10 eval '[ "$(free_kib)" -gt '$((before - 65536))' ]'
}
