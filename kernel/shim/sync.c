// SPDX-License-Identifier: GPL-2.0-only
/* Locks, wait queues, RCU and sleeping. */
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include "snap.h"

#define BSK_CLASSES 16
static struct lock_class_key mutex_keys[BSK_CLASSES];
static struct lock_class_key spin_keys[BSK_CLASSES];

void *bsk_mutex_new(u32 class)
{
	struct mutex *m = kmalloc(sizeof(*m), GFP_KERNEL);

	if (m) {
		mutex_init(m);
		lockdep_set_class(m, &mutex_keys[class % BSK_CLASSES]);
	}
	return m;
}

void bsk_mutex_free(void *m)
{
	kfree(m);
}

void bsk_mutex_lock(void *m)
{
	mutex_lock(m);
}

bool bsk_mutex_trylock(void *m)
{
	return mutex_trylock(m);
}

void bsk_mutex_unlock(void *m)
{
	mutex_unlock(m);
}

void *bsk_spin_new(u32 class)
{
	spinlock_t *l = kmalloc(sizeof(*l), GFP_KERNEL);

	if (l) {
		spin_lock_init(l);
		lockdep_set_class(l, &spin_keys[class % BSK_CLASSES]);
	}
	return l;
}

void bsk_spin_free(void *l)
{
	kfree(l);
}

unsigned long bsk_spin_lock(void *l)
{
	unsigned long flags;

	spin_lock_irqsave((spinlock_t *)l, flags);
	return flags;
}

void bsk_spin_unlock(void *l, unsigned long flags)
{
	spin_unlock_irqrestore((spinlock_t *)l, flags);
}

void *bsk_wait_new(void)
{
	struct wait_queue_head *w = kmalloc(sizeof(*w), GFP_KERNEL);

	if (w)
		init_waitqueue_head(w);
	return w;
}

void bsk_wait_free(void *w)
{
	kfree(w);
}

void bsk_wait_wake(void *w)
{
	wake_up_all((struct wait_queue_head *)w);
}

long bsk_wait_until(void *w, bool (*ready)(void *ctx), void *ctx, u32 ms, bool interruptible)
{
	struct wait_queue_head *q = w;
	long r;

	if (interruptible)
		r = wait_event_interruptible_timeout(*q, ready(ctx), msecs_to_jiffies(ms));
	else
		r = wait_event_timeout(*q, ready(ctx), msecs_to_jiffies(ms));
	return r < 0 ? r : r > 0;
}

void bsk_rcu_lock(void)
{
	rcu_read_lock();
}

void bsk_rcu_unlock(void)
{
	rcu_read_unlock();
}

/* Expedited: somebody waits for the end of a snapshot, which takes several of these. */
void bsk_synchronize_rcu(void)
{
	synchronize_rcu_expedited();
}
