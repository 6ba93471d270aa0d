// SPDX-License-Identifier: GPL-2.0-only
/*
 * Our own bios: reads of the origin, reads and writes of a difference storage
 * device. They come from a bio_set of the snapshot, so that they can be had
 * under memory pressure. A completed one goes to the worker that sent it and
 * is given back by it; so the worker never waits for one, as it may wait for
 * itself. It tries again after the next completion.
 */
#include <linux/bio.h>
#include <linux/blk-cgroup.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <xen/xen.h>
#include "io.h"
#include "snap.h"

static struct bsk_io *to_io(struct bio *bio)
{
	return container_of(bio, struct bsk_io, bio);
}

void *bsk_bioset_new(u32 pool)
{
	struct bio_set *set = kzalloc(sizeof(*set), GFP_KERNEL);

	if (!set)
		return NULL;
	if (bioset_init(set, pool, offsetof(struct bsk_io, bio), BIOSET_NEED_BVECS)) {
		kfree(set);
		return NULL;
	}
	return set;
}

void bsk_bioset_free(void *set)
{
	bioset_exit(set);
	kfree(set);
}

static void bsk_io_end(struct bio *bio)
{
	struct bsk_io *io = to_io(bio);
	struct bsk_worker *w = io->worker;

	/* See bsk_worker_stop: the worker may be done with us before the kick. Only the first of several kicks. */
	rcu_read_lock();
	if (llist_add(&io->node, &w->done))
		bsk_worker_kick(w);
	rcu_read_unlock();
}

/*
 * Copies are made for all who wait for them, often by one who writes himself: they are not to wait for the limits of his control group.
 */
static void bsk_io_of_nobody(struct bio *bio)
{
#ifdef CONFIG_BLK_CGROUP
	if (bio_blkcg_css(bio) != blkcg_root_css)
		bio_associate_blkg_from_css(bio, blkcg_root_css);
#endif
}

struct bsk_io *bsk_io_new(void *set, void *bdev, bool write, u64 sector, u32 vecs, bool wait)
{
	struct bio *bio = bio_alloc_bioset(bdev, vecs, write ? REQ_OP_WRITE : REQ_OP_READ,
					   (wait ? GFP_NOIO : GFP_NOWAIT) | __GFP_NOWARN, set);
	struct bsk_io *io;

	if (!bio)
		return NULL;
	io = to_io(bio);
	io->worker = NULL;
	io->a = 0;
	io->b = 0;
	bio->bi_iter.bi_sector = sector;
	bio->bi_end_io = bsk_io_end;
	bsk_io_of_nobody(bio);
	return io;
}

struct bsk_io *bsk_io_clone(void *set, void *bdev, struct bio *src, u32 from, u32 len, bool write,
			    u64 sector, bool wait)
{
	struct bio *bio = bio_alloc_clone(bdev, src, (wait ? GFP_NOIO : GFP_NOWAIT) | __GFP_NOWARN, set);
	struct bsk_io *io;

	if (!bio)
		return NULL;
	io = to_io(bio);
	io->worker = NULL;
	io->a = 0;
	io->b = 0;
	bio_advance_iter(bio, &bio->bi_iter, from);
	bio->bi_iter.bi_size = len;
	bio->bi_iter.bi_sector = sector;
	/* Hints of the image's user must not change what this read is. */
	bio->bi_opf = write ? REQ_OP_WRITE : REQ_OP_READ;
	bio->bi_end_io = bsk_io_end;
	return io;
}

/*
 * Whether the page lies behind what the bio has: a segment of several pages needs no call for each, as one of a large folio. What only
 * bio_add_page can tell is left to it: under Xen, or where each section of memory has its own map,
 * neighbours may be none to the machine.
 */
static bool bsk_io_extend(struct bio *bio, struct page *page, u32 len)
{
	struct bio_vec *last = &bio->bi_io_vec[bio->bi_vcnt - 1];
	u32 end = last->bv_offset + last->bv_len;

	if (!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) || xen_domain())
		return false;
	if (!PAGE_ALIGNED(end) || page != last->bv_page + end / PAGE_SIZE)
		return false;
	last->bv_len += len;
	bio->bi_iter.bi_size += len;
	return true;
}

