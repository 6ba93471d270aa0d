# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What a snapshot tells of its end to come, and a wait for it that a signal ends.

full_in_ms() { snapc stat "$ID" | value full_in_ms; }

# A storage that nobody writes to has no end in sight; of one that fills evenly it is known when, the sooner the less is left; a full one is full.
t_prediction_of_a_full_storage() { # long
    local first never=18446744073709551615
    snapshot memory $((16 << 20)) -- $A
    same "$(full_in_ms)" $never "the prediction for an idle storage"
    dd if=/dev/urandom of=$A bs=64k count=32 oflag=direct conv=notrunc status=none
    # What comes half a second later makes it a rate.
    within 10 eval 'dd if=/dev/urandom of=$A bs=64k count=1 seek=$((SEEK = ${SEEK:-32} + 1)) oflag=direct conv=notrunc status=none && [ "$(full_in_ms)" != '$never' ]'
    first=$(full_in_ms)
    note "full in $first ms, with $(snapc stat "$ID" | value used) bytes used of $((16 << 20))"
    [ "$first" -gt 0 ] && [ "$first" -le $((600000 * ${SLOWER:-1})) ] || fail "full in $first ms"
    same "$(blksnap snapshot info "$ID" --json | jq '.full_in_seconds != null')" true "that the command tells when it is full"
    dd if=/dev/urandom of=$A bs=64k count=64 seek=128 oflag=direct conv=notrunc status=none
    within 5 eval '[ "$(full_in_ms)" -lt '"$first"' ]'
    destroy
}

t_wait_for_an_event_is_interrupted() {
    snapshot $STORE -- $A
    errno EINTR snapc interrupted "$ID" 60000
    errno ENOENT snapc wait "$ID" 1
}
