// SPDX-License-Identifier: GPL-2.0-only
/*
 * A block layer filter in C, as an example and as the test subject of blkfilter.ko.
 *
 * It is attached by the name "sample". It counts the bios it is shown, and holds each once when the parameter `hold` is set: a
 * work item sends it on, `delay_ms` later, and the newest first when `reverse` is set. With `after=1` its submitter does that
 * himself, at once, where blkfilter_after() allows it. Commands of BLKFILTER_CTL:
 *
 *	0	out { u64 shown, sectors, held, sent, times a submitter did so }
 *	1	closes the gate and waits, at most as many milliseconds as opt's u32 says, until nothing is in flight
 *	2	opens the gate
 *	3	in { u32 }: 1 refuses to be detached by ioctl, 0 does not
 */
#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/blk-filter.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

static bool hold;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "hold each bio, and send it on by a work item");
static unsigned int delay_ms;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "how long the first of those held waits, in milliseconds");
static bool reverse;
module_param(reverse, bool, 0644);
MODULE_PARM_DESC(reverse, "the newest of those held is sent on first");
static unsigned int after;
module_param(after, uint, 0644);
MODULE_PARM_DESC(after, "1: who submits a bio that is held sends it on himself; 2: asks for that and lets bios pass, an error that blkfilter catches");

struct sample {
	struct kref ref;	/* of the attachment, and of each submitter who is to send */
	struct blkfilter_dev *fdev;
	atomic64_t shown, sectors, held, sent, served;
	bool stay;
	spinlock_t lock;
	struct bio_list list;
	struct delayed_work work;
};

static struct workqueue_struct *sample_wq;

static void sample_free(struct kref *ref)
{
	struct sample *sample = container_of(ref, struct sample, ref);

	blkfilter_dev_put(sample->fdev);
	kfree(sample);
}

static void sample_send_all(struct sample *sample)
{
	struct bio_list list;
	struct bio *bio;

	spin_lock_irq(&sample->lock);
	bio_list_init(&list);
	bio_list_merge(&list, &sample->list);
	bio_list_init(&sample->list);
	spin_unlock_irq(&sample->lock);

	while ((bio = bio_list_pop(&list))) {
		atomic64_inc(&sample->sent);
		blkfilter_submit(sample->fdev, bio);
	}
}

static void sample_work(struct work_struct *work)
{
	sample_send_all(container_of(to_delayed_work(work), struct sample, work));
}

/* In the submitter's context, perhaps after detach(): the reference that sample_ask() took is the only thing it may count on. */
static void sample_after(void *arg)
{
	struct sample *sample = arg;

	atomic64_inc(&sample->served);
	sample_send_all(sample);
	kref_put(&sample->ref, sample_free);
}

static bool sample_ask(struct sample *sample, struct bio *bio)
{
	kref_get(&sample->ref);
	if (blkfilter_after(bio, sample_after, sample))
		return true;
	/* Not the last one: the attachment has its own. */
	kref_put(&sample->ref, sample_free);
	return false;
}

/* For bios that pass. */
static void sample_never(void *arg)
{
	WARN_ON(1);
}

static int sample_attach(struct blkfilter_dev *fdev, struct block_device *bdev, const void __user *opt, u32 optlen,
			 void **priv)
{
	struct sample *sample = kzalloc(sizeof(*sample), GFP_KERNEL);

	if (!sample)
		return -ENOMEM;
	kref_init(&sample->ref);
	sample->fdev = fdev;
	blkfilter_dev_get(fdev);
	spin_lock_init(&sample->lock);
	INIT_DELAYED_WORK(&sample->work, sample_work);
	*priv = sample;
	return 0;
}

static int sample_may_detach(void *priv)
{
	return ((struct sample *)priv)->stay ? -EBUSY : 0;
}

static void sample_detach(void *priv)
{
	struct sample *sample = priv;

	/* Nothing is shown any more; what is held goes on. */
	mod_delayed_work(sample_wq, &sample->work, 0);
	flush_delayed_work(&sample->work);
	kref_put(&sample->ref, sample_free);
}

static int sample_ctl(void *priv, u32 cmd, void __user *opt, u32 *optlen)
{
	struct sample *sample = priv;
	u64 out[5];
	u32 in;

	switch (cmd) {
	case 0:
		if (*optlen < sizeof(out))
			return -EINVAL;
		out[0] = atomic64_read(&sample->shown);
		out[1] = atomic64_read(&sample->sectors);
		out[2] = atomic64_read(&sample->held);
		out[3] = atomic64_read(&sample->sent);
		out[4] = atomic64_read(&sample->served);
		*optlen = sizeof(out);
		return copy_to_user(opt, out, sizeof(out)) ? -EFAULT : 0;
	case 1:
		if (*optlen < sizeof(in))
			return -EINVAL;
		if (get_user(in, (u32 __user *)opt))
			return -EFAULT;
		blkfilter_gate_close(sample->fdev);
		return blkfilter_gate_drain(sample->fdev, in);
	case 2:
		blkfilter_gate_open(sample->fdev);
		return 0;
	case 3:
		if (*optlen < sizeof(in))
			return -EINVAL;
		if (get_user(in, (u32 __user *)opt))
			return -EFAULT;
		sample->stay = in;
		return 0;
	default:
		return -ENOTTY;
	}
}

static int sample_submit(void *priv, struct bio *bio, u64 sector, u64 sectors, u32 flags)
{
	struct sample *sample = priv;
	unsigned long irq;
	bool served;

	if (flags & BLKFILTER_AGAIN)
		return BLKFILTER_PASS;
	atomic64_inc(&sample->shown);
	atomic64_add(sectors, &sample->sectors);
	if (READ_ONCE(after) == 2)
		blkfilter_after(bio, sample_never, NULL);
	if (!READ_ONCE(hold))
		return BLKFILTER_PASS;

	served = READ_ONCE(after) == 1 && sample_ask(sample, bio);
	atomic64_inc(&sample->held);
	spin_lock_irqsave(&sample->lock, irq);
	if (READ_ONCE(reverse))
		bio_list_add_head(&sample->list, bio);
	else
		bio_list_add(&sample->list, bio);
	spin_unlock_irqrestore(&sample->lock, irq);
	if (!served)
		queue_delayed_work(sample_wq, &sample->work, msecs_to_jiffies(READ_ONCE(delay_ms)));
	return BLKFILTER_HOLD;
}

static const struct blkfilter_ops sample_ops = {
	.owner = THIS_MODULE,
	.name = "sample",
	.api_version = BLKFILTER_API_VERSION,
	.attach = sample_attach,
	.may_detach = sample_may_detach,
	.detach = sample_detach,
	.ctl = sample_ctl,
	.submit = sample_submit,
};

static int __init sample_init(void)
{
	int ret;

	sample_wq = alloc_workqueue("blkfilter-sample", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!sample_wq)
		return -ENOMEM;
	ret = blkfilter_register(&sample_ops);
	if (ret)
		destroy_workqueue(sample_wq);
	return ret;
}

static void __exit sample_exit(void)
{
	blkfilter_unregister(&sample_ops);
	destroy_workqueue(sample_wq);
}

module_init(sample_init);
module_exit(sample_exit);
MODULE_DESCRIPTION("Example of a block layer filter");
MODULE_LICENSE("GPL");
