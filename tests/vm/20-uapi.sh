# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The interface as foreign clients know it: each line of the table of errors, and the layout of what comes back.

NONE=00000000000000000000000000000001

t_errno_attach() {
    local a && a=$(node $A)
    FILTER=nosuch errno ENOENT snapc attach "$a"
    errno ENOENT snapc detach "$a"
    errno ENOENT snapc cbtinfo "$a"
    snapc attach "$a"
    errno EALREADY snapc attach "$a"
    FILTER=nosuch errno EINVAL snapc detach "$a"
    FILTER=nosuch errno EINVAL snapc ctl "$a" 0 40
    snapc detach "$a"
    errno ENOENT snapc detach "$a"
}

t_errno_ctl() {
    local a && a=$(node $A)
    snapc attach "$a"
    errno ENOTTY snapc ctl "$a" 63 40
    errno EINVAL snapc ctl "$a" 0 8
    errno EINVAL snapc ctl "$a" 3 15
    errno EFAULT snapc ctl "$a" 0 40 null
    errno EFAULT snapc badpointer "$a"
    errno ENODATA snapc cbtmap "$a" 0 100000000
    errno ENODATA snapc cbtmap "$a" 512 1
}

t_errno_not_root() { # long
    local a number && a=$(node $A)
    # udev sets the modes of what is new, or was written to.
    udevadm settle
    chmod 666 "$a"
    AS_NOBODY=1 errno EPERM snapc attach "$a"
    snapc attach "$a"
    AS_NOBODY=1 errno EPERM snapc detach "$a"
    for number in 0 1 2 3 4 63 64 65 66 67 68 69; do AS_NOBODY=1 errno EPERM snapc ctl "$a" $number 4096; done
    chmod 660 "$a"
    chmod 666 /dev/blksnap-control
    for number in 0x80085600 0xc0205601 0x40105602 0x40105603 0x80105604 0x90005605 0xc018563f 0xc0185640 0xc0185641 0xc0185642 0xc0185643 0xc0185644 0xc0185645; do
        AS_NOBODY=1 errno EPERM snapc raw $number
    done
    chmod 600 /dev/blksnap-control
    # Root without the one capability.
    errno EPERM setpriv --bounding-set -sys_admin snapc detach "$a"
    errno EPERM setpriv --bounding-set -sys_admin snapc collect
    same "$(stat -c %a /dev/blksnap-control)" 600 "the control device's mode"
}

t_errno_snapshot() {
    local a id other && a=$(node $A)
    errno ENODEV snapc destroy $NONE
    errno ESRCH snapc take $NONE
    errno ESRCH snapc wait $NONE 10
    errno ENOTTY snapc raw 0x563f
    mkdir $W/store
    id=$(snapc create $W/store 65536)
    other=$(snapc create $W/store 65536)
    errno ENODEV snapc take "$id"
    snapc attach "$a"
    errno ESRCH snapc add "$a" $NONE
    snapc add "$a" "$id"
    errno EALREADY snapc add "$a" "$id"
    errno EBUSY snapc add "$a" "$other"
    same "$(snapc collect)" 2 "the number of snapshots"
    errno ENODATA snapc collect 1
    same "$(snapc collect 1 2>/dev/null || true)" 2 "the count that is needed"
    same "$(snapc collect 2 | sort | tr '\n' ' ')" "$(printf '%s\n%s\n' "$id" "$other" | sort | tr '\n' ' ')" ids
    snapc take "$id"
    errno EALREADY snapc take "$id"
    errno EBUSY snapc detach "$a"
    errno ENOENT snapc wait "$id" 50
    snapc destroy "$id"
    snapc destroy "$other"
    errno ENODEV snapc destroy "$id"
    same "$(snapc collect)" 0 "the number of snapshots"
    snapc detach "$a"
}

# gone FD: all that is asked of a device says that it is gone.
gone() {
    local cmd
    errno ENODEV snapc attach "fd:$1"
    errno ENODEV snapc detach "fd:$1"
    FILTER=nosuch errno ENODEV snapc attach "fd:$1"
    for cmd in 0 1 2 3 4 63 64 65 66 67 68 69; do errno ENODEV snapc ctl "fd:$1" $cmd 4096; done
}

# A disk, and a partition of it, that are attached, in a snapshot, and open. Who has not got the disk yet is told, too: at the take.
t_errno_disk_gone() { # long
    scsi_disk 32
    local taken created
    printf 'label: gpt\nsize=14MiB\nsize=14MiB\n' | partitioned "$DISK"
    within 3 test -b "${DISK}2"
    snapshot memory -- "${DISK}1"
    taken=$ID
    snapc attach "${DISK}2"
    created=$(snapc open memory)
    snapc add "${DISK}2" "$created"
    exec 6<"$DISK" 7<"${DISK}1" 8<"${DISK}2"
    echo 1 >"/sys/block/${DISK#/dev/}/device/delete"
    within 5 test ! -b "$DISK"
    for fd in 6 7 8; do gone $fd; done
    errno ENODEV snapc take "$created"
    exec 6<&- 7<&- 8<&-
    snapc destroy "$created"
    snapc destroy "$taken"
    errno ENODEV snapc destroy "$taken"
}

