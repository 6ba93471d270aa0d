// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disks and partitions that go away.
 *
 * A disk: del_gendisk() is redirected, and called from here after all filters were detached from the disk. While it runs the
 * disk is on a list of the dying, so that nothing is attached to it any more before the kernel itself marks it dead.
 * A partition alone (re-read partition table, BLKPG): the block class tells when its device is removed. That is told under locks
 * of the kernel, and so the attachment is only made blind at once; it is detached by a worker.
 */
#define BSK_HOOK_FTRACE
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "hook.h"

struct bsk_dying {
	struct list_head link;
	struct gendisk *disk;
};

static LIST_HEAD(bsk_dying);
static DEFINE_SPINLOCK(bsk_dying_lock);

static void bsk_del_gendisk(struct gendisk *disk)
{
	struct bsk_dying dying = { .disk = disk };

	spin_lock(&bsk_dying_lock);
	list_add(&dying.link, &bsk_dying);
	spin_unlock(&bsk_dying_lock);

	bsr_disk_gone(disk);
	del_gendisk(disk);

	spin_lock(&bsk_dying_lock);
	list_del(&dying.link);
	spin_unlock(&bsk_dying_lock);
	module_put(THIS_MODULE);
}

static void notrace bsk_on_del(unsigned long ip, unsigned long caller, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (!bsk_own_text(caller) && try_module_get(THIS_MODULE))
		bsk_divert(fregs, bsk_del_gendisk);
}

struct bsk_hook bsk_hook_gone = {
	.function = "del_gendisk",
	.ops = { .func = bsk_on_del, .flags = BSK_HOOK_FLAGS },
};

bool bsk_disk_dying(void *disk)
{
	struct bsk_dying *dying;
	bool found = test_bit(GD_DEAD, &((struct gendisk *)disk)->state);

	spin_lock(&bsk_dying_lock);
	list_for_each_entry(dying, &bsk_dying, link)
		found |= dying->disk == disk;
	spin_unlock(&bsk_dying_lock);
	return found;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
static void bsk_remove_dev(struct device *dev)
#else
static void bsk_remove_dev(struct device *dev, struct class_interface *class)
#endif
{
	bsr_part_gone(dev_to_bdev(dev));
}

static struct class_interface bsk_class = { .remove_dev = bsk_remove_dev };

int bsk_gone_init(void)
{
	struct gendisk *disk;
	void *test;
	struct block_device *bdev;
	const void *ops;
	int ret = bsk_test_new(&test, &bdev, &ops);

	if (ret)
		return ret;
	/* The class itself is not exported; every disk's device names it. */
	disk = bdev->bd_disk;
	bsk_class.class = disk_to_dev(disk)->class;
	bsk_test_free(test);
	return class_interface_register(&bsk_class);
}

void bsk_gone_exit(void)
{
	class_interface_unregister(&bsk_class);
}
