// SPDX-License-Identifier: GPL-2.0-only
/* Pages that hold copied blocks, and moving bytes between them and a bio. */
#include <linux/bio.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include "snap.h"

/* Never from the emergency reserves: they are for what gives memory back soon. */
static gfp_t bsk_page_gfp(bool wait)
{
	return (wait ? GFP_NOIO | __GFP_RETRY_MAYFAIL : GFP_NOWAIT) | __GFP_NOWARN | __GFP_NOMEMALLOC;
}

struct page *bsk_page_alloc(bool wait)
{
	return alloc_page(bsk_page_gfp(wait));
}

u32 bsk_pages_alloc(struct page **pages, u32 count, bool wait)
{
	/* It fills what is empty. */
	memset(pages, 0, count * sizeof(*pages));
#ifdef alloc_pages_bulk
	return alloc_pages_bulk(bsk_page_gfp(wait), count, pages);
#else
	return alloc_pages_bulk_array(bsk_page_gfp(wait), count, pages);
#endif
}

bool bsk_pages_row(struct page **pages, u32 order)
{
	/* It is no loss if there is none: nothing is given back for it. */
	struct page *row = alloc_pages(__GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC, order);

	if (!row)
		return false;
	split_page(row, order);
	for (u32 i = 0; i < 1U << order; i++)
		pages[i] = row + i;
	return true;
}

void bsk_page_free(struct page *page)
{
	__free_page(page);
}

void bsk_page_get(struct page *page)
{
	get_page(page);
}

void bsk_page_zero(struct page *page, u32 at, u32 len)
{
	memset(page_address(page) + at, 0, len);
}

void bsk_page_copy(struct page *to, struct page *from)
{
	copy_page(page_address(to), page_address(from));
}

/* Walks len bytes of the bio from its byte `from`; the bio itself stays as it is. */
#define bsk_for_each(bv, it, bio, from, len)					\
	for ((it) = (bio)->bi_iter,						\
	     bio_advance_iter((bio), &(it), (from)),				\
	     (it).bi_size = min_t(u32, (it).bi_size, (len));			\
	     (it).bi_size && ((bv) = bio_iter_iovec((bio), (it)), true);	\
	     bio_advance_iter_single((bio), &(it), (bv).bv_len))

void bsk_page_from_bio(struct page *page, u32 at, struct bio *bio, u32 from, u32 len)
{
	struct bvec_iter it;
	struct bio_vec bv;

	bsk_for_each(bv, it, bio, from, len) {
		memcpy_from_bvec(page_address(page) + at, &bv);
		at += bv.bv_len;
	}
}

void bsk_pages_to_bio(struct page *const *pages, u32 at, struct bio *bio, u32 to, u32 len)
{
	struct bvec_iter it;
	struct bio_vec bv;

	bsk_for_each(bv, it, bio, to, len) {
		struct bio_vec part = bv;

		while (bv.bv_len) {
			part.bv_len = min_t(u32, bv.bv_len, PAGE_SIZE - at % PAGE_SIZE);
			memcpy_to_bvec(&part, page_address(pages[at / PAGE_SIZE]) + at % PAGE_SIZE);
			at += part.bv_len;
			part.bv_offset += part.bv_len;
			bv.bv_len -= part.bv_len;
		}
		/* The walk goes on by what was copied. */
		bv.bv_len = part.bv_offset - bv.bv_offset;
	}
}

void bsk_bio_zero(struct bio *bio, u32 from, u32 len)
{
	struct bvec_iter it;
	struct bio_vec bv;

	bsk_for_each(bv, it, bio, from, len)
		memzero_bvec(&bv);
}
