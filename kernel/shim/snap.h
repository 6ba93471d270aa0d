/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What blksnap.ko needs of the kernel, as opaque handles and scalars.
 * kernel/src/sys.rs mirrors this file line by line.
 *
 * Contexts are named at each group: P may sleep; A any context, atomic too.
 */
#ifndef BSK_SNAP_H
#define BSK_SNAP_H

#include <linux/types.h>

struct bio;
struct bsk_io;
struct bsk_worker;
struct page;

/* sync.c: locks. Lock classes are small numbers, so that lockdep tells them apart. */
void *bsk_mutex_new(u32 class);				/* P */
void bsk_mutex_free(void *m);
void bsk_mutex_lock(void *m);				/* P */
bool bsk_mutex_trylock(void *m);			/* P: does not sleep */
void bsk_mutex_unlock(void *m);
void *bsk_spin_new(u32 class);				/* P */
void bsk_spin_free(void *l);
unsigned long bsk_spin_lock(void *l);			/* A */
void bsk_spin_unlock(void *l, unsigned long flags);
void *bsk_wait_new(void);				/* P */
void bsk_wait_free(void *w);
void bsk_wait_wake(void *w);				/* A */
/* Sleeps until ready(ctx) or the time is over: 1 ready, 0 time over, -ERESTARTSYS. */
long bsk_wait_until(void *w, bool (*ready)(void *ctx), void *ctx, u32 ms, bool interruptible); /* P */
void bsk_rcu_lock(void);				/* A */
void bsk_rcu_unlock(void);				/* A */
void bsk_synchronize_rcu(void);				/* P */

/* misc.c */
u64 bsk_ktime_ns(void);					/* A */
u64 bsk_tick_ns(void);					/* A */
u64 bsk_real_ns(void);					/* A */
void bsk_msleep(u32 ms);					/* P */
void bsk_uuid(u8 out[16]);				/* A */
u32 bsk_processors(void);				/* A: that are online */
u64 bsk_free_memory(void);				/* A: bytes that are free or easily made so */
unsigned long bsk_copy_from_user(void *to, u64 from, unsigned long n);	/* P; bytes not copied */
unsigned long bsk_copy_to_user(u64 to, const void *from, unsigned long n);
long bsk_strndup_user(u64 from, char *to, unsigned long n);	/* P; length or -errno */
bool bsk_capable_admin(void);
bool bsk_compat_caller(void);		/* atomic; a 32-bit program has called the kernel */

/* worker.c: a work item with three lists that any context may push to. */
struct bsk_worker *bsk_worker_new(u32 kind, void (*run)(void *ctx));	/* P */
void bsk_worker_start(struct bsk_worker *w, void *ctx);
void bsk_worker_kick(struct bsk_worker *w);		/* A */
void bsk_worker_kick_in(struct bsk_worker *w, u32 ms);	/* A */
bool bsk_worker_comes(struct bsk_worker *w);		/* A: the kick of the last bsk_worker_kick_in is still to come */
void bsk_worker_stop(struct bsk_worker *w, bool kicked);	/* P: waits for a running one; kicked: others may kick it at this moment */
void bsk_worker_free(struct bsk_worker *w);		/* P */
/* P: one round on this thread; what is left when it says false runs soon. false: it runs already. */
bool bsk_worker_here(struct bsk_worker *w, bool (*round)(void *ctx));
void bsk_worker_again(struct bsk_worker *w);		/* A: inside of it: what was pushed up to now is seen to by what follows */
void bsk_worker_push(struct bsk_worker *w, u32 list, struct bio *bio);	/* A */
void bsk_worker_put(struct bsk_worker *w, u32 list, struct bio *bio);	/* A: to be followed by a kick, or a round here */
struct bio *bsk_worker_take(struct bsk_worker *w, u32 list);	/* the whole list, oldest first */
bool bsk_worker_empty(struct bsk_worker *w);		/* A: nothing on any list */
struct bio *bsk_bio_next(struct bio *bio);		/* unlinks and returns the next */
struct bsk_io *bsk_worker_done(struct bsk_worker *w);	/* completed own bios, oldest first */
struct bsk_io *bsk_io_next(struct bsk_io *io);
void bsk_call_urgent(void (*fn)(void *ctx), void *ctx);	/* P: on a thread that goes before others, or where none comes in 100 ms on the caller's; waits for its end */
int bsk_worker_init(void);				/* P: at module load */
void bsk_worker_exit(void);

