// SPDX-License-Identifier: GPL-2.0-only
/* Block devices: opening, geometry, freezing what is mounted on them. */
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/xarray.h>
#include "snap.h"

/* An open device. Its address is the holder of an exclusive open, so that two of ours exclude each other too. */
struct bsk_bdev {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	struct file *file;
#else
	struct block_device *bdev;
	fmode_t mode;
#endif
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
static int open_path(struct bsk_bdev *h, const char *path, bool exclusive)
{
	h->file = bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, exclusive ? h : NULL, NULL);
	return PTR_ERR_OR_ZERO(h->file);
}

static int open_dev(struct bsk_bdev *h, dev_t dev)
{
	h->file = bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
	return PTR_ERR_OR_ZERO(h->file);
}

static void close_dev(struct bsk_bdev *h)
{
	bdev_fput(h->file);
}

static struct block_device *device_of(struct bsk_bdev *h)
{
	return file_bdev(h->file);
}

static int freeze(struct block_device *bdev)
{
	return bdev_freeze(bdev);
}

static void thaw(struct block_device *bdev)
{
	bdev_thaw(bdev);
}
#else
static int open_path(struct bsk_bdev *h, const char *path, bool exclusive)
{
	h->mode = FMODE_READ | FMODE_WRITE | (exclusive ? FMODE_EXCL : 0);
	h->bdev = blkdev_get_by_path(path, h->mode, exclusive ? h : NULL);
	return PTR_ERR_OR_ZERO(h->bdev);
}

static int open_dev(struct bsk_bdev *h, dev_t dev)
{
	h->mode = FMODE_READ;
	h->bdev = blkdev_get_by_dev(dev, h->mode, NULL);
	return PTR_ERR_OR_ZERO(h->bdev);
}

static void close_dev(struct bsk_bdev *h)
{
	blkdev_put(h->bdev, h->mode);
}

static struct block_device *device_of(struct bsk_bdev *h)
{
	return h->bdev;
}

static int freeze(struct block_device *bdev)
{
	return freeze_bdev(bdev);
}

static void thaw(struct block_device *bdev)
{
	thaw_bdev(bdev);
}
#endif

long bsk_bdev_open_path(const char *path, bool exclusive, void **out)
{
	struct bsk_bdev *h = kzalloc(sizeof(*h), GFP_KERNEL);
	int err;

	if (!h)
		return -ENOMEM;
	err = open_path(h, path, exclusive);
	if (err)
		kfree(h);
	else
		*out = h;
	return err;
}

long bsk_bdev_open_dev(u32 major, u32 minor, void **out)
{
	struct bsk_bdev *h = kzalloc(sizeof(*h), GFP_KERNEL);
	int err;

	if (!h)
		return -ENOMEM;
	err = open_dev(h, MKDEV(major, minor));
	if (err)
		kfree(h);
	else
		*out = h;
	return err;
}

void bsk_bdev_close(void *h)
{
	close_dev(h);
	kfree(h);
}

void *bsk_bdev_of(void *h)
{
	return device_of(h);
}

u64 bsk_bdev_sectors(void *bdev)
{
	return bdev_nr_sectors(bdev);
}

u64 bsk_bdev_sequence(void *bdev)
{
	return ((struct block_device *)bdev)->bd_disk->diskseq;
}

u32 bsk_bdev_logical(void *bdev)
{
	return bdev_logical_block_size(bdev);
}

u32 bsk_bdev_dma(void *bdev)
{
	return bdev_dma_alignment(bdev);
}

u32 bsk_bdev_major(void *bdev)
{
	return MAJOR(((struct block_device *)bdev)->bd_dev);
}

u32 bsk_bdev_minor(void *bdev)
{
	return MINOR(((struct block_device *)bdev)->bd_dev);
}

u32 bsk_bdev_height(void *bdev)
{
	struct gendisk *disk = ((struct block_device *)bdev)->bd_disk;

	if (str_has_prefix(disk->disk_name, "dm-"))
		return 2;
	return !queue_is_mq(disk->queue);
}

u64 bsk_bdev_start(void *bdev)
{
	return ((struct block_device *)bdev)->bd_start_sect;
}

bool bsk_bdev_overlaps(void *one, void *other)
{
	struct block_device *a = one, *b = other;

	if (a->bd_disk != b->bd_disk)
		return false;
	return a->bd_start_sect < b->bd_start_sect + bdev_nr_sectors(b) &&
	       b->bd_start_sect < a->bd_start_sect + bdev_nr_sectors(a);
}

/*
 * A whole disk has no file system of its own when its partitions are mounted,
 * so each partition is frozen too. They are opened, so that none goes away
 * between freeze and thaw.
 */
struct bsk_frozen {
	struct block_device *bdev;
	u32 count;
	void *part[];
};

static u32 partitions(struct gendisk *disk, dev_t *out, u32 max)
{
	struct block_device *part;
	unsigned long idx;
	u32 n = 0;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, idx, part) {
		if (idx && n < max)
			out[n] = part->bd_dev;
		n += !!idx;
	}
	rcu_read_unlock();
	return n;
}

long bsk_bdev_freeze(void *handle, void **token)
{
	struct block_device *bdev = handle;
	struct bsk_frozen *f;
	dev_t *devs = NULL;
	u32 n = 0, i;
	int err;

	if (!bdev_is_partition(bdev)) {
		n = partitions(bdev->bd_disk, NULL, 0);
		devs = kcalloc(n + 1, sizeof(*devs), GFP_KERNEL);
		if (!devs)
			return -ENOMEM;
		n = min(n, partitions(bdev->bd_disk, devs, n));
	}
	f = kzalloc(struct_size(f, part, n), GFP_KERNEL);
	if (!f) {
		kfree(devs);
		return -ENOMEM;
	}
	err = freeze(bdev);
	if (err)
		goto free;
	f->bdev = bdev;
	for (i = 0; i < n; i++) {
		err = bsk_bdev_open_dev(MAJOR(devs[i]), MINOR(devs[i]), &f->part[f->count]);
		if (err == -ENXIO || err == -ENODEV)
			continue;	/* deleted meanwhile */
		if (err)
			goto undo;
		err = freeze(bsk_bdev_of(f->part[f->count]));
		if (err) {
			bsk_bdev_close(f->part[f->count]);
			goto undo;
		}
		f->count++;
	}
	kfree(devs);
	*token = f;
	return 0;
undo:
	kfree(devs);
	bsk_bdev_thaw(f);
	return err;
free:
	kfree(devs);
	kfree(f);
	return err;
}

void bsk_bdev_thaw(void *token)
{
	struct bsk_frozen *f = token;

	while (f->count--) {
		thaw(bsk_bdev_of(f->part[f->count]));
		bsk_bdev_close(f->part[f->count]);
	}
	thaw(f->bdev);
	kfree(f);
}
