# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# No memory left: the device goes on, and what copies must not need what it makes room for.

# Memory that the kernel can use, MiB.
free_memory() { awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo; }

# How much is swapped out, MiB.
swapped() { awk '/^SwapTotal/ { t = $2 } /^SwapFree/ { print int((t - $2) / 1024) }' /proc/meminfo; }

# The machine's memory is full, and swapping writes to the very disk that is copied from: each page that goes out may have to
# wait for a copy, which may not wait for a page.
t_swap_on_a_disk_in_a_snapshot() { # long
    local i=0 last
    [ -e /proc/sys/vm/nr_hugepages ] || skip "no huge pages"
    mkswap "$(node $C)" 196608 >/dev/null
    dd if="$C" of=$W/copy bs=1M count=192 iflag=direct status=none
    snapshot "$(node $D)" -- $A $C
    swapon "$(node $C)"
    # Huge pages take memory away at once; about 160 MiB are left.
    echo $(((($(free_memory) - 160)) / 2)) >/proc/sys/vm/nr_hugepages
    mkdir /mnt/memory
    mount -t tmpfs -o size=1G memory /mnt/memory
    head -c 8M /dev/urandom >/mnt/memory/0
    fio --name=writes --filename="$(node $A)" --direct=1 --rw=randwrite --bs=4k --size=8M >$W/fio 2>&1 &
    # What can be given back beside differs: until enough went out, and there is room in the swap for more.
    while [ $((i += 1)) -le 26 ] || [ "$(swapped)" -lt 24 ]; do
        [ $i -le 60 ] || fail "only $(swapped) MiB were swapped out"
        cp /mnt/memory/0 /mnt/memory/$i
    done
    last=$i
    wait $!
    note "$(swapped) MiB swapped out; $(counter $C held) writes held, $(counter $C store_bytes) bytes stored"
    for ((i = 1; i < last; i++)); do cmp /mnt/memory/0 /mnt/memory/$i; done
    echo 0 >/proc/sys/vm/nr_hugepages
    cmp -n $((192 << 20)) "${IMAGE[1]}" $W/copy
    umount /mnt/memory
    swapoff "$(node $C)"
}
