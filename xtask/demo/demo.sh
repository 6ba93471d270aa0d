#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The main job: two live file systems backed up full, incremental and differential from snapshots, restored, and
# proved by other people's tools. Runs in a guest, or with HOST=1 on the machine itself. Lines that begin with @ are
# for the program outside, which shows them and makes the report:
#   @stage TEXT   @progress LABEL DONE TOTAL   @check ok|FAIL TEXT
# Wants: EXT, XFS (disks to be formatted), EXT_TARGET, XFS_TARGET (where to restore to), SCRATCH (a folder), OUT (a folder
# for the backups and the figures); HANDOVER, when it is set, is a disk that the backups go to as a tar archive.
set -Eeuo pipefail
trap 'echo "@check FAIL line $LINENO: ${BASH_COMMAND%% *}: $(tail -n 1 "$LOG")"' ERR

stage() { echo "@stage $*"; }
LOG=$OUT/log.txt
mkdir -p "$OUT/figures" "$SCRATCH/mnt/ext" "$SCRATCH/mnt/xfs" "$SCRATCH/mnt/restored" "$SCRATCH/images"
: >"$LOG"
EXT_NAME=$(basename "$EXT") XFS_NAME=$(basename "$XFS")
FAILED=0

check() { # TEXT COMMAND…
    local text=$1 begin=$EPOCHREALTIME word=ok
    shift
    echo "+ $text: $*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 || word=FAIL FAILED=1
    echo "@check $word $text"
    awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "  %.1f s\n", b - a }' >>"$LOG"
}

leave() {
    set +e
    pkill -x fio
    sleep 0.3
    for dir in "$SCRATCH"/mnt/*; do mountpoint -q "$dir" && umount "$dir"; done
} 2>/dev/null
trap leave EXIT

# More files in both file systems, and their checksums: files ROUND MIB KIB-OF-A-FILE
files() {
    local fs
    for fs in ext xfs; do
        mkdir -p "$SCRATCH/mnt/$fs/files/$1"
        head -c $(($2 << 20)) /dev/urandom | (cd "$SCRATCH/mnt/$fs/files/$1" && split -a 3 -b "$3"k - file-)
        (cd "$SCRATCH/mnt/$fs" && find "files/$1" -type f -exec sha256sum {} +) >>"$OUT/figures/$fs.sums"
        cp "$OUT/figures/$fs.sums" "$OUT/figures/$fs.$1.sums"
    done
}

# One backup; while its snapshot is held, qemu-img reads the images for the comparison.
backup() { # KIND OPTION…
    local kind=$1 total=0 done_sectors watcher image
    shift
    for image in "$EXT" "$XFS"; do total=$((total + $(blockdev --getsize64 "$image"))); done
    rm -f "$OUT/figures/reading"
    (
        while [ ! -e "$OUT/figures/reading" ]; do
            done_sectors=$(awk '{ n += $3 } END { print n + 0 }' /sys/block/blksnap-image*/stat 2>/dev/null || echo 0)
            echo "@progress $kind $((done_sectors * 512)) $total"
            sleep 0.5
        done
    ) 2>/dev/null &
    watcher=$!
    cat >"$SCRATCH/read-images" <<EOF
touch '$OUT/figures/reading'
echo '@stage $kind: qemu-img reads the images, for the comparison'
qemu-img convert -f raw -O raw -S 4k "\$BLKSNAP_IMAGE_0" '$SCRATCH/images/$EXT_NAME.$kind.raw'
qemu-img convert -f raw -O raw -S 4k "\$BLKSNAP_IMAGE_1" '$SCRATCH/images/$XFS_NAME.$kind.raw'
EOF
    blksnap backup "$EXT" "$XFS" --to "$SCRATCH/backup" "$@" --json --exec "sh '$SCRATCH/read-images' >/dev/ttyS1 2>&1 || exit 1" \
        >"$OUT/figures/$kind.json" 2>>"$LOG"
    kill $watcher 2>/dev/null || true
    wait $watcher 2>/dev/null || true
}

stage "making an ext4 on $EXT_NAME and an XFS on $XFS_NAME, with files"
mkfs.ext4 -q -F "$EXT" >>"$LOG" 2>&1
mkfs.xfs -q -f "$XFS" >>"$LOG" 2>&1
mount "$EXT" "$SCRATCH/mnt/ext"
mount "$XFS" "$SCRATCH/mnt/xfs"
: >"$OUT/figures/ext.sums" >"$OUT/figures/xfs.sums"
files full 16 200

