// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook on submit_bio_noacct(): every bio on its way to a driver, before it is remapped from a partition to its disk. And one on
 * submit_bio_noacct_nocheck(), which goes on where a cgroup's limit may have held the bio back (blk-throttle): so it may be older than an
 * attachment. Whoever comes here otherwise is counted by now, or concerns nobody; or is, on 7.3, the rest of a bio that was split, which may
 * be older as well.
 *
 * ftrace calls bsk_on_submit() and bsk_on_start() directly, without a trampoline of its own: three instructions for a read, nine for a write on a
 * disk whose list of attachments is empty. Only then bsk_submitting() is called, which decides. A bio that passes goes on with
 * nothing of ours on its stack. For one that is held the function is left before it has begun: what returns to it returns to
 * bsk_held(), which returns to its caller.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/linkage.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>
#include <asm/ibt.h>
#include <asm/nospec-branch.h>
#include "hook.h"

#ifndef CALL_DEPTH_ACCOUNT
#define CALL_DEPTH_ACCOUNT ""
#endif
#ifdef CONFIG_FRAME_POINTER
#define BSK_FRAME	"pushq %rbp\nmovq %rsp, %rbp\n"
#define BSK_UNFRAME	"popq %rbp\n"
#else
#define BSK_FRAME
#define BSK_UNFRAME
#endif

static __always_inline u64 bsk_disk_sector(struct bio *bio)
{
	return bio->bi_iter.bi_sector + (unlikely(bio_flagged(bio, BIO_REMAPPED)) ? 0 : bio->bi_bdev->bd_start_sect);
}

static __always_inline void bsk_count(struct bio *bio, bio_end_io_t *end_io)
{
	bio->bi_end_io = end_io;
	/* Who polls may stop to, and a bio that is never reaped would be in flight for ever. It completes by interrupt. */
	bio_clear_polled(bio);
}

/* The bio, as the hooked function is to have it, or NULL: it is held. */
__visible struct bio *notrace bsk_submitting(struct bio *bio)
{
	u64 sectors = (u64)bio->bi_iter.bi_size >> SECTOR_SHIFT;
	bio_end_io_t *end_io;

	if (unlikely(!sectors))
		return bio;
	preempt_disable_notrace();
	end_io = bsr_bio(bio->bi_end_io, bio, bsk_disk_sector(bio), sectors, bio->bi_bdev->bd_disk);
	if (likely((unsigned long)end_io > (unsigned long)BSK_HELD)) {
		bsk_count(bio, end_io);
	} else if (end_io == BSK_HELD) {
		bsk_after_held(bio);
		return NULL;
	}
	if (unlikely(this_cpu_read(bsk_after.bio) == bio))
		bsk_after_passed();
	preempt_enable_notrace();
	return bio;
}

/* For the assembler, which knows no structures. */
static void __used notrace bsk_define_offsets(void)
{
	asm volatile(".set bsk_bi_opf, %c0\n.set bsk_bi_bdev, %c1\n.set bsk_bd_disk, %c2\n.set bsk_bi_end_io, %c3"
		     : : "i"(offsetof(struct bio, bi_opf)), "i"(offsetof(struct bio, bi_bdev)),
			 "i"(offsetof(struct block_device, bd_disk)), "i"(offsetof(struct bio, bi_end_io)));
}

/*
 * How many attachments are not alone on their disk, are to a part of an active device, or are leaving: somebody may have counted a bio that
 * is older than another of them. While there are none, whose completion is in our text needs no second look; else it is as if our text were empty.
 */
static int bsk_crowds;
static DEFINE_SPINLOCK(bsk_crowds_lock);
unsigned long bsk_counted_len;

void bsk_crowd(int more)
{
	unsigned long flags;

	spin_lock_irqsave(&bsk_crowds_lock, flags);
	bsk_crowds += more;
	WRITE_ONCE(bsk_counted_len, bsk_crowds ? 0 : bsk_text_len);
	spin_unlock_irqrestore(&bsk_crowds_lock, flags);
}

/*
 * An operation that changes the device has an odd number. The lists are those of Rust's table of attachments, found in the same
 * way there. A bio that is counted has a completion in our text. The hooked functions' arguments are kept: a bio, and of the second one
 * another in later kernels.
 */
#define BSK_LIST					\
	"movq bsk_bi_bdev(%rdi), %rax\n"		\
	"movq bsk_bd_disk(%rax), %rax\n"		\
	"shrq $" __stringify(BSK_DISK_SHIFT) ", %rax\n"	\
	"movzbl %al, %eax\n"				\
	"cmpq $0, bsr_disks(,%rax,8)\n"

/* The second hooked function's other argument, where it has one. */
#define BSK_KEEP	"pushq %rsi\n"
#define BSK_KEPT	"popq %rsi\n"
#define BSK_ASK(keep, kept)			\
	BSK_FRAME				\
	CALL_DEPTH_ACCOUNT			\
	keep					\
	"call bsk_submitting\n"			\
	kept					\
	BSK_UNFRAME				\
	"movq %rax, %rdi\n"			\
	"testq %rax, %rax\n"			\
	"jnz 1f\n"				\
	"leaq bsk_held(%rip), %rax\n"		\
	"movq %rax, (%rsp)\n"

asm(".pushsection .text, \"ax\", @progbits\n"
    ".type bsk_on_start, @function\n"
    ".globl bsk_on_start\n"
    ".balign 16\n"
    "bsk_on_start:\n"
    ASM_ENDBR
    "testb $1, bsk_bi_opf(%rdi)\n"
    "jz 1f\n"
    "movq bsk_bi_end_io(%rdi), %rax\n"
    "subq bsk_text_start(%rip), %rax\n"
    "cmpq bsk_counted_len(%rip), %rax\n"
    "jb 1f\n"
    BSK_LIST
    "je 1f\n"
    BSK_ASK(BSK_KEEP, BSK_KEPT)
    "1: " ASM_RET
    ".size bsk_on_start, .-bsk_on_start\n"
    ".type bsk_on_submit, @function\n"
    ".globl bsk_on_submit\n"
    ".balign 16\n"
    "bsk_on_submit:\n"
    ASM_ENDBR
    "testb $1, bsk_bi_opf(%rdi)\n"
    "jz 1f\n"
    BSK_LIST
    "je 1f\n"
    BSK_ASK("", "")
    "1: " ASM_RET
    ".size bsk_on_submit, .-bsk_on_submit\n"
    ".type bsk_held, @function\n"
    ".balign 16\n"
    "bsk_held:\n"
    ASM_ENDBR
    ASM_RET
    ".size bsk_held, .-bsk_held\n"
    ".popsection\n");

static_assert((REQ_OP_WRITE & 1) && (REQ_OP_DISCARD & 1) && (REQ_OP_SECURE_ERASE & 1) && (REQ_OP_WRITE_ZEROES & 1));

void bsk_bio_place(struct bio *bio, void **disk, u64 *sector, u64 *sectors, bio_end_io_t **end_io)
{
	*disk = bio->bi_bdev->bd_disk;
	*sector = bsk_disk_sector(bio);
	*sectors = bio_sectors(bio);
	*end_io = bio->bi_end_io;
}

void bsk_bio_count(struct bio *bio, bio_end_io_t *end_io)
{
	bsk_count(bio, end_io);
}

void bsk_bio_send(struct bio *bio)
{
	bio->bi_opf &= ~REQ_NOWAIT;
	bio_clear_polled(bio);
	submit_bio_noacct(bio);
}
