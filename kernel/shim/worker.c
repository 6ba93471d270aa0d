// SPDX-License-Identifier: GPL-2.0-only
/*
 * A work item with lists that any context may push bios to without a lock:
 * list 0 and 1 take bios of others (linked by bi_next, which is ours while we
 * hold the bio), the third takes our own completed bios.
 */
#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/llist.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include "io.h"
#include "snap.h"

static struct workqueue_struct *bsk_wq[4];

int bsk_worker_init(void)
{
	/* Unbound: the copy may run beside the writer that waits for it. */
	bsk_wq[0] = alloc_workqueue("blksnap", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	bsk_wq[1] = alloc_workqueue("blksnap-store", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	/* Freezing flushes work queues of file systems, not all of which have a rescuer; so this has none either. */
	bsk_wq[2] = alloc_workqueue("blksnap-take", WQ_UNBOUND, 0);
	/* Waits for the first of them, so not on its rescuer; and for a thread of its own before it begins. */
	bsk_wq[3] = alloc_workqueue("blksnap-gate", WQ_UNBOUND | WQ_HIGHPRI, 0);
	if (bsk_wq[0] && bsk_wq[1] && bsk_wq[2] && bsk_wq[3])
		return 0;
	bsk_worker_exit();
	return -ENOMEM;
}

void bsk_worker_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(bsk_wq); i++) {
		if (bsk_wq[i])
			destroy_workqueue(bsk_wq[i]);
		bsk_wq[i] = NULL;
	}
}

static void bsk_worker_later(struct work_struct *work)
{
	bsk_worker_kick(container_of(to_delayed_work(work), struct bsk_worker, later));
}

/* What a kick finds; `live` decides besides. While it runs, a kick makes it run once more without the cost of queueing it. */
enum { IDLE, QUEUED, RUNNING, AGAIN };

static void bsk_worker_run(struct work_struct *work)
{
	struct bsk_worker *w = container_of(work, struct bsk_worker, work);

	do {
		atomic_set(&w->state, RUNNING);
		smp_mb();	/* pairs with bsk_worker_kick: what was pushed before a kick is seen by the run after it */
		w->run(w->ctx);
		cond_resched();
	} while (smp_load_acquire(&w->live) && atomic_cmpxchg(&w->state, RUNNING, IDLE) != RUNNING);
}

struct bsk_worker *bsk_worker_new(u32 kind, void (*run)(void *ctx))
{
	struct bsk_worker *w = kzalloc(sizeof(*w), GFP_KERNEL);

	if (!w)
		return NULL;
	/* Lockdep tells works apart by the place that makes them: a storage's growth is stopped by work of the same queue. */
	if (kind == 3)
		INIT_WORK(&w->work, bsk_worker_run);
	else
		INIT_WORK(&w->work, bsk_worker_run);
	INIT_DELAYED_WORK(&w->later, bsk_worker_later);
	init_llist_head(&w->done);
	w->wq = bsk_wq[kind < 3 ? kind : 1];
	w->run = run;
	return w;
}

void bsk_worker_start(struct bsk_worker *w, void *ctx)
{
	w->ctx = ctx;
	smp_store_release(&w->live, true);
}

/* The state is QUEUED, by the caller. */
static void bsk_worker_queue(struct bsk_worker *w)
{
	/* The read side: see bsk_worker_stop. */
	rcu_read_lock();
	if (smp_load_acquire(&w->live))
		queue_work(w->wq, &w->work);
	else
		atomic_set(&w->state, IDLE);
	rcu_read_unlock();
}

void bsk_worker_kick(struct bsk_worker *w)
{
	int old;

	smp_mb();	/* pairs with bsk_worker_run */
	old = atomic_read(&w->state);
	for (;;) {
		if (old == QUEUED || old == AGAIN)
			return;
		if (atomic_try_cmpxchg(&w->state, &old, old == IDLE ? QUEUED : AGAIN))
			break;
	}
	if (old == IDLE)
		bsk_worker_queue(w);
}

static bool bsk_worker_begin(struct bsk_worker *w)
{
	bool mine;

	/* The read side: see bsk_worker_stop. */
	rcu_read_lock();
	mine = smp_load_acquire(&w->live) && atomic_cmpxchg(&w->state, IDLE, RUNNING) == IDLE;
	if (mine)
		atomic_inc(&w->here);
	rcu_read_unlock();
	return mine;
}

