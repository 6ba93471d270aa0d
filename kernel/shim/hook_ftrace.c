// SPDX-License-Identifier: GPL-2.0-only
/*
 * All hooks, and our own text.
 *
 * Bios are many: ftrace calls the hook on them directly. A function has one direct caller at most (a BPF program's "fentry" is
 * another kind of it), and none beside a live patch. The others are seldom called and go through ftrace's own trampoline.
 */
#define BSK_HOOK_FTRACE
#include <linux/module.h>
#include <linux/string.h>
#include "hook.h"

unsigned long bsk_text_start, bsk_text_len;

static struct bsk_hook *const bsk_hooks[] = {
	&bsk_hook_gone, &bsk_hook_ioctl,
#ifdef CONFIG_COMPAT
	&bsk_hook_compat_ioctl,
#endif
};

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define register_ftrace_direct			register_ftrace_direct_multi
#define unregister_ftrace_direct(ops, addr, free)	unregister_ftrace_direct_multi(ops, addr)
#endif

/* What is called directly, in the order in which they are set: the later one of a bio's way first, so that each can be tried where it alone shows it. */
static struct bsk_direct {
	const char *function;
	void (*hook)(void);
	struct ftrace_ops ops;
} bsk_directs[] = {
	{ .function = "submit_bio_noacct_nocheck", .hook = bsk_on_start },
	{ .function = "submit_bio_noacct", .hook = bsk_on_submit },
};
static int bsk_directs_set;

static int bsk_direct_on(struct bsk_direct *direct)
{
	int ret = ftrace_set_filter(&direct->ops, (unsigned char *)direct->function, strlen(direct->function), 1);

	if (ret)
		return ret;
	ret = register_ftrace_direct(&direct->ops, (unsigned long)direct->hook);
	if (ret)
		ftrace_free_filter(&direct->ops);
	return ret;
}

int bsk_hooks_direct(const char **what)
{
	int ret;

	*what = bsk_directs[bsk_directs_set].function;
	ret = bsk_direct_on(&bsk_directs[bsk_directs_set]);
	if (!ret)
		bsk_directs_set++;
	return ret;
}

static void bsk_direct_off(struct bsk_direct *direct)
{
	unregister_ftrace_direct(&direct->ops, (unsigned long)direct->hook, false);
	ftrace_free_filter(&direct->ops);
}

static int bsk_hook_on(struct bsk_hook *hook)
{
	unsigned char *name = (unsigned char *)hook->function;
	int ret = ftrace_set_filter(&hook->ops, name, strlen(hook->function), 1);

	if (ret)
		return ret;
	ret = register_ftrace_function(&hook->ops);
	if (ret)
		ftrace_free_filter(&hook->ops);
	return ret;
}

static void bsk_hook_off(struct bsk_hook *hook)
{
	unregister_ftrace_function(&hook->ops);
	ftrace_free_filter(&hook->ops);
}

int bsk_hooks_on(const char **what)
{
	int i, ret;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	bsk_text_start = (unsigned long)THIS_MODULE->mem[MOD_TEXT].base;
	bsk_text_len = THIS_MODULE->mem[MOD_TEXT].size;
#else
	bsk_text_start = (unsigned long)THIS_MODULE->core_layout.base;
	bsk_text_len = THIS_MODULE->core_layout.text_size;
#endif
	bsk_crowd(0);
	*what = "block class";
	ret = bsk_gone_init();
	if (ret)
		return ret;
	for (i = 0; i < ARRAY_SIZE(bsk_hooks); i++) {
		*what = bsk_hooks[i]->function;
		ret = bsk_hook_on(bsk_hooks[i]);
		if (ret)
			goto undo;
	}
	return 0;
undo:
	while (i--)
		bsk_hook_off(bsk_hooks[i]);
	bsk_gone_exit();
	bsk_grace_tasks();
	return ret;
}

void bsk_hooks_off(void)
{
	int i = ARRAY_SIZE(bsk_hooks);

	while (bsk_directs_set)
		bsk_direct_off(&bsk_directs[--bsk_directs_set]);
	while (i--)
		bsk_hook_off(bsk_hooks[i]);
	bsk_gone_exit();
	bsk_grace_tasks();
}