/* page.c */
struct page *bsk_page_alloc(bool wait);			/* P if wait */
/* P if wait: writes the first so many of count pointers, and says how many; others are NULL. Not all: once more may give more. */
u32 bsk_pages_alloc(struct page **pages, u32 count, bool wait);
bool bsk_pages_row(struct page **pages, u32 order);	/* A: 2^order pages that lie behind each other, each of its own; or none */
void bsk_page_free(struct page *page);			/* A: gives a reference back */
void bsk_page_get(struct page *page);			/* A: another reference */
void bsk_page_zero(struct page *page, u32 at, u32 len);	/* A */
void bsk_page_copy(struct page *to, struct page *from);	/* A */
void bsk_page_from_bio(struct page *page, u32 at, struct bio *bio, u32 from, u32 len);	/* A */
/* From byte at of the first page on, through all that follow. */
void bsk_pages_to_bio(struct page *const *pages, u32 at, struct bio *bio, u32 to, u32 len);	/* A */
void bsk_bio_zero(struct bio *bio, u32 from, u32 len);	/* A */

/* bio.c: bios of others */
u32 bsk_bio_op(const struct bio *bio);			/* A: 0 read, 1 write, 2 discard, 3 other with data range, 4 flush */
u64 bsk_bio_sector(const struct bio *bio);		/* A: as it stands in the bio */
u64 bsk_bio_disk_sector(const struct bio *bio);		/* A: from the start of the disk */
u64 bsk_bio_sectors(const struct bio *bio);		/* A */
void bsk_bio_end(struct bio *bio, int err);		/* A */
void bsk_bio_link(struct bio *bio, struct bio *next);	/* A */

/* io.c: our own bios, with a tag; completion puts them on the worker's list */
void *bsk_bioset_new(u32 pool);				/* P */
void bsk_bioset_free(void *set);			/* P */
/* wait: until others give theirs back */
struct bsk_io *bsk_io_new(void *set, void *bdev, bool write, u64 sector, u32 vecs, bool wait);	/* P; NULL */
struct bsk_io *bsk_io_clone(void *set, void *bdev, struct bio *src, u32 from, u32 len, bool write, u64 sector,
			    bool wait); /* P; NULL */
bool bsk_io_add_page(struct bsk_io *io, struct page *page, u32 len);
void bsk_io_tag(struct bsk_io *io, u64 a, u64 b);
u64 bsk_io_tag_a(const struct bsk_io *io);
u64 bsk_io_tag_b(const struct bsk_io *io);
void bsk_io_link(struct bsk_io *io, struct bsk_io *next);	/* A: next is sent after io */
struct bsk_io *bsk_io_linked(struct bsk_io *io);	/* A: the next, or NULL */
int bsk_io_status(const struct bsk_io *io);
void bsk_io_submit(struct bsk_io *io, struct bsk_worker *w);	/* P */
void bsk_io_submit_all(struct bsk_io *io, struct bsk_worker *w);	/* P: io and what is linked behind it, plugged */
int bsk_io_run(struct bsk_io *io);			/* P: sends it and waits for its end; 0 or -errno */
/* An image read sent whole to a device; done(req, cookie, err) runs in the completion, A. false: no memory */
bool bsk_io_forward(void *set, void *bdev, struct bio *req, u64 sector, void (*done)(void *cookie, struct bio *req, int err), void *cookie); /* P */
void bsk_io_free(struct bsk_io *io);			/* A */

