# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Takes while the origin is written to, and how long each held the writes. The kernel's tracing says when the last write that was in flight
# has ended: no write that comes in at a closed gate ends before it opens.

TRACING=/sys/kernel/tracing

# takes COMMAND…: a load of fio without an end; snapshots are taken meanwhile, each when the last one is gone.
takes() {
    "$@" &
    local load=$! number before=("${IDS[@]}")
    trace_on
    within 60 moves
    for ((number = 0; number < 20; number++)); do
        : >$TRACING/trace
        take memory
        GATES+=("$(gate)")
        blksnap snapshot destroy -q "$ID" >/dev/null
        IDS=("${before[@]}")
    done
    trace_off
    kill -INT $load
    wait $load || true
}

# Whether the origin is being written to.
moves() { [ "$(awk '{ print $2 }' "/sys/class/block/${ORIGIN##*/}/inflight")" -gt 0 ]; }

trace_on() {
    local number
    IFS=: read -r -a number <"/sys/class/block/${ORIGIN##*/}/dev"
    echo mono >$TRACING/trace_clock
    # A device as the kernel writes it in one number.
    echo "dev == $((number[0] << 20 | number[1]))" >$TRACING/events/block/block_rq_complete/filter
    echo 1 >$TRACING/events/block/block_rq_complete/enable
    echo 1 >$TRACING/events/blksnap/blksnap_take/enable
    echo 1 >$TRACING/tracing_on
}

trace_off() {
    echo 0 >$TRACING/events/enable
    echo 0 >$TRACING/events/block/block_rq_complete/filter
    : >$TRACING/trace
    echo local >$TRACING/trace_clock
}

# Of the take in the trace: nanoseconds from the gate's closing to its opening, how many writes ended meanwhile, and how long after the
# last of them, or the closing, it opened.
gate() {
    awk '{
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^[0-9]+\.[0-9]+:$/) { time = $i * 1e9; event = $(i + 1); break }
        }
    }
    event == "block_rq_complete:" && $(i + 3) ~ /^W/ { ends[++n] = time }
    event == "blksnap_take:" {
        sub(/.*closed for /, "")
        closed = $1
        last = time - closed
        for (k = 1; k <= n; k++) {
            if (ends[k] > time - closed && ends[k] <= time) { count++; if (ends[k] > last) last = ends[k] }
        }
        printf "{ \"gate_ns\": %d, \"in_flight\": %d, \"beyond_ns\": %d }\n", closed, count, time - last
        exit
    }' $TRACING/trace
}
