// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters. Those with a u32 number are read by the module; the rest
 * are accepted because existing clients pass them, and named in the log.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include "snap.h"

static unsigned int tracking_block_minimum_shift = 16;
static unsigned int tracking_block_maximum_shift = 26;
static unsigned int tracking_block_maximum_count;
static unsigned int chunk_minimum_shift;
static unsigned int chunk_maximum_shift;
static unsigned int chunk_maximum_count_shift;
static unsigned int chunk_maximum_in_queue;
static unsigned int diff_storage_minimum = 2097152;
static unsigned int store_timeout_seconds = 60;
static unsigned int copy_memory_kib = 16384;

module_param(tracking_block_minimum_shift, uint, 0644);
MODULE_PARM_DESC(tracking_block_minimum_shift, "tracking block, as a power of two of bytes (default 16: 64 KiB)");
module_param(tracking_block_maximum_shift, uint, 0644);
MODULE_PARM_DESC(tracking_block_maximum_shift, "largest tracking block when a maximum count is set (default 26)");
module_param(tracking_block_maximum_count, uint, 0644);
MODULE_PARM_DESC(tracking_block_maximum_count, "largest number of tracking blocks of a device (default 0: no limit)");
module_param(chunk_minimum_shift, uint, 0644);
MODULE_PARM_DESC(chunk_minimum_shift, "accepted, without effect: the unit of copy-on-write is 4 KiB");
module_param(chunk_maximum_shift, uint, 0644);
MODULE_PARM_DESC(chunk_maximum_shift, "accepted, without effect");
module_param(chunk_maximum_count_shift, uint, 0644);
MODULE_PARM_DESC(chunk_maximum_count_shift, "accepted, without effect");
module_param(chunk_maximum_in_queue, uint, 0644);
MODULE_PARM_DESC(chunk_maximum_in_queue, "accepted, without effect: see copy_memory_kib");
module_param(diff_storage_minimum, uint, 0644);
MODULE_PARM_DESC(diff_storage_minimum, "sectors by which a difference storage file grows (default 2097152)");
module_param(store_timeout_seconds, uint, 0644);
MODULE_PARM_DESC(store_timeout_seconds, "a snapshot whose storage keeps writers waiting this long is given up, and so is a freeze (default 60)");
module_param(copy_memory_kib, uint, 0644);
MODULE_PARM_DESC(copy_memory_kib, "memory of a snapshot for copies on their way to the storage, in KiB (default 16384)");

u32 bsk_param(u32 which)
{
	switch (which) {
	case 0: return tracking_block_minimum_shift;
	case 1: return tracking_block_maximum_shift;
	case 2: return tracking_block_maximum_count;
	case 3: return diff_storage_minimum;
	case 4: return store_timeout_seconds;
	case 5: return copy_memory_kib;
	case 6: return chunk_minimum_shift | chunk_maximum_shift | chunk_maximum_count_shift |
		       chunk_maximum_in_queue;
	}
	return 0;
}