stage "fio writes to both without pause from now on"
for fs in ext xfs; do
    fio --name=$fs --directory="$SCRATCH/mnt/$fs" --size=24m --rw=randwrite --bs=4k --ioengine=psync --fsync=64 --rate_iops=100 --time_based \
        --runtime=1800 --output=/dev/null >/dev/null 2>&1 &
done
sleep 1

stage "loading the modules, attaching to both live disks"
[ -n "${HOST:-}" ] || modprobe blksnap
blksnap attach "$EXT" "$XFS" >>"$LOG" 2>&1
sync

stage "full backup of both, of one instant"
backup full --full
stage "more files, more writing"
files incremental 2 48
sleep 2
stage "incremental backup: only what changed"
backup incremental
stage "more files, more writing"
files differential 2 48
sleep 2
stage "differential backup: what changed since the full one"
backup differential --differential

stage "fio has written all the time: it still does"
check "fio is still writing to both" test "$(pgrep -x fio | wc -l)" -ge 2
pkill -x fio || true
wait || true
check "no snapshot is left" bash -c 'test "$(blksnap snapshot list --json | jq "[.. | .id? // empty] | length")" = 0'
check "blksnap verify" blksnap verify "$SCRATCH/backup"

point() { jq -r --arg device "/dev/$2" '.devices[] | select(.path == $device) | .file' "$OUT/figures/$1.json"; }

for kind in full incremental differential; do
    stage "restoring the $kind backup, and proving it"
    for fs in ext xfs; do
        if [ $fs = ext ]; then name=$EXT_NAME target=$EXT_TARGET; else name=$XFS_NAME target=$XFS_TARGET; fi
        file=$(point $kind "$name")
        file=$SCRATCH/backup/$(basename "$file")
        what="$name $kind:"
        check "$what is a $kind backup" test "$(jq -r --arg device "/dev/$name" '.devices[] | select(.path == $device) | .kind' "$OUT/figures/$kind.json")" = "$kind"
        check "$what qemu-img check" qemu-img check -q "$file"
        check "$what the file equals the image as it was read (qemu-img compare)" qemu-img compare -q -f raw -F qcow2 "$SCRATCH/images/$name.$kind.raw" "$file"
        check "$what restored" blksnap restore "$file" "$target" --force --json
        check "$what the restored disk equals the image (qemu-img compare)" qemu-img compare -q -f raw -F raw "$SCRATCH/images/$name.$kind.raw" "$target"
        if [ $fs = ext ]; then
            check "$what e2fsck is clean" e2fsck -fn "$target"
            mount -o ro "$target" "$SCRATCH/mnt/restored"
        else
            mount -o nouuid "$target" "$SCRATCH/mnt/restored"
        fi
        check "$what all $(wc -l <"$OUT/figures/$fs.$kind.sums") files with their checksums" bash -c "cd '$SCRATCH/mnt/restored' && sha256sum --quiet -c '$OUT/figures/$fs.$kind.sums'"
        umount "$SCRATCH/mnt/restored"
        [ $fs = ext ] || check "$what xfs_repair finds nothing" xfs_repair -n "$target"
        rm -f "$SCRATCH/images/$name.$kind.raw"
    done
done

stage "handing the backups over"
(cd "$SCRATCH/backup" && sha256sum -- *.qcow2 *.json) >"$OUT/figures/backup.sums"
if [ -n "${HANDOVER:-}" ]; then
    # A disk is a quicker way out of a guest than its exchange folder.
    tar -cf "$HANDOVER" -C "$SCRATCH" backup
    sync -d "$HANDOVER"
else
    mv "$SCRATCH/backup" "$OUT/backup"
fi

stage "detaching, unloading"
umount "$SCRATCH/mnt/ext" "$SCRATCH/mnt/xfs"
check "detached" blksnap detach "$EXT" "$XFS"
check "the modules are unloaded" bash -c 'rmmod blksnap && rmmod blkfilter'
check "the origin ext4 is clean" e2fsck -fn "$EXT"
check "the origin XFS is clean" xfs_repair -n "$XFS"
trap - ERR
exit $FAILED
