// SPDX-License-Identifier: GPL-2.0-only
/* What is attached: /sys/module/blkfilter/parameters/attachments. */
#include <linux/moduleparam.h>
#include "hook.h"

static int attachments_get(char *page, const struct kernel_param *param)
{
	return bsk_state_text(page, bsr_state_attachments);
}

static const struct kernel_param_ops attachments_ops = { .set = bsk_state_set, .get = attachments_get };

module_param_cb(attachments, &attachments_ops, NULL, 0444);
MODULE_PARM_DESC(attachments, "to be read, below /sys/module: which filter is on which device");
