# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Where `--store auto` has the differences stored, with several file systems to choose from.

# chosen EXPECTED [COMMAND…]: what the command says of its choice for a snapshot of $A.
chosen() {
    local expected=$1 said
    shift
    if [ $# = 0 ]; then set -- blksnap snapshot run $A -- true; fi
    said=$("$@" 2>&1) || fail "$* fails: $said"
    [[ $said == *"$expected"* ]] || fail "chosen: ${said//$'\n'/; }, expected $expected"
    note "${said%%$'\n'*}"
}

t_command_chooses_a_storage() { # long
    local disk
    mkdir -p /mnt/small /mnt/large
    mkfs.ext4 -q -F "$(node $C)" 200M
    mkfs.ext4 -q -F "$(node $D)" 400M
    mount $C /mnt/small
    mount $D /mnt/large
    # The one with the most room.
    chosen "a file in /mnt/large"
    # Where the usual place is: /var/tmp, also with less.
    trap 'umount -q /var/tmp || true' EXIT
    mount --bind /mnt/small /var/tmp
    chosen "a file in /var/tmp"
    # Before that, where the backups go.
    chosen "a file in /mnt/large/backups" blksnap backup $A --to /mnt/large/backups
    within 10 umount /var/tmp
    # Not one that cannot be written.
    within 10 mount -o remount,ro /mnt/large
    chosen "a file in /mnt/small"
    # Not one of the device itself, while there is another.
    mount -o remount,rw /mnt/large
    chosen "a file in /mnt/small" blksnap snapshot run "$(node $D)" -- true
    within 10 umount /mnt/small
    chosen "on /mnt/large itself" blksnap snapshot run "$(node $D)" -- true
    within 10 umount /mnt/large
    # Nothing of any of them is left.
    for disk in $C $D; do
        mount -o ro $disk /mnt/small
        same "$(find /mnt/small -xdev -type f ! -path '*/backups/*' | wc -l)" 0 "files left on $disk"
        umount /mnt/small
    done
    chosen "memory"
}
