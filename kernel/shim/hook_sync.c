// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one lock of the control plane, with a condition; counting bios in flight, and waiting for them; grace periods.
 */
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/wait.h>
#include "hook.h"

static DEFINE_MUTEX(bsk_hook_mutex);
static DECLARE_WAIT_QUEUE_HEAD(bsk_hook_changed);
static DECLARE_WAIT_QUEUE_HEAD(bsk_drained);

void bsk_hook_lock(void)
{
	mutex_lock(&bsk_hook_mutex);
}

void bsk_hook_unlock(void)
{
	mutex_unlock(&bsk_hook_mutex);
}

void bsk_hook_wait(void)
{
	DEFINE_WAIT(wait);

	/* Who changes something does it under the lock: nothing is missed between here and schedule(). */
	prepare_to_wait(&bsk_hook_changed, &wait, TASK_UNINTERRUPTIBLE);
	mutex_unlock(&bsk_hook_mutex);
	schedule();
	finish_wait(&bsk_hook_changed, &wait);
	mutex_lock(&bsk_hook_mutex);
}

void bsk_hook_wake(void)
{
	wake_up_all(&bsk_hook_changed);
}

atomic_t bsk_drains = ATOMIC_INIT(0);

static void bsk_barrier(void *unused)
{
	smp_mb();
}

bool bsk_drain_wait(bool (*ready)(void *ctx), void *ctx, u32 ms)
{
	bool done;

	atomic_inc(&bsk_drains);
	/* Counting has no barrier of its own: instead, each CPU makes one here, between what it did before and after. */
	smp_mb__after_atomic();
	on_each_cpu(bsk_barrier, NULL, 1);
	done = wait_event_timeout(bsk_drained, ready(ctx), msecs_to_jiffies(ms) ?: 1) != 0;
	atomic_dec(&bsk_drains);
	return done;
}

void bsk_drain_wake(void)
{
	if (atomic_read(&bsk_drains))
		wake_up_all(&bsk_drained);
}

void *bsk_count_new(void)
{
	return (void *)(unsigned long)alloc_percpu(unsigned long);
}

void bsk_count_free(void *count)
{
	free_percpu(bsk_cell(count));
}

void bsk_count_add(void *count, long n)
{
	this_cpu_add(*bsk_cell(count), n);
}

u64 bsk_count_sum(void *count)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(bsk_cell(count), cpu));
	smp_mb();	/* pairs with the one before each count off: what the bios did that have ended is seen */
	return sum;
}

void bsk_grace(void)
{
	synchronize_rcu();
}

void bsk_grace_tasks(void)
{
	synchronize_rcu();
	synchronize_rcu_tasks();
}
