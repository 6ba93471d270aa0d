// SPDX-License-Identifier: GPL-2.0-only
/* /dev/blksnap-control: a session for each open file. */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/wait.h>
#include "snap.h"

static void *ctx;
static long (*on_open)(void *ctx, void **session);
static void (*on_release)(void *session);
static long (*on_ioctl)(void *session, u32 cmd, u64 arg);
static bool (*on_poll)(void *session);
/* Those who poll any session; few, and seldom woken. */
static DECLARE_WAIT_QUEUE_HEAD(pollers);

static int control_open(struct inode *inode, struct file *file)
{
	return on_open(ctx, &file->private_data);
}

static int control_release(struct inode *inode, struct file *file)
{
	on_release(file->private_data);
	return 0;
}

static long control_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return on_ioctl(file->private_data, cmd, arg);
}

static __poll_t control_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &pollers, table);
	return on_poll(file->private_data) ? EPOLLIN | EPOLLRDNORM : 0;
}

void bsk_control_wake(void)
{
	wake_up_all(&pollers);
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.unlocked_ioctl = control_ioctl,
	.poll = control_poll,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "blksnap-control",
	.mode = 0600,
	.fops = &control_fops,
};

int bsk_control_init(void *context, long (*open)(void *ctx, void **session), void (*release)(void *session),
		     long (*ioctl)(void *session, u32 cmd, u64 arg), bool (*poll)(void *session))
{
	ctx = context;
	on_open = open;
	on_release = release;
	on_ioctl = ioctl;
	on_poll = poll;
	return misc_register(&control);
}

void bsk_control_exit(void)
{
	misc_deregister(&control);
}
