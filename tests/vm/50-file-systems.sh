# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Mounted file systems: their images mount beside them, are clean, and hold every file as it was.

# check_fs DEVICE OPTIONS-FOR-THE-IMAGE CHECKER…
check_fs() {
    local device=$1 options=$2 pid turns
    shift 2
    mkdir -p $W/origin $W/image
    mount "$device" $W/origin
    mkdir $W/origin/d{0..4}
    for i in {1..40}; do printf '%0*d' $((RANDOM * 8)) $RANDOM >"$W/origin/d$((i % 5))/file$i"; done
    (cd $W/origin && find . -type f -exec md5sum {} +) >$W/sums
    ( i=0; while :; do
        i=$((i + 1))
        printf '%0200000d' $i 2>/dev/null >"$W/origin/noise$((i % 7))" || exit 0
        [ $((i % 9)) != 0 ] || rm -f "$W/origin/noise$((i % 3))"
        echo $i >$W/turns
        sleep 0.02
    done ) &
    pid=$!
    within 20 eval '[ "$(<$W/turns)" -gt 7 ]'
    snapshot $STORE -- "$device"
    turns=$(<$W/turns)
    within 20 eval '[ "$(<$W/turns)" -gt '$((turns + 7))' ]'
    (cd $W/origin && md5sum --quiet -c $W/sums)
    mount -o "$options" "${IMAGE[0]}" $W/image
    (cd $W/image && md5sum --quiet -c $W/sums)
    # And it can be written to.
    echo hello >$W/image/written-to-the-image
    sync -f $W/image
    [ ! -e $W/origin/written-to-the-image ] || fail "a write to the image is in the origin"
    umount $W/image
    "$@" "${IMAGE[0]}"
    kill $pid
    wait $pid 2>/dev/null || true
    # A program that the loop had started may still be writing its last file.
    within 10 umount $W/origin
    "$@" "$device"
}

t_ext4_image_mounts_beside_its_origin() {
    mkfs.ext4 -q -F $C
    check_fs "$(node $C)" rw e2fsck -fn
}

t_image_does_not_take_its_origins_names() { # long
    local uuid=4f1f8a2e-6f5b-4d0e-9a3b-0c1d2e3f4a5b
    # A write to it while udev still looks at one of before is not seen.
    udevadm settle
    mkfs.ext4 -q -F -L origin -U $uuid $A
    udevadm settle
    same "$(readlink -f /dev/disk/by-uuid/$uuid)" "$A" "the device of the UUID, before"
    snapshot $STORE -- $A
    udevadm settle
    same "$(readlink -f /dev/disk/by-uuid/$uuid)" "$A" "the device of the UUID, beside the image"
    same "$(readlink -f /dev/disk/by-label/origin)" "$A" "the device of the label, beside the image"
    destroy
    udevadm settle
    same "$(readlink -f /dev/disk/by-uuid/$uuid)" "$A" "the device of the UUID, after"
}

t_xfs_image_mounts_beside_its_origin() { # long
    mkfs.xfs -q -f $C
    check_fs "$(node $C)" rw,nouuid xfs_repair -n
}

t_btrfs_image_is_clean() {
    modprobe btrfs || skip "no btrfs"
    mkfs.btrfs -q -f $C
    mkdir -p $W/origin
    mount $C $W/origin
    for i in {1..20}; do printf '%0100000d' $RANDOM >$W/origin/file$i; done
    sync -f $W/origin
    snapshot $STORE -- $C
    for i in {1..20}; do printf '%0100000d' $RANDOM >$W/origin/file$i; done
    sync -f $W/origin
    btrfs check --readonly "${IMAGE[0]}" >$W/check 2>&1 || fail "btrfs check: $(tail -n 3 $W/check)"
}
