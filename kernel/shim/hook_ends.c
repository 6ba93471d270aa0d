// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a counted bio, without memory for it: a table of completion functions, each with its own entry.
 *
 * While a bio is in flight its bi_end_io is one of these functions, whose entry says which completion the bio had before and
 * which count it is taken off; bi_private stays as it was. An entry belongs to one attachment and one completion, and does not
 * change until nothing of that attachment is in flight any more. Entries nest: what a bio had before may be one of ours.
 *
 * When no entry is free a bio is wrapped instead: bi_private leads to allocated memory that says the same.
 *
 * Chained bios. bio_endio() does what bio_chain_endio() would, in a loop, when it sees that one in bi_end_io; from 6.19 on the
 * function itself may not be called at all. A counted one is ended here in its place, and by a worker: its parent may be counted
 * as well, and its parent's parent, and recursion would be as deep as the chain is long.
 *
 * Each function ends in a jump into the bio's own completion; who unloads the module waits for all tasks (bsk_grace_tasks), so
 * that nobody is in its last instructions.
 */
#include <linux/bio.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "hook.h"

#ifndef CONFIG_SMP
#error "the counts are found by the CPU's segment"
#endif

static unsigned int completions = BSK_ENDS;
module_param(completions, uint, 0444);
MODULE_PARM_DESC(completions, "how many completion functions are used before memory is taken for each write (at most 1024)");

#define BSK_WRAP_RESERVE 64

static struct kmem_cache *bsk_wrap_cache;
static mempool_t *bsk_wrap_pool;
static bio_end_io_t *bsk_chain_end_io;
static void *bsk_chain_ended;
static struct workqueue_struct *bsk_chain_wq;

static void bsk_chain_run(struct work_struct *work)
{
	struct bio *bio = bsk_held_take(&bsk_chain_ended);

	while (bio) {
		struct bio *next = bsk_held_next(bio);
		struct bio *parent = bio->bi_private;

		if (bio->bi_status && !parent->bi_status)
			parent->bi_status = bio->bi_status;
		bio_put(bio);
		bio_endio(parent);
		bio = next;
	}
}

static DECLARE_WORK(bsk_chain_work, bsk_chain_run);

static void notrace bsk_chain_end(struct bio *bio)
{
	bsk_held_push(&bsk_chain_ended, bio);
	queue_work(bsk_chain_wq, &bsk_chain_work);
}

static void notrace noinline bsk_ended(struct bio *bio, const struct bsk_end *end)
{
	/* In this order: once the bio is counted off, the entry and the count may be somebody else's, or gone. */
	bio_end_io_t *call = smp_load_acquire(&end->call);
	unsigned long __percpu *count = smp_load_acquire(&end->count);

	bio->bi_end_io = call;
	smp_mb__before_atomic();
	this_cpu_dec(*count);
	if (unlikely(atomic_read(&bsk_drains)))
		bsk_drain_wake();
	call(bio);
}

