#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What a 4 KiB write to a RAM disk costs in each state of the modules. Runs in a guest with instruction-counted time, where a
# nanosecond is an instruction; prints a line `CELL NAME NANOSECONDS` for each cell. Cells that end in 2 repeat earlier ones.
set -Eeuo pipefail

WRITES=${1:-40000}

modprobe brd rd_nr=2 rd_size=262144
for _ in $(seq 100); do [ -b /dev/ram1 ] && break || sleep 0.05; done
# A RAM disk allocates a page at its first write.
for disk in /dev/ram0 /dev/ram1; do dd if=/dev/zero of=$disk bs=1M count=256 oflag=direct status=none; done

# fio's own share of it is the same in all cells. Its random numbers are, too.
write() {
    fio --name=cost --filename=/dev/ram0 --ioengine=psync --direct=1 --rw=randwrite --norandommap --bs=4k --size=256M \
        --number_ios="$WRITES" --randseed=7 --output-format=json |
        jq -r '.jobs[0].write | .total_ios as $n | (.lat_ns.mean, .runtime * 1e6 / $n)' | tr '\n' ' '
}

cell() { echo "CELL $1 $(write)"; }

write >/dev/null
cell raw
modprobe blksnap
cell loaded
blksnap attach /dev/ram1 >/dev/null
cell other
blksnap attach /dev/ram0 >/dev/null
cell tracked
cell tracked2
blksnap detach /dev/ram0 >/dev/null
cell other2
blksnap detach /dev/ram1 >/dev/null
rmmod blksnap blkfilter
cell raw2
