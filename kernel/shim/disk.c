// SPDX-License-Identifier: GPL-2.0-only
/* The block device of a snapshot image. */
#include <linux/blkdev.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/wait.h>
#include "snap.h"

struct bsk_disk {
	struct gendisk *disk;
	void *ctx;
	void (*submit)(void *ctx, struct bio *bio);
	void (*release)(void *ctx);
	int index;
};

static DEFINE_IDA(bsk_disk_ids);
static atomic_t bsk_disks;
static DECLARE_WAIT_QUEUE_HEAD(bsk_disks_gone);

static void gone(struct bsk_disk *d)
{
	d->release(d->ctx);
	ida_free(&bsk_disk_ids, d->index);
	kfree(d);
	if (atomic_dec_and_test(&bsk_disks))
		wake_up_all(&bsk_disks_gone);
}

static void bsk_disk_submit(struct bio *bio)
{
	struct bsk_disk *d = bio->bi_bdev->bd_disk->private_data;

	d->submit(d->ctx, bio);
}

static void bsk_disk_free(struct gendisk *disk)
{
	gone(disk->private_data);
}

static const struct block_device_operations bsk_disk_ops = {
	.owner = THIS_MODULE,
	.submit_bio = bsk_disk_submit,
	.free_disk = bsk_disk_free,
};

void bsk_disk_exit(void)
{
	wait_event(bsk_disks_gone, !atomic_read(&bsk_disks));
	/* The last one may still be in the last instructions of gone(). */
	synchronize_rcu_tasks();
	ida_destroy(&bsk_disk_ids);
}

static struct gendisk *alloc(struct block_device *origin, unsigned int logical, unsigned int dma)
{
	unsigned int physical = max(bdev_physical_block_size(origin), logical);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
	struct gendisk *disk;
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	{
	struct queue_limits lim = {
		.logical_block_size = logical,
		.physical_block_size = physical,
		.dma_alignment = dma,
		.max_hw_sectors = 8192,
		.io_opt = 1 << 20,
		.max_hw_discard_sectors = UINT_MAX >> SECTOR_SHIFT,
		.max_write_zeroes_sectors = UINT_MAX >> SECTOR_SHIFT,
		.discard_granularity = PAGE_SIZE,
	};

	return blk_alloc_disk(&lim, NUMA_NO_NODE);
	}
#else
	disk = blk_alloc_disk(NUMA_NO_NODE);
	if (!disk)
		return ERR_PTR(-ENOMEM);
	blk_queue_logical_block_size(disk->queue, logical);
	blk_queue_physical_block_size(disk->queue, physical);
	blk_queue_dma_alignment(disk->queue, dma);
	blk_queue_max_hw_sectors(disk->queue, 8192);
	blk_queue_io_opt(disk->queue, 1 << 20);
	blk_queue_max_discard_sectors(disk->queue, UINT_MAX >> SECTOR_SHIFT);
	blk_queue_max_write_zeroes_sectors(disk->queue, UINT_MAX >> SECTOR_SHIFT);
	disk->queue->limits.discard_granularity = PAGE_SIZE;
	blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	return disk;
#endif
}

long bsk_disk_new(void *origin, u32 logical, u32 dma, u64 sectors, void *ctx, void (*submit)(void *ctx, struct bio *bio),
		  void (*release)(void *ctx), void **out)
{
	struct bsk_disk *d = kzalloc(sizeof(*d), GFP_KERNEL);
	long err;

	if (!d)
		return -ENOMEM;
	d->index = ida_alloc(&bsk_disk_ids, GFP_KERNEL);
	if (d->index < 0) {
		err = d->index;
		goto free;
	}
	d->disk = alloc(origin, logical, dma);
	if (IS_ERR_OR_NULL(d->disk)) {
		err = d->disk ? PTR_ERR(d->disk) : -ENOMEM;
		goto id;
	}
	d->ctx = ctx;
	d->submit = submit;
	d->release = release;
	d->disk->fops = &bsk_disk_ops;
	d->disk->private_data = d;
	d->disk->flags |= GENHD_FL_NO_PART;
	snprintf(d->disk->disk_name, DISK_NAME_LEN, "blksnap-image%d", d->index);
	set_capacity(d->disk, sectors);
	atomic_inc(&bsk_disks);
	*out = d;
	return 0;
id:
	ida_free(&bsk_disk_ids, d->index);
free:
	kfree(d);
	return err;
}

long bsk_disk_add(void *handle)
{
	struct bsk_disk *d = handle;

	return add_disk(d->disk);
}

void bsk_disk_del(void *handle, bool added)
{
	struct bsk_disk *d = handle;
	struct gendisk *disk = d->disk;

	if (added)
		del_gendisk(disk);
	put_disk(disk);
	if (!added)
		gone(d);	/* free_disk is called for added disks only */
}

long bsk_disk_name(void *handle, char *out, u32 n)
{
	struct bsk_disk *d = handle;

	return strscpy(out, d->disk->disk_name, n);
}
