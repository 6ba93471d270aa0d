/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What blkfilter.ko alone needs of the kernel: the hooks. Mirrored by src/sys.rs; the rules are those of shim.h.
 */
#ifndef BSK_HOOK_H
#define BSK_HOOK_H

#include <linux/atomic.h>
#include <linux/blk-filter.h>
#include <linux/blk_types.h>
#include <linux/percpu-defs.h>
#include "shim.h"

struct bsk_work;

/* ---- hook_bio.c: every bio on its way ---- */
#define BSK_DISK_SHIFT	10	/* the lists below are found by these eight bits of a disk's address */
/* Rust: lists of attachments by disk; an empty one says that nobody asks for the disk's bios. */
extern void *bsr_disks[256];
/*
 * Rust: a bio that changes sectors of a disk, and its completion; atomic, preemption off. sector is the disk's. The answer is the
 * completion that counts it off, or one of these.
 */
#define BSK_PASS	((bio_end_io_t *)0)
#define BSK_HELD	((bio_end_io_t *)1)
bio_end_io_t *bsr_bio(bio_end_io_t *end_io, struct bio *bio, u64 sector, u64 sectors, void *disk);
struct bio *bsk_submitting(struct bio *bio);
void bsk_on_submit(void);		/* what ftrace calls */
void bsk_on_start(void);		/* the same, where bios come back from a cgroup's limit */
extern unsigned long bsk_text_start, bsk_text_len;
extern unsigned long bsk_counted_len;
void bsk_crowd(int more);		/* atomic; so many attachments more, or less, are beside others, or leaving */
void bsk_bio_place(struct bio *bio, void **disk, u64 *sector, u64 *sectors, bio_end_io_t **end_io);	/* atomic; where it goes, on the disk */
void bsk_bio_count(struct bio *bio, bio_end_io_t *end_io);	/* atomic; gives it a completion that counts it off */
void bsk_bio_send(struct bio *bio);	/* sleeps; a held bio goes on; may wait and poll are cleared */

/* ---- hook_after.c: what a filter has called when it holds a bio ---- */
struct bsk_after {
	void (*fn)(void *arg);
	void *arg;
	struct bio *bio;
};
DECLARE_PER_CPU(struct bsk_after, bsk_after);
void bsk_after_held(struct bio *bio);	/* preemption is off, and on afterwards; sleeps then */
void bsk_after_passed(void);		/* atomic; it was asked for, and the bio passes */
void bsk_after_grace(void);		/* sleeps; whoever was in such a function has left it */
void bsk_preempt_off(void);		/* atomic; no such call may be asked for meanwhile */
void bsk_preempt_on(void);

/* ---- hook_ends.c: a bio's completion, to count it off ---- */
#define BSK_ENDS	1024
struct bsk_end {
	bio_end_io_t *call;		/* what ends the bio */
	unsigned long __percpu *count;
	bio_end_io_t *end_io;		/* what it had */
	void *owner;
	bio_end_io_t *own;		/* the function of this entry */
} __aligned(64);
struct bsk_wrap {
	bio_end_io_t *end_io;
	void *private;
	unsigned long __percpu *count;
	void *owner;
};
extern struct bsk_end bsk_ends[BSK_ENDS];	/* which are in use is Rust's to know */
int bsk_ends_init(void);		/* sleeps */
void bsk_ends_exit(void);		/* sleeps */
u32 bsk_ends_used(void);		/* how many of the entries may be used */
void bsk_end_set(struct bsk_end *end, bio_end_io_t *end_io, void *count, void *owner);	/* atomic; an entry nobody uses */
struct bsk_wrap *bsk_wrap_new(bool wait);		/* wait: sleeps and cannot fail; else atomic, NULL when there is no memory */
void bsk_wrap_free(struct bsk_wrap *wrap);		/* atomic */
/* Atomic; the completion that the bio, which has end_io, is to have now. */
bio_end_io_t *bsk_wrap_put(struct bsk_wrap *wrap, struct bio *bio, bio_end_io_t *end_io, void *count, void *owner);
/* Atomic; whether *end_io is one of ours: then the owner of its count, and completion and bi_private without it. */
bool bsk_end_peel(bio_end_io_t **end_io, void **private, void **owner);
void *bsk_bio_private(struct bio *bio);			/* atomic */

