# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Images mounted by the command beside their mounted originals, and kept by udev from being taken for them.

# beside KIND: as it was at the take, without a write to the image; then written to, which the origin never shows.
beside() {
    local sum property
    mkdir -p $W/origin $W/image
    wipefs -aq $C
    "mkfs.$1" -q "$(node $C)"
    mount $C $W/origin
    head -c 300000 /dev/urandom >$W/origin/file
    sum=$(md5sum <$W/origin/file)
    # The take freezes ext4 and XFS; btrfs no device knows it is on.
    sync -f $W/origin
    snapshot $STORE -- $C
    head -c 300000 /dev/urandom >$W/origin/file
    sync -f $W/origin
    udevadm settle
    for property in SYSTEMD_READY=0 UDISKS_IGNORE=1; do
        udevadm info -q property "${IMAGE[0]}" | grep -qx $property || fail "$property is not set: $(udevadm info -q property "${IMAGE[0]}" | tr '\n' ' ')"
    done
    if udevadm info -q property "${IMAGE[0]}" | grep '^ID_FS_'; then fail "udev looked into the image"; fi
    if find /dev/disk -lname "*${IMAGE[0]##*/}" | grep .; then fail "a link leads to the image"; fi
    blksnap mount $C $W/image
    same "$(md5sum <$W/image/file)" "$sum" "the file in the image"
    if touch $W/image/new 2>/dev/null; then fail "it can be written to"; fi
    blksnap umount $W/image
    blksnap mount --write "${IMAGE[0]}" $W/image
    echo new >$W/image/new
    sync -f $W/image
    [ ! -e $W/origin/new ] || fail "a write to the image is in the origin"
    blksnap umount $W/image
    destroy
    umount $W/origin
}

t_mount_ext4_beside_its_origin() { beside ext4; }

t_mount_xfs_beside_its_origin() { # long
    beside xfs
}

t_mount_btrfs_beside_its_origin() { # long
    modprobe btrfs || skip "no btrfs"
    beside btrfs
    btrfs check --readonly $C >$W/check 2>&1 || fail "btrfs check: $(tail -n 3 $W/check)"
}

# Encrypted on its way by the block layer's own means, as no disk here can: copies are made of what lies on the disk, and an image is read with the key.
t_mount_encrypted_inline() { # long 7.3
    local key sum place
    grep -q ' blk_crypto_start_using_key$' /proc/kallsyms || skip "no inline encryption"
    mkfs.ext4 -q -F -O encrypt $C
    mkdir -p $W/origin $W/image
    mount -o inlinecrypt $C $W/origin
    head -c 64 /dev/urandom >$W/key
    key=$(xfs_io -c add_enckey $W/origin <$W/key | grep -o '[0-9a-f]\{32\}')
    mkdir $W/origin/secret
    xfs_io -c "set_encpolicy $key" $W/origin/secret
    head -c 300000 < <(yes 'not for everybody') >$W/origin/secret/file
    sum=$(md5sum <$W/origin/secret/file)
    sync -f $W/origin
    logged 'fscrypt: AES-256-XTS using blk-crypto-fallback' || fail "not encrypted inline: $(grep fscrypt $W/dmesg)"
    place=$(filefrag -e $W/origin/secret/file | awk '$1 == "0:" { print int($4) }')
    dd if="$(node $C)" bs=4k skip="$place" count=1 iflag=direct status=none >$W/block
    ! grep -q 'not for everybody' $W/block || fail "the disk can be read without the key"
    snapshot $STORE -- $C
    head -c 300000 < <(yes 'something else') | dd of=$W/origin/secret/file bs=100k conv=notrunc status=none
    sync -f $W/origin
    dd if="${IMAGE[0]}" bs=4k skip="$place" count=1 iflag=direct status=none | cmp - $W/block
    mount -o ro,inlinecrypt "${IMAGE[0]}" $W/image
    [ ! -e $W/image/secret/file ] || fail "names can be read without the key"
    xfs_io -c add_enckey $W/image <$W/key >/dev/null
    same "$(md5sum <$W/image/secret/file)" "$sum" "the file in the image"
    umount $W/image
    destroy
    umount $W/origin
}
