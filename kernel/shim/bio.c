// SPDX-License-Identifier: GPL-2.0-only
/* Questions about bios of others. */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include "snap.h"

u32 bsk_bio_op(const struct bio *bio)
{
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return 0;
	case REQ_OP_WRITE:
		return 1;
	case REQ_OP_DISCARD:
		return 2;
	case REQ_OP_FLUSH:
		return 4;
	default:
		return 3;
	}
}

u64 bsk_bio_sector(const struct bio *bio)
{
	return bio->bi_iter.bi_sector;
}

u64 bsk_bio_disk_sector(const struct bio *bio)
{
	u64 sector = bio->bi_iter.bi_sector;

	if (!bio_flagged((struct bio *)bio, BIO_REMAPPED))
		sector += bio->bi_bdev->bd_start_sect;
	return sector;
}

u64 bsk_bio_sectors(const struct bio *bio)
{
	return bio->bi_iter.bi_size >> SECTOR_SHIFT;
}

void bsk_bio_end(struct bio *bio, int err)
{
	/* A bio that others are chained to may hold the error of one of them. */
	if (err)
		bio->bi_status = errno_to_blk_status(err);
	bio_endio(bio);
}

void bsk_bio_link(struct bio *bio, struct bio *next)
{
	bio->bi_next = next;
}
