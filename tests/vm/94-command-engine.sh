# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the command makes of the engine: free space, storage by itself, more storage, several snapshots, consumers, status.

# file_system KIND MIB: a file system of that size on $C, mounted on $W/origin. Its inode tables are written now: else the
# kernel does it in the background after the mount, and each of them is saved, as they are in use.
file_system() {
    case $1 in
    ext4) mkfs.ext4 -q -F -E lazy_itable_init=0 "$(node $C)" "$2M" ;;
    xfs) mkfs.xfs -q -f -d "size=$2m" "$(node $C)" ;;
    esac
    mkdir -p $W/origin $W/image
    mount $C $W/origin
}

# free_space KIND MIB: a file system that is used to 30 % is written full. What is free at the take was written before, so
# that it differs from zeros.
free_space() {
    local written used
    file_system "$1" "$2"
    dd if=/dev/urandom of=$W/origin/freed bs=1M count=$(($2 / 3)) status=none
    dd if=/dev/urandom of=$W/origin/kept bs=1M count=$(($2 * 3 / 10)) status=none
    sync -f $W/origin
    rm $W/origin/freed
    (cd $W/origin && md5sum kept) >$W/sums
    blksnap snapshot run $C --store memory --limit 64M -- sh -c "
        dd if=/dev/urandom of=$W/origin/more bs=1M status=none 2>/dev/null && exit 9
        sync -f $W/origin
        blksnap snapshot info --json >$W/info
        blksnap mount \$BLKSNAP_IMAGE_0 $W/image
        ls $W/image >$W/names
        cd $W/image && md5sum --quiet -c $W/sums; code=\$?
        cd / && blksnap umount $W/image
        exit \$code"
    same "$(grep -v lost+found $W/names)" kept "files in the image"
    written=$(stat -c %s $W/origin/more)
    used=$(jq '.snapshots[0].store_used_bytes' $W/info)
    note "$1: $((written >> 20)) MiB written into free space cost $((used >> 10)) KiB of store, of $(jq '.snapshots[0].images[0].free_bytes' $W/info) bytes left out"
    [ "$written" -ge $(($2 * 1048576 / 3)) ] || fail "only $written bytes were written"
    [ "$used" -le $((written / 16)) ] || fail "$used bytes of store for $written bytes written"
    umount $W/origin
}

t_command_ext4_free_space_is_not_saved() { # long
    free_space ext4 192
}

t_command_xfs_free_space_is_not_saved() { # long
    free_space xfs 320
}

# While the image is there: QEMU compares it with what was written, which has no name yet.
CHAIN_IS_IMAGE='blockdev --flushbufs $BLKSNAP_IMAGE_0 && qemu-img compare -q -f raw -F qcow2 $BLKSNAP_IMAGE_0 /tmp/work/backups/.blksnap-tmp.*.qcow2'

t_command_free_space_in_a_chain() { # long
    local turn C=/dev/mapper/small
    # QEMU reads the whole device four times.
    dmsetup create small --table "0 245760 linear $(node /dev/disk/by-id/virtio-c) 0"
    file_system ext4 96
    # A file that nobody names any more: to be deleted when the image is mounted for writing, and not before.
    exec 9>$W/origin/nameless
    rm $W/origin/nameless
    echo kept >&9
    for turn in 1 2 3 4; do
        # Written, freed, used again without being written, and free all the time.
        dd if=/dev/urandom of=$W/origin/file$turn bs=64k count=100 status=none
        sync -f $W/origin
        [ $turn = 1 ] || rm $W/origin/file$((turn - 1))
        [ $turn != 3 ] || fallocate -l 8M $W/origin/unwritten
        sync -f $W/origin
        (cd $W/origin && find . -type f -exec md5sum {} +) >$W/sums$turn
        blksnap backup $C --to $W/backups --exec "$CHAIN_IS_IMAGE" --json >$W/report
        jq -e '.devices[0] | .free_bytes > 40000000 and .free_reason == null' $W/report >/dev/null ||
            fail "turn $turn: $(jq -c '.devices[0] | [.kind, .free_bytes, .free_reason]' $W/report)"
    done
    exec 9>&-
    umount $W/origin
    blksnap verify $W/backups
    blkdiscard -z $D
    for turn in 1 4; do
        blksnap restore $W/backups $D --point $turn --force
        # What nobody names is there, and goes with the first mount.
        mount $D $W/image
        umount $W/image
        e2fsck -fn $D
        mount -o ro $D $W/image
        (cd $W/image && md5sum --quiet -c $W/sums$turn)
        umount $W/image
    done
}

