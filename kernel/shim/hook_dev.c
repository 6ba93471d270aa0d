// SPDX-License-Identifier: GPL-2.0-only
/*
 * Facts about a block device that decide whether it can be filtered, and references to its structure.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kernfs.h>
#include <linux/part_stat.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/wait.h>
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

const u64 *bsk_dev_sectors(struct block_device *bdev)
{
	return bdev_is_partition(bdev) ? &bdev->bd_nr_sectors : NULL;
}

void bsk_dev_name(struct block_device *bdev, char *name, u32 len)
{
	snprintf(name, len, "%pg", bdev);
}

void bsk_dev_facts(struct block_device *bdev, u32 *major, u32 *minor, u64 *sectors)
{
	*major = MAJOR(bdev->bd_dev);
	*minor = MINOR(bdev->bd_dev);
	*sectors = bdev_nr_sectors(bdev);
}

bool bsk_dev_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

bool bsk_dev_dax(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev));
}

static bool bsk_has_holders(struct block_device *bdev)
{
	struct kobject *holders = bdev->bd_holder_dir;

	return holders && holders->sd && !RB_EMPTY_ROOT(&holders->sd->dir.children);
}

static bool bsk_is_held_by(struct block_device *bdev, const char *name)
{
	struct kobject *holders = bdev->bd_holder_dir;
	struct kernfs_node *link = holders && holders->sd ? kernfs_find_and_get(holders->sd, name) : NULL;

	kernfs_put(link);
	return link;
}

/* Whether the device is held by a disk of that name; NULL: by any. A disk is where its partitions are, and a partition where its disk is. */
static bool bsk_family_held(struct block_device *bdev, const char *name)
{
	struct gendisk *disk = bdev->bd_disk;
	struct block_device *part;
	unsigned long idx;
	bool held = false;

	mutex_lock(&disk->open_mutex);
	xa_for_each(&disk->part_tbl, idx, part)
		if (part == bdev || !bdev_is_partition(part) || !bdev_is_partition(bdev))
			held |= name ? bsk_is_held_by(part, name) : bsk_has_holders(part);
	mutex_unlock(&disk->open_mutex);
	return held;
}

/*
 * DM, MD and bcache link themselves into the holders folder of each device they are made of; a mounted file system, which
 * claims its device just the same, does not. The folder is empty otherwise.
 */
bool bsk_dev_leg(struct block_device *bdev)
{
	return bsk_family_held(bdev, NULL);
}

/*
 * A device-mapper disk with a request queue (multipath) puts copies of its requests into the queues of its parts. Its name is looked for
 * in the folder; what the links lead to is not to be found out without the lock of sysfs.
 */
bool bsk_dev_bypassed(struct block_device *bdev)
{
	struct device *own = disk_to_dev(bdev->bd_disk), *upper;
	struct class_dev_iter iter;
	bool found = false;

	class_dev_iter_init(&iter, own->class, NULL, own->type);
	while (!found && (upper = class_dev_iter_next(&iter)))
		found = str_has_prefix(dev_name(upper), "dm-") && queue_is_mq(dev_to_disk(upper)->queue) &&
			bsk_family_held(bdev, dev_name(upper));
	class_dev_iter_exit(&iter);
	return found;
}

/*
 * What a request-based driver has under way is in its queue, and what an NVMe multipath disk has is in those of its paths. Of the other
 * bio-based ones these keep bios for long, and say how many in the disk's statistics, if at all: device-mapper does in any case before 6.2.
 */
bool bsk_dev_untold(struct block_device *bdev)
{
	struct request_queue *q = bdev_get_queue(bdev);
	const char *name = bdev->bd_disk->disk_name;

	if (queue_is_mq(q))
		return false;
	if (str_has_prefix(name, "dm-") && LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0))
		return false;
	return !blk_queue_io_stat(q) && (str_has_prefix(name, "dm-") || str_has_prefix(name, "md"));
}