bool bsk_worker_here(struct bsk_worker *w, bool (*round)(void *ctx))
{
	atomic_t *here;

	if (!bsk_worker_begin(w))
		return false;
	if (round(w->ctx) && atomic_cmpxchg(&w->state, RUNNING, IDLE) == RUNNING)
		goto out;
	atomic_set(&w->state, QUEUED);
	bsk_worker_queue(w);
out:
	/* After it, w may be gone: of the wake-up only the address counts. */
	here = &w->here;
	smp_mb__before_atomic();	/* pairs with the acquire in bsk_worker_stop: the round is over for who sees it */
	atomic_dec(here);
	smp_mb__after_atomic();
	wake_up_var(here);
	return true;
}

void bsk_worker_kick_in(struct bsk_worker *w, u32 ms)
{
	rcu_read_lock();
	if (smp_load_acquire(&w->live))
		mod_delayed_work(w->wq, &w->later, msecs_to_jiffies(ms));
	rcu_read_unlock();
}

void bsk_worker_again(struct bsk_worker *w)
{
	atomic_set(&w->state, RUNNING);
	smp_mb();	/* pairs with bsk_worker_kick */
}

bool bsk_worker_comes(struct bsk_worker *w)
{
	return delayed_work_pending(&w->later);
}

/*
 * A completion touches the worker inside a read side, also after the thing it
 * pushed was dealt with; so does each kick. After the grace period none sees it
 * live, and what is queued is cancelled.
 */
void bsk_worker_stop(struct bsk_worker *w, bool kicked)
{
	smp_store_release(&w->live, false);
	if (kicked)
		synchronize_rcu_expedited();
	wait_var_event(&w->here, !atomic_read_acquire(&w->here));
	/* Each may queue the other once; nothing new comes as it is not live. */
	cancel_delayed_work_sync(&w->later);
	cancel_work_sync(&w->work);
	cancel_delayed_work_sync(&w->later);
}

void bsk_worker_free(struct bsk_worker *w)
{
	kfree(w);
}

void bsk_worker_put(struct bsk_worker *w, u32 list, struct bio *bio)
{
	struct bio *first = READ_ONCE(w->list[list & 1]);

	do {
		bio->bi_next = first;
	} while (!try_cmpxchg(&w->list[list & 1], &first, bio));
}

void bsk_worker_push(struct bsk_worker *w, u32 list, struct bio *bio)
{
	bsk_worker_put(w, list, bio);
	bsk_worker_kick(w);
}

struct bio *bsk_worker_take(struct bsk_worker *w, u32 list)
{
	struct bio *bio = xchg(&w->list[list & 1], NULL);
	struct bio *oldest = NULL;

	while (bio) {
		struct bio *next = bio->bi_next;

		bio->bi_next = oldest;
		oldest = bio;
		bio = next;
	}
	return oldest;
}

bool bsk_worker_empty(struct bsk_worker *w)
{
	return !READ_ONCE(w->list[0]) && !READ_ONCE(w->list[1]) && llist_empty(&w->done);
}

struct bio *bsk_bio_next(struct bio *bio)
{
	struct bio *next = bio->bi_next;

	bio->bi_next = NULL;
	return next;
}

struct bsk_io *bsk_worker_done(struct bsk_worker *w)
{
	struct llist_node *n = llist_del_all(&w->done);

	n = llist_reverse_order(n);
	return n ? llist_entry(n, struct bsk_io, node) : NULL;
}

struct bsk_call {
	struct work_struct work;
	struct completion begun;
	void (*fn)(void *ctx);
	void *ctx;
};

static void bsk_call_run(struct work_struct *work)
{
	struct bsk_call *call = container_of(work, struct bsk_call, work);

	complete(&call->begun);
	call->fn(call->ctx);
}

void bsk_call_urgent(void (*fn)(void *ctx), void *ctx)
{
	struct bsk_call call = { .fn = fn, .ctx = ctx };

	init_completion(&call.begun);
	INIT_WORK_ONSTACK(&call.work, bsk_call_run);
	queue_work(bsk_wq[3], &call.work);
	/* Where there is no memory for a thread, it may never come. The second waits for one that has begun after all. */
	if (!wait_for_completion_timeout(&call.begun, HZ / 10) && cancel_work_sync(&call.work))
		fn(ctx);
	else
		flush_work(&call.work);
	destroy_work_on_stack(&call.work);
}

struct bsk_io *bsk_io_next(struct bsk_io *io)
{
	struct llist_node *n = io->node.next;

	io->node.next = NULL;
	return n ? llist_entry(n, struct bsk_io, node) : NULL;
}