/* bdev.c */
long bsk_bdev_open_path(const char *path, bool exclusive, void **out);	/* P */
long bsk_bdev_open_dev(u32 major, u32 minor, void **out);		/* P */
void bsk_bdev_close(void *h);				/* P */
void *bsk_bdev_of(void *h);				/* the block_device of a handle */
u64 bsk_bdev_sectors(void *bdev);			/* A */
u64 bsk_bdev_sequence(void *bdev);			/* A: another number for another medium */
u32 bsk_bdev_logical(void *bdev);
u32 bsk_bdev_dma(void *bdev);				/* A: alignment of memory, as a mask */
u32 bsk_bdev_major(void *bdev);
u32 bsk_bdev_minor(void *bdev);
u32 bsk_bdev_height(void *bdev);				/* 0 takes requests; 1 passes bios on, or keeps them; 2 device-mapper */
u64 bsk_bdev_start(void *bdev);				/* A: first sector on the disk */
bool bsk_bdev_overlaps(void *a, void *b);		/* same disk, common sectors */
/* Freezes the file systems on the device and, for a disk, on its partitions; undone by thaw. */
long bsk_bdev_freeze(void *bdev, void **token);		/* P */
void bsk_bdev_thaw(void *token);			/* P */

/* file.c: a file as difference storage */
long bsk_file_open(const char *path, bool *is_bdev, void **out);	/* P */
void bsk_file_close(void *f);
void *bsk_file_bdev(void *f);				/* the block device under its file system, or NULL */
bool bsk_file_direct(void *f);				/* past the page cache: its I/O must suit the device below */
bool bsk_file_same(void *a, void *b);			/* one file, opened twice */
long bsk_file_allocate(void *f, u64 from, u64 len);	/* P */
long bsk_file_write_pages(void *f, u64 pos, struct page **pages, u32 n);	/* P */
long bsk_file_page(void *f, bool write, u64 pos, struct page *page);	/* P: one whole page */
/* Transfers between the file and len bytes of bio from its byte `from`. */
long bsk_file_rw_bio(void *f, bool write, u64 pos, struct bio *bio, u32 from, u32 len);	/* P */
/* A file by its descriptor, pinned so that its extents stay; they begin on its device's page `start` and have `pages`. */
long bsk_pin_new(int fd, void **out);			/* P: -EOPNOTSUPP and a word in the log where it cannot be */
void bsk_pin_free(void *pin);				/* P */
void *bsk_pin_bdev(void *pin);				/* the device that the extents are on */
bool bsk_pin_same(void *pin, void *other);		/* A: one file */
bool bsk_pin_extent(void *pin, u32 index, u64 *start, u64 *pages);	/* A: false past the last */
void bsk_noio_begin(unsigned int *saved);		/* P: this task reclaims without I/O */
void bsk_noio_end(unsigned int saved);
void bsk_noreclaim_begin(unsigned int *saved);	/* P: this task does not reclaim, and may use the reserves */
void bsk_noreclaim_end(unsigned int saved);

/* disk.c: an image's block device */
void bsk_disk_exit(void);				/* P: waits for the last image to go */
/* logical: bytes of a logical block; dma: alignment of memory, as a mask */
long bsk_disk_new(void *origin, u32 logical, u32 dma, u64 sectors, void *ctx, void (*submit)(void *ctx, struct bio *bio),
		  void (*release)(void *ctx), void **out);	/* P */
long bsk_disk_add(void *disk);				/* P */
void bsk_disk_del(void *disk, bool added);		/* P: del_gendisk, put; release(ctx) after the last user */
long bsk_disk_name(void *disk, char *out, u32 n);

/* control.c: /dev/blksnap-control */
int bsk_control_init(void *ctx, long (*open)(void *ctx, void **session), void (*release)(void *session),
		     long (*ioctl)(void *session, u32 cmd, u64 arg), bool (*poll)(void *session));	/* P */
void bsk_control_wake(void);				/* A: whoever polls looks again */
void bsk_control_exit(void);				/* P */

/* trace.c: tracepoints; A */
void bsk_trace_hold(const struct bio *bio);
void bsk_trace_resubmit(const struct bio *bio);
void bsk_trace_copy(u32 major, u32 minor, u64 sector, u64 sectors);
void bsk_trace_store(u32 major, u32 minor, u64 sectors);
void bsk_trace_take(u32 devices, u64 gate_ns, int error);

/* params.c */
u32 bsk_param(u32 which);

#endif
