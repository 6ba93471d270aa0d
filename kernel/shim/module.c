// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's entry and exit, which Rust implements, and what modinfo shows. One file for all modules.
 */
#include <linux/module.h>
#include <linux/init.h>
#include "shim.h"

static int __init bsk_init(void)
{
	return bsr_module_init();
}

static void __exit bsk_exit(void)
{
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
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
