// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's entry and exit, which Rust implements, and what modinfo shows. One file for all modules.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/init.h>
#include "shim.h"

/*
 * Files of parameters are there before the module's init and after its exit, and who reads one has no reference to the module, but the
 * lock of its parameters.
 */
static bool bsk_shown;

static void bsk_show(bool on)
{
	kernel_param_lock(THIS_MODULE);
	bsk_shown = on;
	kernel_param_unlock(THIS_MODULE);
}

int bsk_state_text(char *page, size_t (*text)(char *page, size_t size))
{
	return bsk_shown ? text(page, PAGE_SIZE) : 0;
}

/* A parameter with a value on the command line. */
int bsk_state_set(const char *value, const struct kernel_param *param)
{
	return -EPERM;
}

/*
 * On a real-time kernel a spinlock_t sleeps, also one that the kernel's own functions take: waking a wait queue, allocating from a
 * slab. The hooks and the ends of bios do so with preemption off.
 */
static int __init bsk_init(void)
{
	int ret;

	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("not for a real-time kernel (PREEMPT_RT), where a write cannot be looked at without sleeping\n");
		return -EOPNOTSUPP;
	}
	ret = bsr_module_init();
	if (!ret)
		bsk_show(true);
	return ret;
}

static void __exit bsk_exit(void)
{
	bsk_show(false);
	bsr_module_exit();
}

module_init(bsk_init);
module_exit(bsk_exit);

#ifdef BSK_MODULE_blkfilter
MODULE_DESCRIPTION("Filters above the request queue of live block devices");
#endif
#ifdef BSK_MODULE_blksnap
MODULE_DESCRIPTION("Snapshots and changed block tracking of live block devices");
#endif
#ifdef BSK_MODULE_blkfilter_rust
MODULE_DESCRIPTION("Example of a block layer filter in Rust");
#endif
#ifdef BSK_MODULE_seeded_faults
MODULE_DESCRIPTION("Faults that a debug kernel has to report");
#endif
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
