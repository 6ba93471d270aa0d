// SPDX-License-Identifier: GPL-2.0-only
/*
 * Not an example: another user of a function that blkfilter.ko hooks, for the tests. With `modify` set it registers as a live
 * patch does (IPMODIFY), with `direct` as a BPF program at `fentry` does: nobody else may do these beside. Else as a tracer, which
 * counts the calls that it sees in the parameter `calls`. It changes nothing.
 *
 * With `around` set it has submit_bio() lead the bios of blkfilter's own disk past what is hooked, as if a compiler had inlined it there:
 * 1, past the entry of submit_bio_noacct(); 2, past both functions, to the driver.
 */
#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/ftrace.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/version.h>
#include <asm/ibt.h>

static bool modify;
module_param(modify, bool, 0444);
MODULE_PARM_DESC(modify, "register as a live patch does");
static bool direct;
module_param(direct, bool, 0444);
MODULE_PARM_DESC(direct, "register as a BPF program does");
static char *function = "submit_bio_noacct";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function");
static int around;
module_param(around, int, 0444);
MODULE_PARM_DESC(around, "lead bios of blkfilter's test past one hooked function, or two");
static unsigned long calls;
module_param(calls, ulong, 0444);
MODULE_PARM_DESC(calls, "calls seen");

static void notrace rival_call(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	WRITE_ONCE(calls, calls + 1);
}

static void rival_to_driver(struct bio *bio)
{
	bio->bi_bdev->bd_disk->fops->submit_bio(bio);
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define rival_bio(fregs)	((struct bio *)ftrace_regs_get_argument(fregs, 0))
#define rival_divert(fregs, to)	ftrace_regs_set_instruction_pointer(fregs, to)
#else
#define rival_bio(fregs)	((struct bio *)(fregs)->regs.di)
#define rival_divert(fregs, to)	ftrace_instruction_pointer_set(fregs, to)
#endif

static void notrace rival_lead(unsigned long ip, unsigned long parent, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long to = (unsigned long)rival_to_driver;

	if (strcmp(rival_bio(fregs)->bi_bdev->bd_disk->disk_name, "blkfilter-test"))
		return;
	if (around == 1)
		to = (unsigned long)submit_bio_noacct + ENDBR_INSN_SIZE + MCOUNT_INSN_SIZE;
	rival_divert(fregs, to);
}

void rival_direct(void);
asm(".pushsection .text, \"ax\", @progbits\n"
    ".type rival_direct, @function\n"
    ".globl rival_direct\n"
    ".balign 16\n"
    "rival_direct:\n"
    ASM_ENDBR
    ASM_RET
    ".size rival_direct, .-rival_direct\n"
    ".popsection\n");

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define register_ftrace_direct			register_ftrace_direct_multi
#define unregister_ftrace_direct(ops, addr, free)	unregister_ftrace_direct_multi(ops, addr)
#endif

static struct ftrace_ops rival_ops;

static int __init rival_init(void)
{
	int ret;

	if (!direct)
		rival_ops.func = around ? rival_lead : rival_call;
	if (modify || around)
		rival_ops.flags |= FTRACE_OPS_FL_IPMODIFY;
	ret = ftrace_set_filter(&rival_ops, (unsigned char *)function, strlen(function), 1);
	if (ret)
		return ret;
	if (direct)
		ret = register_ftrace_direct(&rival_ops, (unsigned long)rival_direct);
	else
		ret = register_ftrace_function(&rival_ops);
	if (ret)
		ftrace_free_filter(&rival_ops);
	return ret;
}

static void __exit rival_exit(void)
{
	if (direct)
		unregister_ftrace_direct(&rival_ops, (unsigned long)rival_direct, false);
	else
		unregister_ftrace_function(&rival_ops);
	ftrace_free_filter(&rival_ops);
}

module_init(rival_init);
module_exit(rival_exit);
MODULE_DESCRIPTION("Another user of blkfilter's function, for its tests");
MODULE_LICENSE("GPL");
