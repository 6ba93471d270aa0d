// SPDX-License-Identifier: GPL-2.0-only
/*
 * The BLKFILTER_* ioctls on block devices, which a stock kernel answers with ENOTTY. Exactly these three are redirected; the
 * module cannot go while one runs.
 */
#define BSK_HOOK_FTRACE
#include <linux/blkdev.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/module.h>
#include "hook.h"

/* uapi: attach { u8 name[32]; u64 opt; u32 optlen; }, detach { u8 name[32]; }, ctl { u8 name[32]; u32 cmd; u32 optlen; u64 opt; } */
/* To a 32-bit program, whose u64 are aligned to 4 bytes, attach's argument ends at its last member: { …; u32 optlen; } in 44 bytes. */
#define BSK_ATTACH	_IOC(_IOC_READ | _IOC_WRITE, 0x12, 142, 48)
#define BSK_ATTACH_32	_IOC(_IOC_READ | _IOC_WRITE, 0x12, 142, 44)
#define BSK_DETACH	_IOC(_IOC_READ | _IOC_WRITE, 0x12, 143, 32)
#define BSK_CTL		_IOC(_IOC_READ | _IOC_WRITE, 0x12, 144, 48)

static long bsk_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long ret = bsr_ioctl(I_BDEV(file->f_mapping->host), cmd, arg);

	module_put(THIS_MODULE);
	return ret;
}

static __always_inline bool bsk_is_ours(unsigned int cmd)
{
	return cmd == BSK_ATTACH || cmd == BSK_DETACH || cmd == BSK_CTL;
}

static void notrace bsk_on_ioctl(unsigned long ip, unsigned long caller, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (bsk_is_ours(bsk_arg(fregs, 1)) && try_module_get(THIS_MODULE))
		bsk_divert(fregs, bsk_ioctl);
}

struct bsk_hook bsk_hook_ioctl = {
	.function = "blkdev_ioctl",
	.ops = { .func = bsk_on_ioctl, .flags = BSK_HOOK_FLAGS },
};

#ifdef CONFIG_COMPAT
static long bsk_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return bsk_ioctl(file, cmd, (unsigned long)compat_ptr(arg));
}

static void notrace bsk_on_compat_ioctl(unsigned long ip, unsigned long caller, struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	unsigned int cmd = bsk_arg(fregs, 1);

	if ((bsk_is_ours(cmd) || cmd == BSK_ATTACH_32) && try_module_get(THIS_MODULE))
		bsk_divert(fregs, bsk_compat_ioctl);
}

struct bsk_hook bsk_hook_compat_ioctl = {
	.function = "compat_blkdev_ioctl",
	.ops = { .func = bsk_on_compat_ioctl, .flags = BSK_HOOK_FLAGS },
};
#else
struct bsk_hook bsk_hook_compat_ioctl;
#endif
