// SPDX-License-Identifier: GPL-2.0-only
/*
 * A filter's operations. Rust keeps the structure as a handle; its fields are read here only.
 */
#include <linux/compat.h>
#include <linux/module.h>
#include <linux/string.h>
#include "hook.h"

bool bsk_ops_valid(const void *handle)
{
	const struct blkfilter_ops *ops = handle;

	return ops && ops->api_version == BLKFILTER_API_VERSION && !ops->flags && ops->owner && ops->name && *ops->name &&
	       strnlen(ops->name, BLKFILTER_NAME_SIZE) < BLKFILTER_NAME_SIZE && ops->attach && ops->detach && ops->submit;
}

const char *bsk_ops_name(const void *ops)
{
	return ((const struct blkfilter_ops *)ops)->name;
}

bool bsk_ops_get(const void *ops)
{
	return try_module_get(((const struct blkfilter_ops *)ops)->owner);
}

void bsk_ops_put(const void *ops)
{
	module_put(((const struct blkfilter_ops *)ops)->owner);
}

void bsk_ops_text(const void *ops, unsigned long *start, unsigned long *len)
{
	const struct module *owner = ((const struct blkfilter_ops *)ops)->owner;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	*start = (unsigned long)owner->mem[MOD_TEXT].base;
	*len = owner->mem[MOD_TEXT].size;
#else
	*start = (unsigned long)owner->core_layout.base;
	*len = owner->core_layout.text_size;
#endif
}

void *bsk_ops_submit(const void *ops)
{
	return ((const struct blkfilter_ops *)ops)->submit;
}

int bsk_ops_attach(const void *ops, void *fdev, struct block_device *bdev, u64 opt, u32 optlen, void **priv)
{
	return ((const struct blkfilter_ops *)ops)->attach(fdev, bdev, u64_to_user_ptr(opt), optlen, priv);
}

int bsk_ops_insists(const void *handle, u64 opt, u32 optlen)
{
	const struct blkfilter_ops *ops = handle;

	return ops->insists ? ops->insists(u64_to_user_ptr(opt), optlen) : 0;
}

int bsk_ops_may_detach(const void *handle, void *priv)
{
	const struct blkfilter_ops *ops = handle;

	return ops->may_detach ? ops->may_detach(priv) : 0;
}

void bsk_ops_leaving(const void *handle, void *priv)
{
	const struct blkfilter_ops *ops = handle;

	if (ops->leaving)
		ops->leaving(priv);
}

void bsk_ops_detach(const void *ops, void *priv)
{
	((const struct blkfilter_ops *)ops)->detach(priv);
}

int bsk_ops_ctl(const void *handle, void *priv, u32 cmd, u64 opt, u32 *optlen)
{
	const struct blkfilter_ops *ops = handle;

	return ops->ctl ? ops->ctl(priv, cmd, u64_to_user_ptr(opt), optlen) : -ENOTTY;
}
