# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Nothing is assembled of an image: its events must not make what those of its original would. Debian's rules look into devices of some
# names alone; here udev looks into all, as a site's own rules may have it. Each test has an image without our rules, too, of which the
# thing must be made: else it would prove nothing.

RULES=/run/udev/rules.d
with_rules() {
    [ ! -e $W/rules ] || mv $W/rules $RULES/59-blksnap.rules
    rm -f $RULES/60-all.rules /etc/lvm/lvmlocal.conf
    udevadm control --reload
}

# left_alone TAKEN: an image of $A appears; the command TAKEN says whether somebody has taken it.
left_alone() {
    local image
    trap with_rules EXIT
    echo 'SUBSYSTEM=="block", IMPORT{builtin}="blkid"' >$RULES/60-all.rules
    udevadm control --reload
    snapshot memory -- $A
    image=${IMAGE[0]##*/}
    udevadm settle
    ! "$1" "$image" || fail "$image was taken"
    destroy
    mv $RULES/59-blksnap.rules $W/rules
    udevadm control --reload
    snapshot memory -- $A
    udevadm settle
    "$1" "${IMAGE[0]##*/}" || fail "${IMAGE[0]##*/} was left alone without our rules"
}

in_array() { grep -q "active.* $1\[" /proc/mdstat; }
t_udev_assembles_no_array() { # long
    modprobe raid1 || skip "no raid1"
    udevadm settle
    mdadm --create /dev/md7 --quiet --run --force --metadata=1.2 --level=1 --raid-devices=1 "$(node $A)" >/dev/null 2>&1
    udevadm settle
    within 10 mdadm --stop --quiet /dev/md7
    left_alone in_array
    within 10 mdadm --stop --quiet --scan
    destroy
}

in_group() { dmsetup deps -o blkdevname vg-volume 2>/dev/null | grep -q "($1)"; }
t_udev_activates_no_volume() { # long
    vgcreate -q vg "$(node $A)" >/dev/null
    lvcreate -q -an -Zn -L 8M -n volume vg >/dev/null 2>&1
    # As where the original is on another machine: of two alike LVM takes none.
    echo 'devices { global_filter = [ "r|/dev/vd.*|" ] }' >/etc/lvm/lvmlocal.conf
    left_alone in_group
    dmsetup remove --retry vg-volume
    destroy
}

# Mounted by its other device, which has the kernel look into its list of devices.
in_file_system() {
    mount -o ro $D $W/d
    [ -e "$(echo /sys/fs/btrfs/*-*/devices)/$1" ]
    set -- $?
    umount $W/d
    return "$1"
}
t_udev_adds_to_no_btrfs() { # long
    modprobe btrfs || skip "no btrfs"
    mkdir $W/d
    mkfs.btrfs -q -f -m single $C $D
    A=$C left_alone in_file_system
    btrfs device scan --forget
    destroy
}

in_cache() { [ -e "/sys/block/$1/bcache" ]; }
t_udev_registers_no_cache() { # long
    modprobe bcache || skip "no bcache"
    # A write to it while udev still looks at one of before is not seen.
    udevadm settle
    make-bcache -B "$(node $A)" >/dev/null
    within 10 [ -e /sys/block/bcache0/bcache ]
    bcache_off
    left_alone in_cache
    bcache_off
    destroy
}