#define BSK_1(n)	static void notrace bsk_end_##n(struct bio *bio) { bsk_ended(bio, &bsk_ends[0x##n]); }
#define BSK_ROW(n)	[0x##n] = { .own = bsk_end_##n },
#define BSK_16(make, n)	\
	make(n##0) make(n##1) make(n##2) make(n##3) \
	make(n##4) make(n##5) make(n##6) make(n##7) \
	make(n##8) make(n##9) make(n##a) make(n##b) \
	make(n##c) make(n##d) make(n##e) make(n##f)
#define BSK_256(make, n)	\
	BSK_16(make, n##0) BSK_16(make, n##1) BSK_16(make, n##2) BSK_16(make, n##3) \
	BSK_16(make, n##4) BSK_16(make, n##5) BSK_16(make, n##6) BSK_16(make, n##7) \
	BSK_16(make, n##8) BSK_16(make, n##9) BSK_16(make, n##a) BSK_16(make, n##b) \
	BSK_16(make, n##c) BSK_16(make, n##d) BSK_16(make, n##e) BSK_16(make, n##f)
#define BSK_1024(make)	BSK_256(make, 0) BSK_256(make, 1) BSK_256(make, 2) BSK_256(make, 3)

BSK_1024(BSK_1)

struct bsk_end bsk_ends[BSK_ENDS] = { BSK_1024(BSK_ROW) };

static_assert(BSK_ENDS == 1024 && sizeof(struct bsk_end) == 64);

/* What completes a bio that had `end_io`. */
static bio_end_io_t *bsk_call_of(bio_end_io_t *end_io)
{
	return end_io == bsk_chain_end_io ? bsk_chain_end : end_io;
}

u32 bsk_ends_used(void)
{
	return min_t(u32, completions, BSK_ENDS);
}

void bsk_end_set(struct bsk_end *end, bio_end_io_t *end_io, void *count, void *owner)
{
	end->call = bsk_call_of(end_io);
	end->count = bsk_cell(count);
	end->end_io = end_io;
	end->owner = owner;
}

static void notrace bsk_end_wrap(struct bio *bio)
{
	struct bsk_wrap *wrap = bio->bi_private;
	bio_end_io_t *call = bsk_call_of(wrap->end_io);
	unsigned long __percpu *count = wrap->count;

	bio->bi_end_io = call;
	bio->bi_private = wrap->private;
	mempool_free(wrap, bsk_wrap_pool);
	smp_mb__before_atomic();
	this_cpu_dec(*count);
	if (unlikely(atomic_read(&bsk_drains)))
		bsk_drain_wake();
	if (call)
		call(bio);
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

bio_end_io_t *bsk_wrap_put(struct bsk_wrap *wrap, struct bio *bio, bio_end_io_t *end_io, void *count, void *owner)
{
	wrap->end_io = end_io;
	wrap->private = bio->bi_private;
	wrap->count = bsk_cell(count);
	wrap->owner = owner;
	bio->bi_private = wrap;
	return bsk_end_wrap;
}

/* The functions lie in a row, as the compiler makes them: one step tells nearly always which it is. */
static struct bsk_end *bsk_end_of(bio_end_io_t *own)
{
	unsigned long first = (unsigned long)bsk_ends[0].own, step = (unsigned long)bsk_ends[1].own - first;
	unsigned long guess = ((unsigned long)own - first) / step;
	u32 i;

	if (guess < BSK_ENDS && bsk_ends[guess].own == own)
		return &bsk_ends[guess];
	for (i = 0; i < BSK_ENDS; i++)
		if (bsk_ends[i].own == own)
			return &bsk_ends[i];
	return NULL;
}

bool bsk_end_peel(bio_end_io_t **end_io, void **private, void **owner)
{
	struct bsk_end *end;

	if (*end_io == bsk_end_wrap) {
		struct bsk_wrap *wrap = *private;

		*owner = wrap->owner;
		*end_io = wrap->end_io;
		*private = wrap->private;
		return true;
	}
	end = bsk_end_of(*end_io);
	if (!end)
		return false;
	*owner = end->owner;
	*end_io = end->end_io;
	return true;
}

void *bsk_bio_private(struct bio *bio)
{
	return bio->bi_private;
}

/* The completion of chained bios is nobody's to name; a chain of two shows it. */
static void bsk_learn_chain(void)
{
	struct bio *bio = kcalloc(2, sizeof(*bio), GFP_KERNEL | __GFP_NOFAIL);

	bio_init(&bio[0], NULL, NULL, 0, REQ_OP_WRITE);
	bio_init(&bio[1], NULL, NULL, 0, REQ_OP_WRITE);
	bio_chain(&bio[0], &bio[1]);
	bsk_chain_end_io = bio[0].bi_end_io;
	kfree(bio);
}

int bsk_ends_init(void)
{
	bsk_learn_chain();
	bsk_chain_wq = alloc_workqueue("blkfilter-chain", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI, 1);
	bsk_wrap_cache = KMEM_CACHE(bsk_wrap, 0);
	if (bsk_wrap_cache)
		bsk_wrap_pool = mempool_create_slab_pool(BSK_WRAP_RESERVE, bsk_wrap_cache);
	if (bsk_chain_wq && bsk_wrap_pool)
		return 0;
	bsk_ends_exit();
	return -ENOMEM;
}

void bsk_ends_exit(void)
{
	if (bsk_chain_wq)
		destroy_workqueue(bsk_chain_wq);
	mempool_destroy(bsk_wrap_pool);
	kmem_cache_destroy(bsk_wrap_cache);
}