/* Before 7.0 a write to a partition counts for the partition only; later for the disk as well. Zero is zero in both. */
static bool bsk_writes_in_flight(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long idx;
	bool any = false;
	int cpu;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, idx, part) {
		long n = 0;

		for_each_possible_cpu(cpu)
			n += part_stat_local_read_cpu(part, in_flight[1], cpu);
		any |= n > 0;
	}
	rcu_read_unlock();
	return any;
}

/* Whether somebody else has frozen the queue, or tasks sleep at it because somebody had. */
static bool bsk_frozen(struct request_queue *q)
{
	return READ_ONCE(q->mq_freeze_depth) || waitqueue_active(&q->mq_freeze_wq);
}

/*
 * The disk behind an NVMe multipath disk's path is being removed: its queue stays frozen for ever. Who sleeps there is woken, and his bio ends with an
 * error without a request, so that no other path gets it; a request under way there ends, or its bios come back to the multipath disk, and by the hook.
 */
static bool bsk_path_leaves(struct request_queue *q)
{
	return q->disk && (q->disk->flags & GENHD_FL_HIDDEN) && test_bit(GD_DEAD, &q->disk->state);
}

/* Waits until what came to a queue before has ended, also who sleeps at it because somebody else has frozen it. Sleeps. */
static bool bsk_queue_settle(struct request_queue *q, unsigned long end)
{
	unsigned int noio;
	bool done;

	if (bsk_frozen(q)) {
		while (bsk_frozen(q) && !bsk_path_leaves(q)) {
			if (time_after(jiffies, end))
				return false;
			msleep(1);
		}
		/* Those just woken are on their way into the queue. */
		bsk_grace_tasks();
	}
	noio = memalloc_noio_save();
	blk_freeze_queue_start(q);
	done = blk_mq_freeze_queue_wait_timeout(q, max_t(long, end - jiffies, 1)) > 0;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	blk_mq_unfreeze_queue_nomemrestore(q);
#else
	blk_mq_unfreeze_queue(q);
#endif
	memalloc_noio_restore(noio);
	return done;
}

/*
 * The paths of an NVMe multipath disk nvmeSnN are hidden disks, nvmeScCnN. A write that has left the disk for one of them is in no count of the
 * disk before its request begins, which may wait for a tag, a scheduler, or the path's queue. One that comes back passes the hook again.
 */
static bool bsk_nvme_settle(struct gendisk *disk, unsigned long end)
{
	struct device *own = disk_to_dev(disk), *path;
	int subsystem, head, s, c, n;
	struct class_dev_iter iter;
	bool done = true;

	if (sscanf(disk->disk_name, "nvme%dn%d", &subsystem, &head) != 2)
		return true;
	/* Those that have just left the disk's queue are on their way into one of a path. */
	bsk_grace_tasks();
	class_dev_iter_init(&iter, own->class, NULL, own->type);
	while (done && (path = class_dev_iter_next(&iter)))
		if (sscanf(dev_name(path), "nvme%dc%dn%d", &s, &c, &n) == 3 && s == subsystem && n == head)
			done = bsk_queue_settle(dev_to_disk(path)->queue, end);
	class_dev_iter_exit(&iter);
	return done;
}

/*
 * Who sleeps at a frozen queue has passed the hook and is in no count: that comes to its end first. Then freezing the queue waits
 * for all requests of a request-based device, and for bio-based ones for all that are just being submitted. What a bio-based
 * driver (DM, MD) has under way is in the disk's statistics, or in queues behind it (NVMe); the statistics are looked at on demand, as with writes
 * coming they may never be empty.
 */
bool bsk_dev_settle(struct block_device *bdev, u32 ms, bool statistics)
{
	struct request_queue *q = bdev_get_queue(bdev);
	unsigned long end = jiffies + msecs_to_jiffies(ms) + 1;

	if (!bsk_queue_settle(q, end))
		return false;
	if (queue_is_mq(q))
		return true;
	if (!bsk_nvme_settle(bdev->bd_disk, end))
		return false;
	while (statistics && bsk_writes_in_flight(bdev->bd_disk)) {
		if (time_after(jiffies, end))
			return false;
		msleep(1);
	}
	return true;
}