/* ---- hook_held.c: bios that wait, and the worker that sends them ---- */
void bsr_work(void *ctx);		/* Rust: sleeps */
int bsk_held_init(void);		/* sleeps */
void bsk_held_exit(void);		/* sleeps */
void bsk_held_push(void **list, struct bio *bio);	/* atomic */
struct bio *bsk_held_take(void **list);			/* atomic; all of them, linked, the oldest first */
struct bio *bsk_held_next(struct bio *bio);		/* atomic; unlinks bio and gives the one after it */
struct bsk_work *bsk_work_new(void *ctx);		/* sleeps; NULL */
bool bsk_work_queue(struct bsk_work *work);		/* atomic; false: it is queued already */
void bsk_work_free(struct bsk_work *work);		/* atomic; not queued any more; may be called from its own run */

/* ---- hook_sync.c: the one lock of the control plane, and waiting ---- */
void bsk_hook_lock(void);		/* sleeps */
void bsk_hook_unlock(void);
void bsk_hook_wait(void);		/* sleeps; lets go of the lock, waits for bsk_hook_wake, takes the lock */
void bsk_hook_wake(void);		/* under the lock */
/*
 * Sleeps until ready says yes, or the time is over: whether it was ready. What other CPUs counted before they last looked at
 * something that was changed before the call is seen by ready.
 */
bool bsk_drain_wait(bool (*ready)(void *ctx), void *ctx, u32 ms);
void bsk_drain_wake(void);		/* atomic */
#define bsk_cell(count)	((unsigned long __percpu *)(unsigned long)(count))
extern atomic_t bsk_drains;		/* who waits; each count taken off wakes them */
void *bsk_count_new(void);		/* sleeps; a number on each CPU, 0; NULL */
void bsk_count_free(void *count);	/* sleeps */
void bsk_count_add(void *count, long n);	/* atomic */
u64 bsk_count_sum(void *count);		/* atomic; exact when numbers only fall meanwhile and it is 0 */
void bsk_grace(void);			/* sleeps; everybody who had preemption off has had it on since */
void bsk_grace_tasks(void);		/* sleeps; every task has slept or left the kernel since */

/* ---- hook_ioctl.c: the BLKFILTER_* ioctls on block devices ---- */
/* Rust: sleeps; arg is a user address. */
long bsr_ioctl(struct block_device *bdev, u32 cmd, u64 arg);

/* ---- hook_gone.c: disks and partitions that go away ---- */
void bsr_disk_gone(void *disk);			/* Rust: sleeps; before the disk is deleted */
void bsr_part_gone(struct block_device *bdev);	/* Rust: sleeps, for the lock of the control plane alone */
bool bsk_disk_dying(void *disk);		/* atomic; being deleted, or deleted */

/* ---- hook_ftrace.c: all hooks at once ---- */
int bsk_hooks_on(const char **what);	/* sleeps; all but those on bios; on failure *what says which hook */
int bsk_hooks_direct(const char **what);	/* sleeps; of those on bios, submit_bio_noacct_nocheck, and when called again submit_bio_noacct */
void bsk_hooks_off(void);		/* sleeps; afterwards nobody is in a hook or in a function one leads to */

/* ---- hook_dev.c: facts about a block device, and references ---- */
void bsk_dev_get(struct block_device *bdev);	/* atomic; the structure stays, the device may go */
void bsk_dev_put(struct block_device *bdev);	/* sleeps */
void *bsk_dev_disk(struct block_device *bdev);
u64 bsk_dev_first(struct block_device *bdev);
const u64 *bsk_dev_sectors(struct block_device *bdev);	/* how many it has now; NULL: a whole disk */
void bsk_dev_name(struct block_device *bdev, char *name, u32 len);
void bsk_dev_facts(struct block_device *bdev, u32 *major, u32 *minor, u64 *sectors);	/* sectors: how many it has now */
bool bsk_dev_zoned(struct block_device *bdev);
bool bsk_dev_dax(struct block_device *bdev);
/*
 * Sleeps: waits until bios that are in the device's queue now have ended. With statistics also those that a bio-based driver counts as being in flight, of
 * which no new one may begin meanwhile. false: time is over.
 */
