# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Works on a file system of the origin, and programs. Each program has what it needs made by `before_NAME`, on the origin alone, and is
# run by `program_NAME` with the file system mounted at /tmp/files. `ready_NAME` and `done_NAME` go before and after that, and are not measured.

ext4() { mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$1"; }

# files_before TARGET WORK: what is there when the state above the origin is made. It is mounted, so that a take finds its free space; what
# device-mapper puts above it is not to be in use, and takes it away by `files_away`.
files_before() {
    case $1 in old | new | program) ;; *) return 0 ;; esac
    ext4 "$ORIGIN"
    mount "$ORIGIN" /tmp/files
    if [ "$1" = program ]; then "before_${2% }"; else dd if=/dev/zero of=/tmp/files/old bs=1M count=256 status=none; fi
    # Nothing of it is in the cache then. Programs stay there: they lie on a disk whose time is not the guest's.
    umount /tmp/files
    mount "$ORIGIN" /tmp/files
}

# warm PROGRAM…: has them, and what they are linked with, in the cache.
warm() {
    local name
    for name in "$@"; do
        name=$(command -v "$name")
        { echo "$name" && ldd "$name" | grep -o '/[^ ]*'; } | xargs cat >/dev/null
    done
}

files_away() { ! mountpoint -q /tmp/files || umount /tmp/files; }

# The file system as what is above the origin shows it.
files_here() { mountpoint -q /tmp/files || mount "$TARGET" /tmp/files; }

# program NAME: runs it, and says how often it did what it does, and the nanoseconds.
program() {
    local begin count
    "ready_${1% }" >&2
    warm sqlite3 qemu-img blksnap umount mount sync
    sync
    mark
    begin=${EPOCHREALTIME/./}
    count=$("program_${1% }")
    mark
    echo "{ \"count\": $count, \"ns\": $(((${EPOCHREALTIME/./} - begin) * 1000)) }"
    "done_${1% }"
}

before_sqlite() {
    sqlite3 /tmp/files/rows.db "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
        WHERE i < 20000) INSERT INTO rows SELECT i, printf('%0200d', i) FROM n;"
}

ready_sqlite() { for ((i = 0; i < 400; i++)); do echo "UPDATE rows SET text = printf('%0200d', $i) WHERE id = $((i * 7919 % 20000 + 1));"; done >/tmp/changes.sql; }

done_sqlite() { :; }

program_sqlite() {
    sqlite3 /tmp/files/rows.db </tmp/changes.sql
    echo 400
}

# Where instructions are counted, what is begins and ends here, as it does with fio; and less is enough.
counting() { [ -e "$share/kallsyms" ]; }

mark() { ! counting || "$here/mark.sh"; }

before_backup() {
    local mib=128
    ! counting || mib=8
    dd if=/dev/urandom of=/tmp/files/data bs=1M count=$mib status=none
}

before_again() { before_backup; }

ready_backup() {
    ext4 "$OTHER"
    mount "$OTHER" /tmp/backups
}

ready_again() {
    ready_backup
    program_backup >/dev/null
    fio --name=changes --filename=/tmp/files/data $COMMON --ioengine=libaio --rw=randwrite --bs=4k --size=128M --io_size=16M --output=/dev/null
}

# Where nothing is tracked, what there is without us: a copy of all of a device that is not in use.
program_backup() {
    if [ ${#ATTACHED[@]} = 0 ]; then
        umount /tmp/files
        qemu-img convert -f raw -O qcow2 "$ORIGIN" /tmp/backups/copy.qcow2
        mount "$ORIGIN" /tmp/files
    else
        blksnap backup -q "$ORIGIN" --to /tmp/backups --store memory >/dev/null
    fi
    sync -f /tmp/backups
    echo 1
}

program_again() { program_backup; }

done_backup() { :; }

before_take() { :; }

ready_take() { :; }

program_take() {
    blksnap snapshot create -q "$ORIGIN" --store memory --take --json 2>/dev/null >/tmp/taken
    echo 1
}

done_take() { blksnap snapshot destroy -q "$(jq -r .id /tmp/taken)" >/dev/null; }

done_again() { :; }

# while_written COMMAND…: while 4 KiB are written at random to the origin, 2000 times a second.
while_written() {
    rm -f /tmp/writing
    # shellcheck disable=SC2086
    fio --name=writer --filename="$TARGET" $COMMON --ioengine=libaio --rw=randwrite --bs=4k --norandommap --rate_iops=2000 --time_based --runtime=600 \
        --exec_prerun="touch /tmp/writing" --output=/dev/null &
    local writer=$!
    within 60 test -e /tmp/writing
    "$@"
    kill -INT $writer
    wait $writer || true
}