t_command_stores_on_the_file_system_itself() { # long
    file_system ext4 400
    dd if=/dev/urandom of=$W/origin/file bs=1M count=30 status=none
    (cd $W/origin && md5sum file) >$W/sums
    blksnap snapshot run $C --json -- sh -c "
        dd if=/dev/urandom of=$W/origin/file bs=1M count=30 conv=notrunc,fsync status=none
        blksnap snapshot info --json >$W/info
        blksnap mount \$BLKSNAP_IMAGE_0 $W/image
        cd $W/image && md5sum --quiet -c $W/sums; code=\$?
        cd / && blksnap umount $W/image
        exit \$code" 2>$W/said || fail "$(tail -n 3 $W/said)"
    grep -q 'itself' $W/said || fail "stored elsewhere: $(cat $W/said)"
    # A write waits until what it overwrites is read, not until that is stored.
    jq -e '.snapshots[0].images[0].copy_read_bytes >= 31457280' $W/info >/dev/null || fail "copied: $(jq -c '.snapshots[0].images[0]' $W/info)"
    # The file went with the snapshot.
    same "$(find $W/origin -type f | wc -l)" 1 "files"
    within 5 sh -c "[ \$(df --output=used -B1M $W/origin | tail -n 1) -lt 60 ]"
    umount $W/origin
    e2fsck -fn "$(node $C)"
}

t_command_several_snapshots_and_more_storage() { # long
    local first second
    blkdiscard -z $A
    first=$(blksnap snapshot create $A --take --store memory --limit 1M --json | jq -r .id)
    blksnap snapshot grow "$first" --store memory --limit 32M
    second=$(blksnap snapshot create $A --take --store memory --limit 32M --json | jq -r .id)
    dd if=/dev/urandom of=$A bs=1M count=8 oflag=direct status=none
    blksnap snapshot info --json >$W/info
    jq -e '[.snapshots[] | .state == "taken" and (.images | length) == 1] == [true, true]' $W/info >/dev/null || fail "$(jq -c . $W/info)"
    for image in $(jq -r '.snapshots[].images[].image' $W/info); do
        cmp -n 8388608 "$image" /dev/zero
    done
    blksnap status --metrics | grep -q '^blksnap_image_copied_bytes_total{.*} 8388608$' || fail "$(blksnap status --metrics)"
    blksnap snapshot destroy "$first"
    cmp -n 8388608 "$(blksnap snapshot info "$second" --json | jq -r '.images[0].image')" /dev/zero
    timeout 20 blksnap status --watch --json --interval 0.2 | head -n 2 | jq -e '.snapshots | length == 1' >/dev/null
    blksnap snapshot destroy "$second"
}

t_command_gives_up_by_policy() {
    local id
    id=$(blksnap snapshot create $A --take --store memory --policy give-up --copy-memory 1M --json | jq -r .id)
    same "$(blksnap snapshot info "$id" --json | jq -r .policy)" give-up policy
    blksnap snapshot destroy "$id"
}

t_command_consumers() { # long
    blksnap attach $A
    blksnap consumer set $A one
    dd if=/dev/urandom of=$A bs=64K seek=5 count=2 oflag=direct conv=notrunc status=none
    blksnap snapshot run $A -- true
    blksnap consumer set $A two
    dd if=/dev/urandom of=$A bs=64K seek=9 count=1 oflag=direct conv=notrunc status=none
    blksnap snapshot run $A -- true
    same "$(blksnap changes $A --consumer one --json | jq .changed_bytes)" 196608 "changed since one"
    same "$(blksnap changes $A --consumer two --json | jq .changed_bytes)" 65536 "changed since two"
    same "$(blksnap consumer list --json | jq -c '[.consumers[].name]')" '["one","two"]' consumers
    blksnap consumer remove $A one
    same "$(blksnap consumer list $A --json | jq -c '[.consumers[].name]')" '["two"]' consumers
}
