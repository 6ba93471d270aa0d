// SPDX-License-Identifier: GPL-2.0-only
/* What is tracked, and which snapshots there are: /sys/module/blksnap/parameters/devices and snapshots. */
#include <linux/moduleparam.h>
#include "shim.h"

static int devices_get(char *page, const struct kernel_param *param)
{
	return bsk_state_text(page, bsr_state_devices);
}

static int snapshots_get(char *page, const struct kernel_param *param)
{
	return bsk_state_text(page, bsr_state_snapshots);
}

static const struct kernel_param_ops devices_ops = { .set = bsk_state_set, .get = devices_get };
static const struct kernel_param_ops snapshots_ops = { .set = bsk_state_set, .get = snapshots_get };

module_param_cb(devices, &devices_ops, NULL, 0444);
MODULE_PARM_DESC(devices, "to be read, below /sys/module: devices whose changes are tracked");
module_param_cb(snapshots, &snapshots_ops, NULL, 0444);
MODULE_PARM_DESC(snapshots, "to be read, below /sys/module: snapshots, their state and devices");
