/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * blk-filter.h - filters above the request queue of live block devices
 *
 * A filter is a module that sees each bio that changes a device before the device's driver does. It
 * may let the bio pass, or hold it and send it on later. It works on any block device in use,
 * mounted or not, without device-mapper.
 *
 * Life of a filter:
 *
 *	blkfilter_register()		at module load; from now on user space can attach it by name
 *	  ops->attach()			ioctl BLKFILTER_ATTACH on a block device
 *	    ops->submit()		each bio that is not a read and reaches the device
 *	    ops->ctl()			ioctl BLKFILTER_CTL
 *	    ops->may_detach()		ioctl BLKFILTER_DETACH asks
 *	  ops->detach()			detached: by ioctl, by removal of the device, or by blkfilter_unregister()
 *	blkfilter_unregister()		at module unload
 *
 * Attachment: one filter on one block device, a whole disk or a partition. A bio belongs to it when
 * it changes sectors of its range, whichever block device of the disk it was sent to. Empty flushes
 * change nothing and are not shown.
 *
 * Unseen are bios whose bi_end_io is a function of the filter's own module: that is how a filter
 * does I/O of its own.
 *
 * Bios in flight are counted, from the moment submit() lets one pass until it has ended, so that
 * the gate is exact. For that time the bio's bi_end_io is one of blkfilter's, and is put back
 * before it is called; bi_private is left alone, but for a bio that finds blkfilter's table of
 * completions full. A driver that saves and restores either is fine.
 *
 * Several filters may be attached to a device, and to a disk and its partitions; the same filter
 * only where ranges do not overlap. A bio is shown to those whose range it touches in the order in
 * which they were attached. When one holds it, it has not been shown to the ones behind; when that
 * one sends it on, it is asked again, with BLKFILTER_AGAIN, and then the ones behind are. Those
 * before it count the bio as in flight meanwhile: what a filter does before it lets go of a bio
 * must not wait for a gate of theirs, as a write of its own to the same device would. Own writes of
 * a filter are shown to the others.
 */
#ifndef _LINUX_BLK_FILTER_H
#define _LINUX_BLK_FILTER_H

#include <linux/types.h>

struct bio;
struct block_device;
struct module;

/*
 * An attachment. It lives as long as somebody has a reference; attach() is given one, which ends
 * with detach().
 */
struct blkfilter_dev;

#define BLKFILTER_API_VERSION	1
#define BLKFILTER_NAME_SIZE	32	/* with its NUL */

/* What submit() answers. */
enum {
	BLKFILTER_PASS = 0,	/* the bio goes on */
	BLKFILTER_HOLD = 1,	/* the bio is the filter's until it calls blkfilter_submit() or ends it */
};

/* What submit() is told. */
#define BLKFILTER_AGAIN	1U	/* the filter held this bio before and sends it on now */

struct blkfilter_ops {
	struct module *owner;
	const char *name;	/* as in the ioctls, at most 31 bytes */
	u32 api_version;	/* BLKFILTER_API_VERSION */
	u32 flags;		/* 0 */

	/*
	 * Sleeps. The block device exists until detach() returns; opt and optlen are the caller's,
	 * unchecked. No bio is shown before attach() has returned 0. The reference to fdev is the
	 * filter's until the end of detach().
	 */
	int (*attach)(struct blkfilter_dev *fdev, struct block_device *bdev, const void __user *opt, u32 optlen, void **priv);

	/*
	 * Sleeps. Asked when the device is what an active one (DM, MD, bcache) is made of, which is
	 * refused with -EBUSY unless this says 1: by the caller's options, unchecked as in
	 * attach(), which follows. 0: no; an error refuses with that. NULL: no.
	 */
	int (*insists)(const void __user *opt, u32 optlen);

	/*
	 * Sleeps. An error refuses a detach by ioctl. Not asked when the device goes away or the
	 * filter unregisters. NULL: yes.
	 */
	int (*may_detach)(void *priv);

