// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook on submit_bio_noacct(): every bio on its way to a driver, before it is remapped from a partition to its disk.
 *
 * It runs inside the ftrace handler and decides there. A bio that passes goes on with nothing of ours on its stack. One that is
 * held has its submitter continue in a function that returns at once. Bios that our own modules send pass unseen: the caller
 * is in their text (the filter's is told from Rust).
 */
#define BSK_HOOK_FTRACE
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/cpumask.h>
#include <linux/preempt.h>
#include "hook.h"

static bool bsk_watching __read_mostly;

/* What the submitter of a held bio continues with. */
static void notrace noinline bsk_held(struct bio *bio)
{
	barrier_data(bio);
}

static __always_inline u64 bsk_disk_sector(struct bio *bio)
{
	return bio->bi_iter.bi_sector + (bio_flagged(bio, BIO_REMAPPED) ? 0 : bio->bi_bdev->bd_start_sect);
}

static void notrace bsk_on_submit(unsigned long ip, unsigned long caller, struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct bio *bio;
	bool hold;

	if (!READ_ONCE(bsk_watching))
		return;
	bio = (struct bio *)bsk_arg(fregs, 0);
	if (bio_op(bio) == REQ_OP_READ || !bio_sectors(bio) || bsk_own_text(caller))
		return;
	preempt_disable_notrace();
	hold = bsr_bio(bio->bi_bdev->bd_disk, bio, bsk_disk_sector(bio), bio_sectors(bio), caller, smp_processor_id());
	preempt_enable_notrace();
	if (hold)
		bsk_divert(fregs, bsk_held);
}

struct bsk_hook bsk_hook_bio = {
	.function = "submit_bio_noacct",
	.ops = { .func = bsk_on_submit, .flags = BSK_HOOK_FLAGS },
};

void bsk_watch(bool on)
{
	WRITE_ONCE(bsk_watching, on);
}

void bsk_bio_place(struct bio *bio, void **disk, u64 *sector, u64 *sectors)
{
	*disk = bio->bi_bdev->bd_disk;
	*sector = bsk_disk_sector(bio);
	*sectors = bio_sectors(bio);
}

/* Not a jump: the caller that the hook sees must be this function. */
void noinline bsk_bio_send(struct bio *bio)
{
	bio->bi_opf &= ~(REQ_NOWAIT | REQ_POLLED);
	submit_bio_noacct(bio);
	barrier();
}

void bsk_preempt_off(void)
{
	preempt_disable();
}

void bsk_preempt_on(void)
{
	preempt_enable();
}

u32 bsk_cpu(void)
{
	return raw_smp_processor_id();
}

u32 bsk_cpus(void)
{
	return nr_cpu_ids;
}
