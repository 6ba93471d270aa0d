// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers the Rust filter with blkfilter.ko, as a C filter would do it.
 */
#include <linux/blk-filter.h>
#include <linux/module.h>
#include "shim.h"

static struct blkfilter_ops bsk_filter_ops = {
	.owner = THIS_MODULE,
	.api_version = BLKFILTER_API_VERSION,
};

int bsk_filter_register(const char *name,
	int (*attach)(struct blkfilter_dev *fdev, struct block_device *bdev, const void __user *opt, u32 optlen, void **priv),
	int (*insists)(const void __user *opt, u32 optlen), int (*may_detach)(void *priv), void (*leaving)(void *priv), void (*detach)(void *priv),
	int (*ctl)(void *priv, u32 cmd, void __user *opt, u32 *optlen),
	int (*submit)(void *priv, struct bio *bio, u64 sector, u64 sectors, u32 flags))
{
	bsk_filter_ops.name = name;
	bsk_filter_ops.attach = attach;
	bsk_filter_ops.insists = insists;
	bsk_filter_ops.may_detach = may_detach;
	bsk_filter_ops.leaving = leaving;
	bsk_filter_ops.detach = detach;
	bsk_filter_ops.ctl = ctl;
	bsk_filter_ops.submit = submit;
	return blkfilter_register(&bsk_filter_ops);
}

void bsk_filter_unregister(void)
{
	blkfilter_unregister(&bsk_filter_ops);
}
