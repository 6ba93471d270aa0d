// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios that wait, and the work item that sends them on. A list takes bios from any context without a lock, linked by bi_next,
 * which is ours as long as the bio is.
 */
#include <linux/bio.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "hook.h"

struct bsk_work {
	struct work_struct work;
	void *ctx;
};

static struct workqueue_struct *bsk_held_wq;

int bsk_held_init(void)
{
	/* Of its own, with a rescuer: memory may be short because these writes wait. */
	bsk_held_wq = alloc_workqueue("blkfilter", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return bsk_held_wq ? 0 : -ENOMEM;
}

void bsk_held_exit(void)
{
	destroy_workqueue(bsk_held_wq);
}

void bsk_held_push(void **list, struct bio *bio)
{
	struct bio **head = (struct bio **)list;
	struct bio *first = READ_ONCE(*head);

	do {
		bio->bi_next = first;
	} while (!try_cmpxchg(head, &first, bio));
}

struct bio *bsk_held_take(void **list)
{
	struct bio *bio = xchg((struct bio **)list, NULL);
	struct bio *oldest = NULL;

	while (bio) {
		struct bio *next = bio->bi_next;

		bio->bi_next = oldest;
		oldest = bio;
		bio = next;
	}
	return oldest;
}

struct bio *bsk_held_next(struct bio *bio)
{
	struct bio *next = bio->bi_next;

	bio->bi_next = NULL;
	return next;
}

static void bsk_work_run(struct work_struct *work)
{
	bsr_work(container_of(work, struct bsk_work, work)->ctx);
}

struct bsk_work *bsk_work_new(void *ctx)
{
	struct bsk_work *work = kmalloc(sizeof(*work), GFP_NOIO);

	if (work) {
		INIT_WORK(&work->work, bsk_work_run);
		work->ctx = ctx;
	}
	return work;
}

bool bsk_work_queue(struct bsk_work *work)
{
	return queue_work(bsk_held_wq, &work->work);
}

void bsk_work_free(struct bsk_work *work)
{
	kfree(work);
}
