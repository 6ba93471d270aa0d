# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Change tracking against the true difference of two images.

t_cbt_delta_over_several_takes() { # long
    local i
    snapc attach "$(node $A)"
    for i in 1 2 3 4; do
        load $A "$W/$i.journal" --seed $i --range $((24 << 20)) --pause 2000
        more_writes $W/$i.journal
        snapshot $STORE -- $A
        more_writes $W/$i.journal
        stop_loads
        copy "${IMAGE[0]}" "$W/image$i"
        snapc cbtmap "$(node $A)" >"$W/map$i"
        destroy
    done
    stamp delta $W/image1 $W/image2 --map $W/map2 --base 1
    stamp delta $W/image2 $W/image3 --map $W/map3 --base 2
    stamp delta $W/image3 $W/image4 --map $W/map4 --base 3
    stamp delta $W/image1 $W/image4 --map $W/map4 --base 1
    stamp delta $W/image2 $W/image4 --map $W/map4 --base 2
}

t_cbt_dirty_marks_ranges() {
    local a && a=$(node $A)
    snapshot $STORE -- $A
    destroy
    snapc dirty "$a" 128 129
    snapshot $STORE -- $A
    same "$(snapc cbtmap "$a" | od -An -v -tu1 -w1 | awk '$1 > 1 { printf "%d ", NR - 1 }')" "1 2 " "the blocks marked"
    destroy
}

t_cbt_map_is_that_of_the_last_take() {
    local a && a=$(node $A)
    snapshot $STORE -- $A
    dd if=/dev/urandom of=$A bs=64k count=4 seek=10 oflag=direct conv=notrunc status=none
    same "$(snapc cbtmap "$a" | tr -d '\0' | wc -c)" 0 "blocks marked as of the first take"
    destroy
    snapshot $STORE -- $A
    same "$(snapc cbtmap "$a" | od -An -v -tu1 -w1 | awk '$1 > 1 { printf "%d ", NR - 1 }')" "10 11 12 13 " "the blocks marked"
}

t_cbt_generation_changes_after_255_takes() { # long 6.1
    local a first failed='' && a=$(node $A)
    snapc attach "$a"
    first=$(snapc cbtinfo "$a" | value generation)
    # udev would look at 255 images, which costs as much again.
    pkill -x systemd-udevd || pkill -x udevadm || true
    snapc takes "$a" 255 || failed=yes
    (echo "$BASHPID" >/sys/fs/cgroup/cgroup.procs && exec /lib/systemd/systemd-udevd --daemon)
    [ -z "$failed" ]
    same "$(snapc cbtinfo "$a" | value number)" 255 "changes number"
    same "$(snapc cbtinfo "$a" | value generation)" "$first" "generation at 255"
    snapshot $STORE -- $A
    [ "$(snapc cbtinfo "$a" | value generation)" != "$first" ] || fail "the same generation after 256 takes"
    [ "$(snapc cbtinfo "$a" | value number)" -le 1 ] || fail "changes number $(snapc cbtinfo "$a" | value number)"
}

# Changes are read in parts, and the device gets smaller in between: what is left is not simply nothing.
t_cbt_extents_of_a_device_that_shrank() {
    local loop before
    truncate -s 32M $W/file
    loop=$(losetup -f --show $W/file)
    snapc attach "$loop"
    before=$(snapc extents "$loop" 0 | value generation)
    same "$(snapc extents "$loop" $((24 << 20)) "$before" | value next)" $((32 << 20)) "the end"
    truncate -s 16M $W/file
    losetup -c "$loop"
    errno ESTALE snapc extents "$loop" $((24 << 20)) "$before"
    snapc detach "$loop"
    losetup -d "$loop"
}
