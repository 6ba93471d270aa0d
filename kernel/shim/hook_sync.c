// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one lock of the control plane, with a condition; waiting for bios in flight; grace periods.
 */
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
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

bool bsk_drain_wait(bool (*ready)(void *ctx), void *ctx, u32 ms)
{
	return wait_event_timeout(bsk_drained, ready(ctx), msecs_to_jiffies(ms) ?: 1) != 0;
}

void bsk_drain_wake(void)
{
	wake_up_all(&bsk_drained);
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
