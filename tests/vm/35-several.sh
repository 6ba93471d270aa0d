# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Several snapshots of one device, what images have of their own, and free space.

# ram_disk [KIB]: a RAM disk of 8 MiB or so much in $RAM.
ram_disk() {
    modprobe brd rd_nr=1 rd_size="${1:-8192}"
    RAM=/dev/ram0
    within 5 test -b $RAM
}

# another STORE DEVICE: one more snapshot of a device that may have some. Its id is in $ID, its image in $IMAGE_OF.
another() {
    local error name
    ID=$(snapc open2 "$1")
    snapc join "$2" "$ID"
    BEFORE=$(stamp now)
    snapc take "$ID"
    AFTER=$(stamp now)
    read -r error name < <(snapc info "$2" "$ID")
    same "$error" 0 "the snapshot's error"
    within 5 test -b "/dev/$name"
    IMAGE_OF=/dev/$name
}

# prepare_order [KIB]: such a RAM disk, attached and under load.
prepare_order() {
    ram_disk "$@"
    snapc attach $RAM
    load $RAM $W/journal
    more_writes $W/journal
}

# Three snapshots under load, destroyed in this order, the others staying as they are; what each held goes to $TAKEN, to be proved.
check_order() {
    local i order=$1 ids=() images=() tag=${1// /}
    for i in 1 2 3; do
        another memory $RAM
        ids[i]=$ID images[i]=$IMAGE_OF
        TAKEN+=("$tag$i $BEFORE $AFTER")
        more_writes $W/journal 20
    done
    for i in 1 2 3; do copy "${images[i]}" "$W/copy$tag$i"; done
    for i in $order; do
        destroy "${ids[i]}"
        images[i]=
        for i in 1 2 3; do [ -z "${images[i]}" ] || cmp "${images[i]}" "$W/copy$tag$i"; done
    done
}

t_several_destroyed_in_any_order() { # long
    local order name after before
    TAKEN=()
    prepare_order 4096
    for order in "1 2 3" "1 3 2" "2 1 3" "2 3 1" "3 1 2" "3 2 1"; do check_order "$order"; done
    stop_loads
    while read -r name after before; do
        stamp prove "$W/copy$name:$W/journal" --after "$after" --before "$before" >$W/prove 2>&1 || fail "snapshot $name: $(tail -n 3 $W/prove)"
    done < <(printf '%s\n' "${TAKEN[@]}")
    stamp prove $RAM:$W/journal
}

t_several_cost_one_copy() { # long
    ram_disk
    snapc attach $RAM
    for i in 1 2 3; do another memory $RAM; done
    dd if=/dev/urandom of=$RAM bs=4096 count=1 seek=100 oflag=direct conv=notrunc status=none
    within 3 eval '[ "$(counter $RAM store_bytes)" = 4096 ]'
    same "$(counter $RAM copy_read_bytes)" 4096 "bytes read for copies"
}

# A snapshot that comes and goes while an older one stays, over and over.
t_several_come_and_go() { # long
    local old old_image i
    prepare_order 4096
    another memory $RAM
    old=$ID old_image=$IMAGE_OF
    copy "$old_image" $W/old
    for i in $(seq 12); do
        another memory $RAM
        cmp "$old_image" $W/old
        destroy "$ID"
    done
    cmp "$old_image" $W/old
    destroy "$old"
    stop_loads
    stamp prove $RAM:$W/journal
}

t_several_shared_is_asked_for() {
    local other
    ram_disk
    snapc attach $RAM
    ID=$(snapc open2 memory)
    other=$(snapc open2 memory)
    snapc add $RAM "$ID"
    errno EBUSY snapc add $RAM "$other"
    errno EALREADY snapc join $RAM "$ID"
    snapc join $RAM "$other"
    snapc take "$ID"
    snapc take "$other"
    same "$(snapc members "$ID" | wc -l)" 1 "members"
    errno EBUSY snapc detach $RAM
    destroy "$ID"
    errno EBUSY snapc detach $RAM
    destroy "$other"
    snapc detach $RAM
}

# All of a device fail together; a new one begins afresh beside them.
t_several_fail_together() { # long
    local first second error
    ram_disk
    snapc attach $RAM
    first=$(snapc open2 memory $((64 * 4096)))
    snapc join $RAM "$first"
    snapc take "$first"
    second=$(snapc open2 memory $((64 * 4096)))
    snapc join $RAM "$second"
    snapc take "$second"
    dd if=/dev/urandom of=$RAM bs=64k count=64 oflag=direct conv=notrunc status=none
    for id in "$first" "$second"; do
        within 10 failed $RAM "$id"
        read -r error _ < <(snapc info $RAM "$id")
        same "$error" -28 "the error of a snapshot"
    done
    another memory $RAM
    copy $RAM $W/now
    dd if=/dev/urandom of=$RAM bs=64k count=64 oflag=direct conv=notrunc status=none
    cmp "$IMAGE_OF" $W/now
    destroy "$first"
    cmp "$IMAGE_OF" $W/now
    destroy "$second"
    destroy "$ID"
    snapc detach $RAM
}

# What is full is helped by the store of another snapshot.
t_several_stores_help_each_other() { # long
    local first image
    ram_disk
    snapc attach $RAM
    copy $RAM $W/copy
    another memory $RAM
    first=$ID image=$IMAGE_OF
    ID=$(snapc open2 memory $((64 * 4096)))
    snapc join $RAM "$ID"
    snapc take "$ID"
    dd if=/dev/urandom of=$RAM bs=64k count=64 oflag=direct conv=notrunc status=none
    cmp "$image" $W/copy
    within 10 stored $RAM
    same "$(snapc stat "$ID" | value used)" $((64 * 4096)) "use of the small store"
    # The small one goes, and what is in it stays as long as the first needs it.
    destroy "$ID"
    cmp "$image" $W/copy
    destroy "$first"
}

# The same writes to an image and to a file: they stay the same, whatever the origin does.
t_image_writes_are_its_own() { # long
    local i size=$((8 << 20)) offset length second
    prepare_order
    another memory $RAM
    local first=$IMAGE_OF
    another memory $RAM
    second=$IMAGE_OF
    copy "$first" $W/first
    copy "$second" $W/second
    head -c 262144 /dev/urandom >$W/new
    for i in $(seq 40); do
        length=$(((1 + RANDOM % 40) * 512))
        [ $((i % 5)) != 0 ] || length=$(((1 + RANDOM % 400) * 512))
        offset=$(((RANDOM * 32768 + RANDOM) % ((size - length) / 512)))
        dd if=$W/new of=$W/first bs=512 count=$((length / 512)) seek=$offset conv=notrunc status=none
        dd if=$W/new of="$first" bs=$length count=1 iflag=fullblock oflag=direct,seek_bytes seek=$((offset * 512)) conv=notrunc status=none
        if [ $((i % 4)) = 0 ]; then
            blkdiscard -z -o $((offset * 512)) -l $length "$first"
            dd if=/dev/zero of=$W/first bs=512 count=$((length / 512)) seek=$offset conv=notrunc status=none
        fi
    done
    blkdiscard -o $((1 << 20)) -l 65536 "$first"
    drop
    # A discarded range reads as it did, or as zeros.
    cmp -n $((1 << 20)) "$first" $W/first
    cmp -i $(((1 << 20) + 65536)) "$first" $W/first
    cmp "$second" $W/second
    stop_loads
    stamp prove $RAM:$W/journal
}

# Random small writes at depth to an image whose origin is written, too.
t_image_writes_at_depth() { # long
    prepare_order
    another memory $RAM
    fio --name=image --filename="$IMAGE_OF" --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=512-32k --size=8m \
        --io_size=6m --verify=crc32c --verify_fatal=1 --do_verify=1 --serialize_overlap=1 >$W/fio.log 2>&1 || fail "fio: $(tail -n 3 $W/fio.log)"
    stop_loads
    stamp prove $RAM:$W/journal
}

t_free_space_is_not_saved() {
    local accepted
    ram_disk
    snapc attach $RAM
    dd if=/dev/urandom of=$RAM bs=1M count=8 oflag=direct conv=notrunc status=none
    copy $RAM $W/copy
    another memory $RAM
    # Rounded inwards: 512 bytes on each side are no whole block.
    accepted=$(echo $(((2 << 20) - 512)) $(((4 << 20) + 1024)) | snapc free $RAM "$ID")
    same "$accepted" $((4 << 20)) "bytes taken as free"
    errno EINVAL eval 'echo 0 $((9 << 20)) | snapc free $RAM "$ID"'
    dd if=/dev/urandom of=$RAM bs=64k count=64 seek=32 oflag=direct conv=notrunc status=none
    same "$(counter $RAM copy_read_bytes)" 0 "bytes copied of free space"
    dd if=/dev/zero of=$W/copy bs=1M count=4 seek=2 conv=notrunc status=none
    cmp "$IMAGE_OF" $W/copy
    dd if=/dev/urandom of=$RAM bs=64k count=128 oflag=direct conv=notrunc status=none
    cmp "$IMAGE_OF" $W/copy
    same "$(counter $RAM copy_read_bytes)" $((4 << 20)) "bytes copied of the rest"
}

t_free_space_of_one_is_not_anothers() { # long
    local old
    ram_disk
    snapc attach $RAM
    dd if=/dev/urandom of=$RAM bs=1M count=8 oflag=direct conv=notrunc status=none
    copy $RAM $W/copy
    another memory $RAM
    old=$IMAGE_OF
    another memory $RAM
    same "$(echo 0 $((8 << 20)) | snapc free $RAM "$ID")" $((8 << 20)) "bytes taken as free"
    dd if=/dev/urandom of=$RAM bs=64k count=128 oflag=direct conv=notrunc status=none
    cmp "$old" $W/copy
    cmp -n $((8 << 20)) "$IMAGE_OF" /dev/zero
}

# Each snapshot's storage on the other one's device: what is copied of one would be copied of the other, and so on.
t_store_in_a_circle_is_refused() {
    local i disk first second
    for i in $A $B; do
        disk=/mnt/${i##*/}
        mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 $i
        mkdir -p "$disk"
        mount $i "$disk"
        mkdir "$disk/store"
        snapc attach $i
    done
    first=$(snapc create /mnt/${B##*/}/store 8192)
    second=$(snapc create /mnt/${A##*/}/store 8192)
    snapc add $A "$first"
    errno ELOOP snapc add $B "$second"
    logged "lie on each other's devices" || fail "the log does not say why"
    snapc take "$first"
    # Once the one has ended, the other way round is as good.
    snapc destroy "$first"
    snapc add $B "$second"
    snapc take "$second"
    snapc destroy "$second"
}

# stored_above PLACE: what is copied of $A is not to be stored there.
stored_above() {
    ! blksnap snapshot create "$(node $A)" --store "$1" --take 2>$W/said || fail "stored at $1"
    grep -q 'would be stored on .* itself' $W/said || fail "it does not say why: $(<$W/said)"
}

# The command sees what the module does not: that a loop device's file, or a part of device-mapper's, is the device itself.
t_store_above_its_device_is_refused() { # long
    local a && a=$(node $A)
    mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 $a
    mkdir -p /mnt/a /mnt/upper
    mount $a /mnt/a
    truncate -s 8M /mnt/a/file
    losetup /dev/loop6 /mnt/a/file
    stored_above /dev/loop6
    mkfs.ext4 -q -E nodiscard /dev/loop6
    mount /dev/loop6 /mnt/upper
    stored_above /mnt/upper
    umount /mnt/upper
    # udev may still look at it, and it goes when nobody does.
    losetup -d /dev/loop6
    within 10 umount /mnt/a
    printf '0 65536 linear %s 0\n' "$a" | dmsetup create upper
    mount /dev/mapper/upper /mnt/upper
    stored_above /mnt/upper
    umount /mnt/upper
    dmsetup remove --retry upper
    blksnap snapshot create "$a" --store memory --take
}

# windows NAME DEVICE: what lies 128 KiB on both sides of each end of a stripe (128 MiB), as one device, /dev/mapper/NAME.
windows() {
    local i table=""
    for i in 1 2 3; do table+="$(((i - 1) * 512)) 512 linear $2 $((i * 262144 - 256))\n"; done
    printf '%b' "$table" | dmsetup create "$1"
    within 5 test -b "/dev/mapper/$1"
}

# Writes to the ends of stripes, by which one engine after the other holds them, where there are two processors.
t_several_engines_hold_a_write() {
    local tracing=/sys/kernel/tracing start=$((128 * 1024 - 512)) holds
    [ -e $tracing/trace ] || mount -t tracefs tracefs $tracing
    dd if="$C" of=$W/copy bs=1K skip=$start count=1024 iflag=direct status=none
    snapshot $D -- "$C"
    echo >$tracing/trace
    echo 1 >$tracing/events/blksnap/blksnap_hold/enable
    dd if=/dev/urandom of="$C" bs=1M count=1 seek=$((start * 1024)) oflag=direct,seek_bytes conv=notrunc status=none
    dd if=/dev/urandom of="$C" bs=1M count=1 seek=$((start * 1024)) oflag=direct,seek_bytes conv=notrunc status=none
    echo 0 >$tracing/events/blksnap/blksnap_hold/enable
    holds=$(grep -c "blksnap_hold: .* $((start * 2)) + 2048$" $tracing/trace)
    same "$holds" 2 "times that the write is held"
    same "$(counter "$C" copy_read_bytes)" 1048576 "bytes copied"
    cmp <(dd if="${IMAGE[0]}" bs=1K skip=$start count=1024 iflag=direct status=none) $W/copy
}

t_several_engines_under_load() { # long
    local i after before TAKEN=()
    snapc attach "$(node "$C")"
    windows ends "$C"
    load /dev/mapper/ends $W/journal --longest 65536
    more_writes $W/journal
    for i in 1 2 3; do
        another memory "$C"
        windows "image$i" "$IMAGE_OF"
        TAKEN+=("$BEFORE $AFTER")
        more_writes $W/journal 100
    done
    stop_loads
    [ "$(counter "$C" copy_read_bytes)" -gt 262144 ] || fail "next to nothing was copied"
    for i in 1 2 3; do
        read -r after before <<<"${TAKEN[i - 1]}"
        stamp prove "/dev/mapper/image$i:$W/journal" --after "$after" --before "$before" >$W/prove 2>&1 || fail "snapshot $i: $(tail -n 3 $W/prove)"
        dmsetup remove --retry "image$i"
    done
    stamp prove "/dev/mapper/ends:$W/journal"
    dmsetup remove --retry ends
}