bool bsk_dev_settle(struct block_device *bdev, u32 ms, bool statistics);
/* Sleeps, for the disk's open_mutex. Part of an active DM, MD or bcache device; of a disk, also one of its partitions. */
bool bsk_dev_leg(struct block_device *bdev);
bool bsk_dev_bypassed(struct block_device *bdev);	/* sleeps, as bsk_dev_leg; of one that sends its parts requests, past any bio */
bool bsk_dev_untold(struct block_device *bdev);	/* atomic; what its driver has under way is not to be found out */

/* ---- hook_ops.c: a filter's operations, the structure's only reader ---- */
bool bsk_ops_valid(const void *ops);
const char *bsk_ops_name(const void *ops);
bool bsk_ops_get(const void *ops);		/* atomic; false: its module is going away */
void bsk_ops_put(const void *ops);
void bsk_ops_text(const void *ops, unsigned long *start, unsigned long *len);
void *bsk_ops_submit(const void *ops);
int bsk_ops_attach(const void *ops, void *fdev, struct block_device *bdev, u64 opt, u32 optlen, void **priv);	/* sleeps */
int bsk_ops_insists(const void *ops, u64 opt, u32 optlen);		/* sleeps; 1: yes */
int bsk_ops_may_detach(const void *ops, void *priv);			/* sleeps */
void bsk_ops_leaving(const void *ops, void *priv);			/* atomic */
void bsk_ops_detach(const void *ops, void *priv);			/* sleeps */
int bsk_ops_ctl(const void *ops, void *priv, u32 cmd, u64 opt, u32 *optlen);	/* sleeps */

/* ---- hook_test.c: a disk of our own, on which the hook proves itself ---- */
int bsk_test_new(void **test, struct block_device **bdev, const void **ops);	/* sleeps */
void bsk_test_free(void *test);			/* sleeps */
int bsk_test_send(void *test, bool write, u64 sector);	/* sends a bio and waits for its end; sleeps */
u32 bsk_test_shown(void *test);			/* times the filter was shown a bio */
u32 bsk_test_early(void *test);			/* of these, in submit_bio_noacct */
u32 bsk_test_seen(void *test);			/* times the driver saw one */
void bsk_test_hold(void *test, bool on);	/* the filter holds what it is shown, and sends it on a moment later */

/* ---- hook_user.c: the caller's memory ---- */
bool bsk_hook_admin(void);
bool bsk_hook_read(void *to, u64 from, unsigned long len);	/* sleeps; whether all was copied */
bool bsk_hook_write(u64 to, const void *from, unsigned long len);	/* sleeps */
int bsk_module_hold(void);		/* keeps blkfilter.ko loaded; whether it could */
void bsk_module_release(void);

/* Within C: the hook's own text, and the arguments of a hooked function. */
#ifdef BSK_HOOK_FTRACE
#include <linux/ftrace.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define bsk_arg(fregs, n)	ftrace_regs_get_argument(fregs, n)
#define bsk_divert(fregs, fn)	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)(fn))
#else
#define bsk_arg(fregs, n)	((n) == 0 ? (fregs)->regs.di : (n) == 1 ? (fregs)->regs.si : (fregs)->regs.dx)
#define bsk_divert(fregs, fn)	ftrace_instruction_pointer_set(fregs, (unsigned long)(fn))
#endif
/* Permanent: kernel.ftrace_enabled cannot be switched off while we are here, which would let bios go unseen. */
#define BSK_HOOK_FLAGS	(FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT)
struct bsk_hook {
	const char *function;
	struct ftrace_ops ops;
};
extern struct bsk_hook bsk_hook_ioctl, bsk_hook_compat_ioctl, bsk_hook_gone;
int bsk_gone_init(void);
void bsk_gone_exit(void);
static __always_inline bool bsk_own_text(unsigned long caller)
{
	return caller - bsk_text_start < bsk_text_len;
}
#endif

#endif
