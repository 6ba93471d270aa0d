# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The command blksnap on the modules: backups under load, what ends them, what is refused.

# code CODE COMMAND…: the command must exit with this code; what it says is in $W/said.
code() {
    local want=$1 got=0 && shift
    "$@" >$W/said 2>&1 || got=$?
    [ "$got" = "$want" ] || fail "$*: exit code $got, expected $want: $(tail -n 3 $W/said)"
}

said() { grep -qF -- "$1" $W/said || fail "\`$1\` was not said: $(tail -n 3 $W/said)"; }

no_snapshot() {
    within 5 sh -c 'blksnap snapshot list --json | jq -e ".snapshots | length == 0"'
    if ls /dev/blksnap-image* >/dev/null 2>&1; then fail "images left"; fi
}

# While the images are there: QEMU reads what was written, which has no name yet, and the image itself.
COMPARE='for disk in a b; do
    eval image=\$BLKSNAP_IMAGE_$(basename $(readlink -f /dev/disk/by-id/virtio-$disk))
    qemu-img compare -q -T none -f raw -F qcow2 $image /mnt/c/backups/.blksnap-tmp.*-$disk.*.qcow2 || exit 1
done'

t_command_backups_of_raw_devices_under_load() { # long
    local kind file
    mkfs.ext4 -q $C && mkdir -p /mnt/c && mount $C /mnt/c
    blkdiscard -z $A
    blkdiscard -z $B
    load $A $W/a.journal --range 16777216 --pause 6000
    load $B $W/b.journal --range 16777216 --pause 6000
    for kind in --full --quiet --differential; do
        blksnap backup $A $B --to /mnt/c/backups $kind --exec "$COMPARE" --json >$W/report
        if [ "$kind" != --full ]; then
            jq -e '[.devices[] | .kind != "full" and .bytes_read <= 1.1 * .changed_bytes] | all' $W/report >/dev/null ||
                fail "$kind: $(jq -c '.devices[] | [.kind, .bytes_read, .changed_bytes]' $W/report)"
        fi
    done
    stop_loads
    stamp prove $A:$W/a.journal $B:$W/b.journal
    blksnap verify /mnt/c/backups
    for file in /mnt/c/backups/*.qcow2; do qemu-img check -q "$file"; done
    for file in /mnt/c/backups/*-a.000002.incr.qcow2 /mnt/c/backups/*-b.000003.diff.qcow2; do
        blksnap --quiet restore "$file" /mnt/c/restored >/dev/null
        qemu-img compare -q -f raw -F qcow2 /mnt/c/restored "$file"
        rm /mnt/c/restored
    done
    no_snapshot
}

t_command_file_system_backed_up_and_restored() { # long
    mkfs.ext4 -q $A && mkdir -p /mnt/a && mount $A /mnt/a
    dd if=/dev/urandom of=/mnt/a/one bs=1M count=8 status=none
    (cd /mnt/a && sha256sum one) >$W/sums
    blksnap backup $A --to $W/backups
    dd if=/dev/urandom of=/mnt/a/two bs=1M count=4 status=none && rm /mnt/a/one
    (cd /mnt/a && sha256sum two) >$W/sums.2
    blksnap backup $A --to $W/backups --json | jq -e '.devices[0].kind == "incremental"' >/dev/null
    code 6 blksnap restore $W/backups $A
    said "is in use"
    blksnap restore $W/backups $B --point 1
    e2fsck -fn $B
    mkdir -p /mnt/b && mount -o ro $B /mnt/b && (cd /mnt/b && sha256sum -c --quiet $W/sums) && umount /mnt/b
    blksnap restore $W/backups $B
    e2fsck -fn $B
    mount -o ro $B /mnt/b && (cd /mnt/b && sha256sum -c --quiet $W/sums.2 && [ ! -e one ]) && umount /mnt/b
}

t_command_killed_backup_leaves_no_snapshot() { # long
    local pid
    load $A $W/a.journal
    blksnap backup $A --to $W/backups --exec "touch $W/held; sleep 30" &
    pid=$!
    within 20 test -e $W/held
    same "$(blksnap snapshot list --json | jq '.snapshots | length')" 1 "snapshots held"
    kill -KILL $pid
    no_snapshot
    pkill -x sleep || true
    ls -A $W/backups | grep -q '^\.blksnap-tmp\.' || fail "nothing was being written"
    blksnap backup $A --to $W/backups
    [ -z "$(ls -A $W/backups | grep blksnap-tmp)" ] || fail "leftovers: $(ls -A $W/backups)"
    stop_loads
    stamp prove $A:$W/a.journal --foreign
    blksnap verify $W/backups
}

t_command_signal_ends_a_backup_tidily() { # long
    local pid got=0
    blksnap backup $A --to $W/backups --exec "touch $W/held; exec sleep 30" &
    pid=$!
    within 20 test -e $W/held
    kill -TERM $pid
    wait $pid || got=$?
    [ $got != 0 ] || fail "it went on"
    [ -z "$(ls -A $W/backups)" ] || fail "left: $(ls -A $W/backups)"
    no_snapshot
}

t_command_overflow_gives_the_backup_up() { # long
    load $A $W/a.journal
    code 5 blksnap backup $A --to $W/backups --store memory --limit 256K \
        --exec "until grep -q state=failed /sys/module/blksnap/parameters/snapshots; do sleep 0.1; done"
    said "the difference storage is full"
    [ -z "$(ls -A $W/backups)" ] || fail "left: $(ls -A $W/backups)"
    no_snapshot
    stop_loads
    stamp prove $A:$W/a.journal --foreign
}

t_command_stores() { # long
    local store
    mkfs.ext4 -q $C && mkdir -p /mnt/c && mount $C /mnt/c && touch /mnt/c/file
    blkdiscard -z $A
    load $A $W/a.journal --pause 6000
    for store in memory /mnt/c /mnt/c/file $D; do
        blksnap backup $A --to $W/backups --full --store "$store" \
            --exec 'qemu-img compare -q -f raw -F qcow2 $BLKSNAP_IMAGE_0 '$W'/backups/.blksnap-tmp.*.qcow2' >/dev/null
    done
    stop_loads
    code 1 blksnap backup $A --to $W/backups --store /nowhere/file
    said "cannot store differences at /nowhere/file"
    code 1 blksnap backup $A --to $W/backups --store $C
}

t_command_run() { # long
    blksnap snapshot run $A $B -- sh -c 'test -b $BLKSNAP_IMAGE_0 && test -b $BLKSNAP_IMAGE_1 && dd if=$BLKSNAP_IMAGE_1 of=/dev/null bs=1M status=none'
    no_snapshot
    code 42 blksnap snapshot run $A -- sh -c 'exit 42'
    code 137 blksnap snapshot run $A -- sh -c 'kill -KILL $$'
    code 127 blksnap snapshot run $A -- no-such-command
    code 125 blksnap snapshot run /dev/no-such-device -- true
    no_snapshot
    blksnap snapshot run $A -- sh -c "touch $W/held; sleep 30" &
    within 20 test -e $W/held
    kill -KILL $!
    no_snapshot
    pkill -x sleep || true
}

t_command_by_hand() {
    local id
    id=$(blksnap snapshot create $A $B --json | jq -r .id)
    blksnap snapshot take "$id"
    code 1 blksnap snapshot take "$id"
    said "is taken already"
    code 1 blksnap detach $A
    said "is in a snapshot"
    code 1 blksnap snapshot create $A $A
    said "is in snapshot"
    blksnap snapshot info "$id" --json | jq -e '.state == "taken" and (.images | length) == 2' >/dev/null
    blksnap status
    blksnap snapshot destroy "$id"
    no_snapshot
    code 1 blksnap snapshot destroy "$id"
    said "there is no snapshot"
    dd if=/dev/urandom of=$A bs=64K seek=5 count=2 oflag=direct conv=notrunc status=none
    same "$(blksnap changes $A --json | jq .changed_bytes)" 0 "bytes changed before the take"
    blksnap snapshot run $A -- true
    same "$(blksnap changes $A --json | jq -c '[.extents[] | [.offset, .length]]')" "[[327680,131072]]" "extents"
    blksnap detach $A $B
    code 1 blksnap detach $A
    said "is not attached"
}

t_command_what_is_refused() { # long
    code 1 blksnap attach /dev/null
    said "is not a block device"
    printf 'label: gpt\nsize=20MiB\n' | partitioned $A
    blksnap attach $A
    code 1 blksnap attach "$(node $A)1"
    said "overlaps"
    blksnap detach $A
    blksnap attach "$(node $A)1"
    code 1 blksnap attach $A
    said "overlaps"
    dmsetup create upper --table "0 65536 linear $(node $B) 0"
    code 6 blksnap attach $B
    said "is a part of dm-"
    said "blksnap attach --force"
    blksnap attach /dev/mapper/upper
    blksnap backup /dev/mapper/upper --to $W/backups
    [ -e $W/backups/dm-upper.000001.full.qcow2 ] || fail "not named after the mapping: $(ls $W/backups)"
    blksnap detach /dev/mapper/upper
    # An image is in use while udev looks at it.
    within 10 rmmod blksnap
    rmmod blkfilter
    code 3 blksnap list
    said "modprobe blksnap"
    code 3 blksnap attach $C
    said "modprobe blksnap"
    modprobe blksnap
    code 3 setpriv --reuid=65534 --clear-groups blksnap list
    said "root"
}
