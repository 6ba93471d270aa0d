// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk of our own, on which the hook proves itself, and a filter for it. The disk is never added: nobody else sees it.
 *
 * It lives as long as it has users and bios in flight; its driver ends every bio at once.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "hook.h"

struct bsk_test {
	struct gendisk *disk;
	struct page *page;
	struct blkfilter_dev *fdev;
	struct bio *held;
	struct work_struct send;
	bool hold;
	u32 shown, early, seen;
};

#define BSK_TEST_PAUSE_MS	20

static void bsk_test_submit_bio(struct bio *bio)
{
	struct bsk_test *test = bio->bi_bdev->bd_disk->private_data;

	test->seen++;
	bio_endio(bio);
}

static const struct block_device_operations bsk_test_fops = {
	.owner = THIS_MODULE,
	.submit_bio = bsk_test_submit_bio,
};

static int bsk_test_attach(struct blkfilter_dev *fdev, struct block_device *bdev, const void __user *opt, u32 optlen,
			   void **priv)
{
	if (bdev->bd_disk->fops != &bsk_test_fops)
		return -ENOENT;
	*priv = bdev->bd_disk->private_data;
	((struct bsk_test *)*priv)->fdev = fdev;
	return 0;
}

static void bsk_test_detach(void *priv)
{
}

static int bsk_test_submit(void *priv, struct bio *bio, u64 sector, u64 sectors, u32 flags)
{
	struct bsk_test *test = priv;

	test->shown++;
	/* The disk has no write cache: submit_bio_noacct() takes the flag off on its way to submit_bio_noacct_nocheck(). */
	if (bio->bi_opf & REQ_FUA)
		test->early++;
	if (!test->hold || (flags & BLKFILTER_AGAIN))
		return BLKFILTER_PASS;
	test->held = bio;
	schedule_work(&test->send);
	return BLKFILTER_HOLD;
}

/* Sends the held bio on, unless the driver has seen it in the meantime: then it was not held at all. */
static void bsk_test_send_on(struct work_struct *work)
{
	struct bsk_test *test = container_of(work, struct bsk_test, send);
	u32 seen = READ_ONCE(test->seen);

	msleep(BSK_TEST_PAUSE_MS);
	if (READ_ONCE(test->seen) == seen)
		blkfilter_submit(test->fdev, test->held);
	else
		test->seen += 100;
}

static const struct blkfilter_ops bsk_test_ops = {
	.owner = THIS_MODULE,
	.name = "blkfilter-selftest",
	.api_version = BLKFILTER_API_VERSION,
	.attach = bsk_test_attach,
	.detach = bsk_test_detach,
	.submit = bsk_test_submit,
};

int bsk_test_new(void **out, struct block_device **bdev, const void **ops)
{
	struct bsk_test *test = kzalloc(sizeof(*test), GFP_KERNEL);
	struct gendisk *disk;

	if (!test)
		return -ENOMEM;
	INIT_WORK(&test->send, bsk_test_send_on);
	test->page = alloc_page(GFP_KERNEL);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	disk = blk_alloc_disk(NULL, NUMA_NO_NODE);
	if (IS_ERR(disk))
		disk = NULL;
#else
	disk = blk_alloc_disk(NUMA_NO_NODE);
#endif
	test->disk = disk;
	if (!test->page || !disk) {
		bsk_test_free(test);
		return -ENOMEM;
	}
	disk->fops = &bsk_test_fops;
	disk->private_data = test;
#ifdef BD_HAS_SUBMIT_BIO
	/* add_disk() would do it. */
	atomic_or(BD_HAS_SUBMIT_BIO, &disk->part0->__bd_flags);
#endif
	strscpy(disk->disk_name, "blkfilter-test", DISK_NAME_LEN);
	set_capacity(disk, 1 << 20);
	*out = test;
	*bdev = disk->part0;
	*ops = &bsk_test_ops;
	return 0;
}

void bsk_test_free(void *handle)
{
	struct bsk_test *test = handle;

	if (test->disk)
		put_disk(test->disk);
	if (test->page)
		__free_page(test->page);
	kfree(test);
}

int bsk_test_send(void *handle, bool write, u64 sector)
{
	struct bsk_test *test = handle;
	struct bio *bio = bio_alloc(test->disk->part0, 1, write ? REQ_OP_WRITE | REQ_FUA : REQ_OP_READ, GFP_KERNEL);
	int ret;

	if (!bio)
		return -ENOMEM;
	bio->bi_iter.bi_sector = sector;
	__bio_add_page(bio, test->page, PAGE_SIZE, 0);
	/* From the kernel's text and through submit_bio(), where a compiler might have inlined the hooked function. */
	ret = submit_bio_wait(bio);
	flush_work(&test->send);
	bio_put(bio);
	return ret;
}

u32 bsk_test_shown(void *test)
{
	return ((struct bsk_test *)test)->shown;
}

u32 bsk_test_early(void *test)
{
	return ((struct bsk_test *)test)->early;
}

u32 bsk_test_seen(void *test)
{
	return ((struct bsk_test *)test)->seen;
}

void bsk_test_hold(void *test, bool on)
{
	((struct bsk_test *)test)->hold = on;
}
