// SPDX-License-Identifier: GPL-2.0-only
/*
 * Not an example: another user of the function that blkfilter.ko hooks, for the tests. With `modify` set it registers as a live
 * patch does (IPMODIFY), which nobody else may do beside; else as a tracer. It changes nothing, and counts the calls that it sees
 * in the parameter `calls`.
 */
#include <linux/atomic.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/string.h>

static bool modify;
module_param(modify, bool, 0444);
MODULE_PARM_DESC(modify, "register as a live patch does");
static unsigned long calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "calls seen");

static unsigned char function[] = "submit_bio_noacct";

static void notrace rival_call(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	WRITE_ONCE(calls, calls + 1);
}

static struct ftrace_ops rival_ops = { .func = rival_call };

static int __init rival_init(void)
{
	int ret;

	if (modify)
		rival_ops.flags |= FTRACE_OPS_FL_IPMODIFY;
	ret = ftrace_set_filter(&rival_ops, function, strlen(function), 1);
	if (ret)
		return ret;
	ret = register_ftrace_function(&rival_ops);
	if (ret)
		ftrace_free_filter(&rival_ops);
	return ret;
}

static void __exit rival_exit(void)
{
	unregister_ftrace_function(&rival_ops);
	ftrace_free_filter(&rival_ops);
}

module_init(rival_init);
module_exit(rival_exit);
MODULE_DESCRIPTION("Another user of blkfilter's function, for its tests");
MODULE_LICENSE("GPL");
