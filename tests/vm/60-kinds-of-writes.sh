# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Writes that are not plain writes, and writers that may not wait.

fill() { stamp load "$(node $A)" --direct --journal $W/fill.journal --seconds 0.4 --longest 65536; copy $A $W/copy; }

t_discard() {
    [ "$(cat "/sys/block/$(basename "$(node $A)")/queue/discard_max_bytes")" -gt 0 ] || skip "the disk has no discard"
    fill
    snapshot $STORE -- $A
    blkdiscard $A
    blkdiscard -o $((8 << 20)) -l $((8 << 20)) $A
    cmp "${IMAGE[0]}" $W/copy
}

t_write_zeroes() {
    fill
    snapshot $STORE -- $A
    blkdiscard -z $A
    cmp "${IMAGE[0]}" $W/copy
    drop
    same "$(tr -d '\0' <$A | wc -c)" 0 "bytes that are not zero"
}

t_large_buffered_writes() {
    fill
    snapshot $STORE -- $A
    dd if=/dev/urandom of=$A bs=4M conv=notrunc,fsync status=none || true
    cmp "${IMAGE[0]}" $W/copy
}

t_io_uring_writers() { # long
    fill
    snapshot $STORE -- $A
    fio --name=uring --filename="$(node $A)" --direct=1 --ioengine=io_uring --iodepth=16 --rw=randwrite --bs=4k --time_based --runtime=1 \
        --norandommap >$W/fio 2>&1 || fail "fio: $(grep -m1 -i err $W/fio)"
    ! grep -q 'err= *[1-9]' $W/fio || fail "$(grep -m1 'err=' $W/fio)"
    cmp "${IMAGE[0]}" $W/copy
}

t_nowait_writers_are_not_refused() { # long
    fill
    snapshot $STORE -- $A
    uncached $A
    strace -f -qq -e trace=pwritev2 -o $W/trace stamp load "$(node $A)" --direct --nowait --jobs 1 --journal $W/n.journal --seconds 0.6
    cmp "${IMAGE[0]}" $W/copy
    note "$(grep -c pwritev2 $W/trace) writes, $(grep -c EAGAIN $W/trace || true) refused"
    ! grep -q EAGAIN $W/trace || fail "$(grep -c EAGAIN $W/trace) of $(grep -c pwritev2 $W/trace) writes were refused"
    stamp prove $A:$W/fill.journal:$W/n.journal --foreign
}

# A write that was held is still its writer's, and of its writer's control group.
t_held_writes_stay_in_their_control_group() {
    local group=/sys/fs/cgroup/writer disk before
    echo +io >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p $group
    disk=$(<"/sys/block/$(basename "$(node $A)")/dev")
    snapshot $STORE -- $A
    before=$(counter $A held)
    bash -c "echo \$\$ >$group/cgroup.procs; exec dd if=/dev/zero of=$(node $A) bs=4k count=300 oflag=direct conv=notrunc status=none"
    [ "$(counter $A held)" -gt "$before" ] || fail "no write was held"
    note "$(grep "^$disk " $group/io.stat)"
    same "$(sed -n "s/^$disk .*wbytes=\([0-9]*\).*/\1/p" $group/io.stat)" $((300 * 4096)) "bytes that the group has written"
    rmdir $group
}

# Many reads of the image at once, each of whose blocks says which it is and has its checksum, while the origin is written as deep.
t_image_read_while_written_deep() { # long
    local writer blocks=(--size=16m --bs=4k --direct=1 --ioengine=libaio --iodepth=32 --verify=crc32c)
    fio --name=blocks --filename="$(node $A)" --rw=write --do_verify=0 "${blocks[@]}" >/dev/null
    copy $A $W/copy
    snapshot $STORE -- $A
    fio --name=w --filename="$(node $A)" --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --time_based --runtime=600 \
        --norandommap >/dev/null 2>&1 &
    writer=$!
    within 5 eval '[ "$(counter $A held)" -gt 0 ]'
    fio --name=blocks --filename="${IMAGE[0]}" --readonly --rw=randread --verify_fatal=1 "${blocks[@]}" >$W/fio 2>&1 ||
        fail "$(grep -m1 -i verify $W/fio)"
    kill $writer || fail "nobody wrote while the image was read"
    wait $writer || true
    cmp "${IMAGE[0]}" $W/copy
}

# A write that a cgroup's io.max holds back while $A is attached: it has passed the function where all others are seen. It comes by way of
# THROUGH, if that is set: a device that $A is a part of.
throttled() {
    local number writer through=${THROUGH:-$A} group=/sys/fs/cgroup/slow && number=$(<"/sys/class/block/${A##*/}/dev")
    echo +io >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p $group
    echo "$number wbps=2" >$group/io.max
    [ "${1-}" != counted ] || snapc attach "$(node $A)"
    (echo $BASHPID >$group/cgroup.procs && exec dd if=/dev/urandom of=$through bs=4k count=1 seek=2 oflag=direct conv=notrunc status=none) &
    writer=$!
    within 10 grep -q direct /proc/$writer/stack
    [ "${1-}" != counted ] || snapc detach "$(node $A)"
    [ "$through" = $A ] || blksnap attach -q --force $A
    snapshot memory -- $A
    same "$(snapc cbtmap "$(node $A)" | tr -d '\0' | wc -c)" 0 "blocks marked while the write waits"
    echo "$number wbps=max" >$group/io.max
    wait $writer
    ! cmp -s -n $((64 << 10)) $A /dev/zero || fail "nothing was written"
    cmp -n $((64 << 10)) "$IMAGES" /dev/zero
    destroy
    snapshot memory -- $A
    same "$(snapc cbtmap "$(node $A)" | od -An -v -tu1 -w1 | awk '$1 > 1 { printf "%d ", NR - 1 }')" "0 " "the blocks marked"
    rmdir $group
}

t_write_throttled_at_the_attach() { # long
    throttled
}

# Another filter counts it as in flight already.
t_write_throttled_that_another_counts() { # long
    modprobe blkfilter_sample
    filterc sample attach $A
    throttled
    destroy
    rmmod blkfilter_sample
}

# An attachment of before counts it as in flight, and nobody looks at that one any more.
t_write_throttled_from_before_a_detach() { # long
    throttled counted
}

# The driver of 6.1 sends on the very bio that it was given: counted above, and held back below. Later ones send a copy.
t_write_throttled_below_md_linear() { # long 6.1
    modprobe md-linear || skip "no linear arrays"
    mdadm --build /dev/md8 --quiet --run --level=linear --raid-devices=2 $A $B >/dev/null 2>&1
    modprobe blkfilter_sample
    filterc sample attach /dev/md8
    THROUGH=/dev/md8 throttled
    destroy
    snapc detach "$(node $A)"
    filterc sample detach /dev/md8
    within 10 mdadm --stop --quiet /dev/md8
    rmmod blkfilter_sample
}
