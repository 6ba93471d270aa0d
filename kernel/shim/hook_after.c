// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a filter that holds a bio has called once the submitter is not atomic any more: copying in the submitter's own time costs no
 * switch to a worker and back.
 *
 * A slot on each CPU, used while preemption is off: free, taken by blkfilter_after() inside of submit() for the bio that is shown, and
 * emptied by the hook that called submit(), before preemption is on again: whatever becomes of the bio, the slot is free when its hook is
 * left. A hook in an interrupt on the same CPU, within another one, finds another bio there and leaves it alone; it is given no slot itself.
 * Where submit() is not called by the hook (a held bio is sent on) the slot is closed.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/ioprio.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include "hook.h"

DEFINE_PER_CPU(struct bsk_after, bsk_after);
/* Those who are in such a function, which may sleep. */
DEFINE_STATIC_SRCU(bsk_afters);

static void bsk_closed(void *arg)
{
}

/*
 * Somebody who asks not to wait must not. Inside of another driver's submit, what is submitted here starts only later, and others
 * may wait for it; so they may for somebody of the idle class. Who is freeing memory has little stack left. And a caller
 * who could not sleep (there should be none) does not learn it here.
 */
static bool bsk_may_serve(struct bio *bio)
{
	return !(bio->bi_opf & REQ_NOWAIT) && !current->bio_list && !(current->flags & PF_MEMALLOC) &&
	       IOPRIO_PRIO_CLASS(bio->bi_ioprio) != IOPRIO_CLASS_IDLE && preempt_count() == PREEMPT_DISABLE_OFFSET &&
	       !irqs_disabled() && !rcu_preempt_depth();
}

bool blkfilter_after(struct bio *bio, void (*fn)(void *arg), void *arg)
{
	struct bsk_after *after = this_cpu_ptr(&bsk_after);

	if (after->fn || !bsk_may_serve(bio))
		return false;
	after->fn = fn;
	after->arg = arg;
	after->bio = bio;
	return true;
}
EXPORT_SYMBOL_GPL(blkfilter_after);

/* A bio is held, and is no longer ours to look at. Preemption is off, and on when this returns. */
void bsk_after_held(struct bio *bio)
{
	struct bsk_after *slot = this_cpu_ptr(&bsk_after), after = *slot;
	struct blk_plug *plug;
	int idx;

	if (!after.fn || after.bio != bio) {
		preempt_enable();
		return;
	}
	slot->fn = NULL;
	slot->bio = NULL;
	/* Before preemption is on: blkfilter_unregister() waits for those with preemption off, and then for these. */
	idx = srcu_read_lock(&bsk_afters);
	preempt_enable();
	/*
	 * Nearly every write is submitted behind a plug, where what is submitted here would start only later, and others wait for it. What
	 * is in the plug goes now: as with any task that goes to sleep, it must not be what we wait for.
	 */
	plug = current->plug;
	if (plug)
		blk_finish_plug(plug);
	after.fn(after.arg);
	if (plug)
		blk_start_plug(plug);
	srcu_read_unlock(&bsk_afters, idx);
}

/* The filter that asked has not held its bio: what it asked for must not be left to a later one. Preemption is off. */
void bsk_after_passed(void)
{
	this_cpu_write(bsk_after.fn, NULL);
	this_cpu_write(bsk_after.bio, NULL);
	pr_warn_once("a filter passed a bio that it had asked blkfilter_after() for, whose function is not called\n");
}

void bsk_after_grace(void)
{
	synchronize_srcu(&bsk_afters);
}

void bsk_preempt_off(void)
{
	preempt_disable();
	this_cpu_write(bsk_after.fn, bsk_closed);
}

void bsk_preempt_on(void)
{
	this_cpu_write(bsk_after.fn, NULL);
	preempt_enable();
}