t_errno_create() {
    mkdir $W/store
    errno ENOENT snapc create $W/nosuch/file
    same "$(snapc collect)" 0 "the number of snapshots"
}

t_cbtinfo() {
    local a && a=$(node $A)
    snapc attach "$a"
    snapc cbtinfo "$a" >$W/info
    same "$(value capacity <$W/info)" $((32 << 20)) capacity
    same "$(value block_size <$W/info)" 65536 "block size"
    same "$(value block_count <$W/info)" 512 "block count"
    same "$(value number <$W/info)" 0 "changes number"
    same "$(snapc cbtmap "$a" | tr -d '\0' | wc -c)" 0 "blocks marked before the first take"
    snapshot $STORE -- $A
    same "$(snapc cbtinfo "$a" | value number)" 1 "changes number"
    same "$(snapc cbtinfo "$a" | value generation)" "$(value generation <$W/info)" generation
    destroy
}

# The older interface by the library: its example makes two snapshots, reads the map between them, and marks.
t_uapi_by_the_library() { # long
    local a image && a=$(node $A)
    truncate -s 32M $W/store
    read -r ID image < <(upstream take "$a" $W/store)
    same "$(upstream wait "$ID" 0)" nothing "the event"
    copy "$image" $W/image1
    upstream end "$ID"
    dd if=/dev/urandom of="$a" bs=4k seek=3000 count=500 oflag=direct status=none
    read -r ID image < <(upstream take "$a" $W/store)
    copy "$image" $W/image2
    upstream map "$a" $W/map 1 >$W/changes
    # 4 KiB blocks 3000 to 3499 are in the tracking blocks 187 to 218.
    same "$(<$W/changes)" "$((187 << 16)) $((32 << 16))" "what changed"
    stamp delta $W/image1 $W/image2 --map $W/map --base 1
    upstream end "$ID"
    upstream mark "$a" 127 2
    ! upstream mark "$a" 65535 2 2>$W/said || fail "sectors behind the device can be marked"
    read -r ID image < <(upstream take "$a" $W/store)
    same "$(upstream map "$a" $W/map 2)" "0 $((2 << 16))" "what was marked"
    upstream end "$ID"
}

# A program compiled from the generated headers alone uses everything there is; for 64 bits, and for 32.
headers() {
    local a && a=$(node $A)
    blkdiscard -z $A
    mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 $B
    mkdir -p /mnt/b $W/store
    mount $B /mnt/b
    dd if=/dev/zero of=/mnt/b/file bs=1M count=2 conv=fsync status=none
    "$1" "$a" $W/store /mnt/b/file 2>$W/said || fail "$(<$W/said)"
    umount /mnt/b
}

t_uapi_by_the_headers() {
    headers headerc
}

t_uapi_by_the_headers_32_bit() { # long
    headers headerc32
}

state() { cat "/sys/module/$1/parameters/$2"; }
uuid() { sed -E 's/^(.{8})(.{4})(.{4})(.{4})/\1-\2-\3-\4-/' <<<"$1"; }

t_state_below_sys() {
    local a b && a=$(<"/sys/class/block/${A##*/}/dev") && b=$(<"/sys/class/block/${B##*/}/dev")
    same "$(state blkfilter attachments)$(state blksnap devices)$(state blksnap snapshots)" "" "what is shown of nothing"
    snapshot memory $((8 << 20)) -- $A $B
    state blkfilter attachments | grep -qx "$a name=${A##*/} filter=blksnap first=0 sectors=65536 state=live"
    state blkfilter attachments | grep -qx "$b name=${B##*/} filter=blksnap first=0 sectors=65536 state=live"
    state blksnap devices | grep -qE "^$a sectors=65536 block=65536 change=[0-9a-f-]{36}/1 snapshots=1$"
    state blksnap snapshots | grep -qx "$(uuid "$ID") state=taken error=0 used=0 limit=$((8 << 20)) devices=$a,$b"
    same "$(stat -c %a /sys/module/blk{filter,snap}/parameters/{attachments,devices,snapshots} 2>/dev/null | sort -u)" 444 mode
    ! (echo 1 >/sys/module/blksnap/parameters/snapshots) 2>/dev/null || fail "it can be written"
    # More than the store can take.
    dd if=/dev/urandom of=$A bs=1M count=16 oflag=direct status=none
    within 5 eval "grep -q 'state=failed error=-28 used=.* devices=$a,$b\$' /sys/module/blksnap/parameters/snapshots"
    destroy
    same "$(state blksnap snapshots)" "" "snapshots after the last one"
}

t_state_is_one_page() { # long
    mkdir $W/store
    for _ in {1..50}; do snapc create $W/store 8; done >/dev/null
    state blksnap snapshots >$W/state
    same "$(tail -n 1 $W/state)" "more=$((51 - $(wc -l <$W/state)))" "the last line"
    [ "$(stat -c %s $W/state)" -gt 3900 ] && [ "$(grep -c 'state=created' $W/state)" -gt 40 ] || fail "the page is not used"
}
