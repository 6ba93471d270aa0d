// SPDX-License-Identifier: GPL-2.0-only
/*
 * The completion of a counted bio. Its bi_end_io and bi_private are ours while it is in flight, and are put back before its own
 * completion runs. Wraps nest: a bio may be counted for several attachments, and on several disks when a stacked driver
 * remaps it in place.
 *
 * The last thing bsk_end_io() does is a jump into the bio's own completion; who unloads the module waits for all tasks
 * (bsk_grace_tasks), so that nobody is in its last instructions.
 */
#include <linux/bio.h>
#include <linux/mempool.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "hook.h"

struct bsk_wrap {
	bio_end_io_t *end_io;
	void *private;
	void *owner;
};

#define BSK_WRAP_RESERVE 64

static struct kmem_cache *bsk_wrap_cache;
static mempool_t *bsk_wrap_pool;

static void notrace bsk_end_io(struct bio *bio)
{
	struct bsk_wrap *wrap = bio->bi_private;
	bio_end_io_t *end_io = wrap->end_io;
	void *owner = wrap->owner;

	bio->bi_end_io = end_io;
	bio->bi_private = wrap->private;
	mempool_free(wrap, bsk_wrap_pool);

	/* The read side keeps the owner until its waiter was woken. */
	rcu_read_lock();
	bsr_bio_done(owner, raw_smp_processor_id());
	rcu_read_unlock();

	if (end_io)
		end_io(bio);
}

int bsk_wrap_init(void)
{
	bsk_wrap_cache = KMEM_CACHE(bsk_wrap, 0);
	if (!bsk_wrap_cache)
		return -ENOMEM;
	bsk_wrap_pool = mempool_create_slab_pool(BSK_WRAP_RESERVE, bsk_wrap_cache);
	if (bsk_wrap_pool)
		return 0;
	kmem_cache_destroy(bsk_wrap_cache);
	return -ENOMEM;
}

void bsk_wrap_exit(void)
{
	mempool_destroy(bsk_wrap_pool);
	kmem_cache_destroy(bsk_wrap_cache);
}

struct bsk_wrap *bsk_wrap_new(bool wait)
{
	if (wait)
		return mempool_alloc(bsk_wrap_pool, GFP_NOIO);
	return kmem_cache_alloc(bsk_wrap_cache, GFP_NOWAIT | __GFP_NOWARN);
}

void bsk_wrap_free(struct bsk_wrap *wrap)
{
	mempool_free(wrap, bsk_wrap_pool);
}

void bsk_wrap_put(struct bsk_wrap *wrap, struct bio *bio, void *owner)
{
	/* For polled bios DM keeps a list in bi_private while they are in flight. Not polled, they complete by interrupt. */
	bio->bi_opf &= ~REQ_POLLED;
	wrap->end_io = bio->bi_end_io;
	wrap->private = bio->bi_private;
	wrap->owner = owner;
	bio->bi_private = wrap;
	bio->bi_end_io = bsk_end_io;
}

bool bsk_wrapped(const struct bio *bio, const void *owner)
{
	bio_end_io_t *end_io = bio->bi_end_io;
	const struct bsk_wrap *wrap = bio->bi_private;

	for (; end_io == bsk_end_io; end_io = wrap->end_io, wrap = wrap->private)
		if (wrap->owner == owner)
			return true;
	return false;
}

void *bsk_wrap_owner(const struct bio *bio)
{
	const struct bsk_wrap *wrap = bio->bi_private;

	return bio->bi_end_io == bsk_end_io ? wrap->owner : NULL;
}

void bsk_wrap_undo(struct bio *bio)
{
	struct bsk_wrap *wrap = bio->bi_private;

	bio->bi_end_io = wrap->end_io;
	bio->bi_private = wrap->private;
	mempool_free(wrap, bsk_wrap_pool);
}
