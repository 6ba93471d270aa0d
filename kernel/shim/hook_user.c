// SPDX-License-Identifier: GPL-2.0-only
/*
 * The caller of an ioctl, the module's own reference, and the symbols for filter modules, which Rust implements.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include "hook.h"

bool bsk_hook_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}

bool bsk_hook_read(void *to, u64 from, unsigned long len)
{
	return !copy_from_user(to, u64_to_user_ptr(from), len);
}

bool bsk_hook_write(u64 to, const void *from, unsigned long len)
{
	return !copy_to_user(u64_to_user_ptr(to), from, len);
}

int bsk_module_hold(void)
{
	return try_module_get(THIS_MODULE);
}

void bsk_module_release(void)
{
	module_put(THIS_MODULE);
}

EXPORT_SYMBOL_GPL(blkfilter_register);
EXPORT_SYMBOL_GPL(blkfilter_unregister);
EXPORT_SYMBOL_GPL(blkfilter_submit);
EXPORT_SYMBOL_GPL(blkfilter_gate_close);
EXPORT_SYMBOL_GPL(blkfilter_gate_drain);
EXPORT_SYMBOL_GPL(blkfilter_gate_open);
EXPORT_SYMBOL_GPL(blkfilter_dev_get);
EXPORT_SYMBOL_GPL(blkfilter_dev_put);
