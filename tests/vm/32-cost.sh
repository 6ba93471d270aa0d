# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What copy on write costs, by the counters: bytes copied against bytes that had to be, and how large the stores are.
# 30-snapshot.sh has the single write: one read of 4 KiB, one store of 4 KiB, nothing the second time.

# cost NEEDED COMMAND…: after a load whose first writes covered so many bytes. All of them were copied, and of others a quarter at most and
# 64 blocks; stores are of $AVERAGE bytes or more on average (64 KiB: what waits for more goes after 5 ms, also where the host is busy; on a
# kernel that watches itself too little happens in that time); the image is what it was; and the same load once more costs nothing.
AVERAGE=65536
cost() {
    local needed=$1 copied stored stores
    shift
    copy "${DISK:=$C}" $W/copy 16
    snapshot $D -- "$DISK"
    "$@"
    within 10 eval '[ "$(counter $DISK store_bytes)" = "$(counter $DISK copy_read_bytes)" ]'
    copied=$(counter "$DISK" copy_read_bytes) stored=$(counter "$DISK" store_bytes) stores=$(counter "$DISK" stores)
    note "$needed bytes needed, $copied copied in $(counter "$DISK" copy_reads) reads, stored in $stores writes of $((stored / stores)) on average"
    [ "$copied" -ge "$needed" ] || fail "$copied bytes copied of $needed"
    [ "$copied" -le $((needed + needed / 4 + 64 * 4096)) ] || fail "$copied bytes copied where $needed had to be"
    [ ${SLOWER:-1} -gt 1 ] || [ $((stored / stores)) -ge $AVERAGE ] || fail "$stores stores of $((stored / stores)) bytes on average"
    cmp -n 16777216 "${IMAGE[0]}" $W/copy
    "$@"
    same "$(counter "$DISK" copy_read_bytes) $(counter "$DISK" store_bytes)" "$copied $stored" "bytes copied and stored after the same load again"
}

# Each block of the first 16 MiB once, 4 KiB at a time, 32 in flight.
blocks() {
    fio --name=load --filename="$(node "$C")" --direct=1 --ioengine=libaio --iodepth=32 --rw="$1" --bs=4k --size=16m --randseed=11 >/dev/null
}

t_cost_of_a_dense_load() { # long
    cost 16777216 blocks randwrite
}

t_cost_of_a_sequential_load() { # long
    cost 16777216 blocks write
}

t_cost_of_large_writes() { # long
    cost 16777216 dd if=/dev/urandom of="$(node "$C")" bs=1M count=16 oflag=direct conv=notrunc status=none
    # Of 256 KiB each, or nearly.
    [ "$(counter $C copy_reads)" -le 80 ] || fail "$(counter $C copy_reads) reads for copies"
}

# Sparse writes, so many in flight that a store of the largest size is there each time one has ended.
t_cost_of_a_sparse_load() { # long
    AVERAGE=131072 cost $((8 << 20)) fio --name=load --filename="$(node $C)" --direct=1 --ioengine=libaio --iodepth=256 --rw=randwrite --bs=4k \
        --size=448m --io_size=8m --randseed=11 --output=$W/fio
}
