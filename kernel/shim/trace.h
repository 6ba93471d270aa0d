/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of blksnap.ko, below /sys/kernel/tracing/events/blksnap. A device is its numbers; sectors are of 512 bytes.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM blksnap

#if !defined(BSK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BSK_TRACE_H

#include <linux/kdev_t.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(blksnap_range,
	TP_PROTO(dev_t dev, u64 sector, u64 sectors),
	TP_ARGS(dev, sector, sectors),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, sector)
		__field(u64, sectors)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->sector = sector;
		__entry->sectors = sectors;
	),
	TP_printk("%d,%d %llu + %llu", MAJOR(__entry->dev), MINOR(__entry->dev), __entry->sector, __entry->sectors)
);

/* A write waits until what it overwrites is copied. In its submitter's context. */
DEFINE_EVENT(blksnap_range, blksnap_hold, TP_PROTO(dev_t dev, u64 sector, u64 sectors), TP_ARGS(dev, sector, sectors));
/* Blocks of the origin are read, to be stored. */
DEFINE_EVENT(blksnap_range, blksnap_copy, TP_PROTO(dev_t dev, u64 sector, u64 sectors), TP_ARGS(dev, sector, sectors));
/* A held write goes on. */
DEFINE_EVENT(blksnap_range, blksnap_resubmit, TP_PROTO(dev_t dev, u64 sector, u64 sectors), TP_ARGS(dev, sector, sectors));

/* Copies have their place in a difference storage, and go there now. */
TRACE_EVENT(blksnap_store,
	TP_PROTO(dev_t dev, u64 sectors),
	TP_ARGS(dev, sectors),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, sectors)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->sectors = sectors;
	),
	TP_printk("%d,%d %llu sectors", MAJOR(__entry->dev), MINOR(__entry->dev), __entry->sectors)
);

/* A take has passed its gate. With an error nothing was taken. */
TRACE_EVENT(blksnap_take,
	TP_PROTO(u32 devices, u64 gate_ns, int error),
	TP_ARGS(devices, gate_ns, error),
	TP_STRUCT__entry(
		__field(u32, devices)
		__field(u64, gate_ns)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->devices = devices;
		__entry->gate_ns = gate_ns;
		__entry->error = error;
	),
	TP_printk("%u devices, gate closed for %llu ns, error %d", __entry->devices, __entry->gate_ns, __entry->error)
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
