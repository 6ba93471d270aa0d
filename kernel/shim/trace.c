// SPDX-License-Identifier: GPL-2.0-only
/* The tracepoints of trace.h, for Rust. Each call is a jump over nothing while nobody traces. */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include "snap.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

void bsk_trace_hold(const struct bio *bio)
{
	trace_blksnap_hold(bio_dev(bio), bio->bi_iter.bi_sector, bio_sectors(bio));
}

void bsk_trace_resubmit(const struct bio *bio)
{
	trace_blksnap_resubmit(bio_dev(bio), bio->bi_iter.bi_sector, bio_sectors(bio));
}

void bsk_trace_copy(u32 major, u32 minor, u64 sector, u64 sectors)
{
	trace_blksnap_copy(MKDEV(major, minor), sector, sectors);
}

void bsk_trace_store(u32 major, u32 minor, u64 sectors)
{
	trace_blksnap_store(MKDEV(major, minor), sectors);
}

void bsk_trace_take(u32 devices, u64 gate_ns, int error)
{
	trace_blksnap_take(devices, gate_ns, error);
}