bool bsk_io_add_page(struct bsk_io *io, struct page *page, u32 len)
{
	if (!io->bio.bi_vcnt && io->bio.bi_max_vecs) {
		/* Nothing there to merge it with. */
		__bio_add_page(&io->bio, page, len, 0);
		return true;
	}
	if (io->bio.bi_vcnt && bsk_io_extend(&io->bio, page, len))
		return true;
	return bio_add_page(&io->bio, page, len, 0) == len;
}

void bsk_io_tag(struct bsk_io *io, u64 a, u64 b)
{
	io->a = a;
	io->b = b;
}

u64 bsk_io_tag_a(const struct bsk_io *io)
{
	return io->a;
}

u64 bsk_io_tag_b(const struct bsk_io *io)
{
	return io->b;
}

int bsk_io_status(const struct bsk_io *io)
{
	return blk_status_to_errno(io->bio.bi_status);
}

void bsk_io_submit(struct bsk_io *io, struct bsk_worker *w)
{
	io->worker = w;
	/* The hook knows it for ours by its completion, and lets it pass. */
	submit_bio_noacct(&io->bio);
}

/* The first of a list that bsk_io_link made; the others behind it. */
void bsk_io_submit_all(struct bsk_io *io, struct bsk_worker *w)
{
	struct blk_plug plug;

	if (!io)
		return;
	if (!io->bio.bi_next) {
		bsk_io_submit(io, w);
		return;
	}
	blk_start_plug(&plug);
	while (io) {
		struct bio *next = io->bio.bi_next;

		io->bio.bi_next = NULL;
		bsk_io_submit(io, w);
		io = next ? to_io(next) : NULL;
	}
	blk_finish_plug(&plug);
}

void bsk_io_link(struct bsk_io *io, struct bsk_io *next)
{
	io->bio.bi_next = &next->bio;
}

struct bsk_io *bsk_io_linked(struct bsk_io *io)
{
	return io->bio.bi_next ? to_io(io->bio.bi_next) : NULL;
}

static void bsk_io_run_end(struct bio *bio)
{
	complete(bio->bi_private);
}

int bsk_io_run(struct bsk_io *io)
{
	DECLARE_COMPLETION_ONSTACK(done);

	io->bio.bi_private = &done;
	io->bio.bi_end_io = bsk_io_run_end;
	submit_bio_noacct(&io->bio);
	wait_for_completion_io(&done);
	return bsk_io_status(io);
}

static void bsk_forward_end(struct bio *bio)
{
	struct bsk_io *io = to_io(bio);
	struct bio *req = io->req;
	void (*done)(void *, struct bio *, int) = io->done;
	void *cookie = (void *)(unsigned long)io->a;
	int err = blk_status_to_errno(bio->bi_status);

	bio_put(bio);
	rcu_read_lock();	/* see Forward in kern/io.rs */
	done(cookie, req, err);
	rcu_read_unlock();
}

bool bsk_io_forward(void *set, void *bdev, struct bio *req, u64 sector,
		    void (*done)(void *cookie, struct bio *req, int err), void *cookie)
{
	struct bio *bio = bio_alloc_clone(bdev, req, GFP_NOIO, set);
	struct bsk_io *io;

	if (!bio)
		return false;
	io = to_io(bio);
	io->req = req;
	io->done = done;
	io->a = (unsigned long)cookie;
	bio->bi_iter.bi_sector = sector;
	bio->bi_opf = REQ_OP_READ | (req->bi_opf & (REQ_SYNC | REQ_IDLE));
	bio->bi_end_io = bsk_forward_end;
	submit_bio_noacct(bio);
	return true;
}

void bsk_io_free(struct bsk_io *io)
{
	bio_put(&io->bio);
}
