// SPDX-License-Identifier: GPL-2.0-only
/*
 * Facts about a block device that decide whether it can be filtered, and references to its structure.
 */
#include <linux/blkdev.h>
#include <linux/kernfs.h>
#include "hook.h"

void bsk_dev_get(struct block_device *bdev)
{
	get_device(&bdev->bd_device);
}

void bsk_dev_put(struct block_device *bdev)
{
	put_device(&bdev->bd_device);
}

void *bsk_dev_disk(struct block_device *bdev)
{
	return bdev->bd_disk;
}

u64 bsk_dev_first(struct block_device *bdev)
{
	return bdev_is_partition(bdev) ? bdev->bd_start_sect : 0;
}

u64 bsk_dev_end(struct block_device *bdev)
{
	return bdev_is_partition(bdev) ? bdev->bd_start_sect + bdev_nr_sectors(bdev) : U64_MAX;
}

u32 bsk_dev_name(struct block_device *bdev, char *name, u32 len)
{
	int n = scnprintf(name, len, "%pg", bdev);

	return n < 0 ? 0 : n;
}

bool bsk_dev_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

bool bsk_dev_dax(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev));
}

/*
 * DM, MD and bcache link themselves into the holders folder of each device they are made of; a mounted file system, which
 * claims its device just the same, does not. The folder is empty otherwise.
 */
bool bsk_dev_leg(struct block_device *bdev)
{
	struct kobject *holders = bdev->bd_holder_dir;

	return holders && holders->sd && !RB_EMPTY_ROOT(&holders->sd->dir.children);
}