	/*
	 * ATOMIC. Bios are about to pass unseen: the attachment ends, and detach() follows. Called
	 * before the first one does, so that a filter whose word depends on seeing all of them can
	 * take it back. NULL: nothing.
	 */
	void (*leaving)(void *priv);

	/*
	 * Sleeps. No submit() and no ctl() is running or will run. Bios still held must be sent on
	 * or ended here.
	 */
	void (*detach)(void *priv);

	/* Sleeps. *optlen may be changed and is given back to the caller. NULL: -ENOTTY. */
	int (*ctl)(void *priv, u32 cmd, void __user *opt, u32 *optlen);

	/*
	 * ATOMIC: in the context of whoever submits, with preemption off; may not sleep, nor submit
	 * a bio. sector is relative to the start of the attached device, and the range is cut to
	 * the device; the bio itself may be larger.
	 */
	int (*submit)(void *priv, struct bio *bio, u64 sector, u64 sectors, u32 flags);
};

/* Sleeps. -EINVAL: a field is missing or unknown; -EEXIST: the name is taken. */
int blkfilter_register(const struct blkfilter_ops *ops);

/*
 * Sleeps. Detaches all attachments of the filter; afterwards none of its functions is running or
 * will be called.
 */
void blkfilter_unregister(const struct blkfilter_ops *ops);

/*
 * Sends a held bio on. Sleeps, as submit_bio() does. The filter is asked again, with
 * BLKFILTER_AGAIN, inside the accounting of bios in flight, so that what it decided earlier cannot
 * be overtaken by a gate. REQ_NOWAIT and REQ_POLLED are cleared. At a closed gate the bio waits
 * there. After detach it just goes on.
 */
void blkfilter_submit(struct blkfilter_dev *fdev, struct bio *bio);

/*
 * Inside of submit(), for a bio that it then must hold: fn(arg) is called in the submitter's
 * context as soon as that is not atomic any more, before submit_bio() returns. It may sleep, as
 * submitting does, and is not to wait for other things: the submitter does not know of it. That
 * saves the switch to a worker. Atomic.
 *
 * False: it will not be called, and a worker has to. So it is for bios with REQ_NOWAIT or of the
 * idle class, inside of another driver's submit, for a task that is freeing memory, with
 * BLKFILTER_AGAIN, and for the second call within one submit_bio(). A filter that passes the bio
 * all the same has asked in vain: the log says so once, and fn is not called (but where a filter
 * behind holds the bio).
 *
 * What the submitter has in a plug is submitted before, and fn has no plug. The function may run
 * after detach(), but not after blkfilter_unregister() has returned: arg has to last that long by
 * itself.
 */
bool blkfilter_after(struct bio *bio, void (*fn)(void *arg), void *arg);

/*
 * The gate: a moment with no write in flight, for a take.
 *
 * close: bios that arrive from now on wait (in memory of the bios themselves, nothing is allocated). Atomic.
 * drain: sleeps until no bio that passed earlier is in flight; -ETIMEDOUT when that takes longer than timeout_ms. Call close before.
 * open:  bios that waited are shown to submit() and go on, sent by a worker in the order of their arrival. Atomic.
 *
 * Devices that are stacked (a loop device over a file on another one) must be closed and drained
 * one after the other, upper first: a write of the upper one is finished by writes of the lower.
 */
void blkfilter_gate_close(struct blkfilter_dev *fdev);
int blkfilter_gate_drain(struct blkfilter_dev *fdev, u32 timeout_ms);
void blkfilter_gate_open(struct blkfilter_dev *fdev);

/*
 * References, for a filter that wants to keep fdev longer than until detach(). After detach the
 * gate functions do nothing.
 */
void blkfilter_dev_get(struct blkfilter_dev *fdev);	/* atomic */
void blkfilter_dev_put(struct blkfilter_dev *fdev);	/* sleeps */

#endif
