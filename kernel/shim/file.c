// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file as difference storage. It is opened for direct I/O where the file
 * system can (tmpfs cannot before 6.6), so that copied blocks do not fill the
 * page cache. A directory gets an unnamed file.
 */
#include <linux/bio.h>
#include <linux/bvec.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include "snap.h"

long bsk_file_open(const char *path, bool *is_bdev, void **out)
{
	int flags = O_RDWR | O_LARGEFILE;
	struct file *f = filp_open(path, O_RDONLY | O_LARGEFILE | O_NONBLOCK, 0);
	umode_t mode;

	if (IS_ERR(f))
		return PTR_ERR(f);
	mode = file_inode(f)->i_mode;
	filp_close(f, NULL);
	*is_bdev = S_ISBLK(mode);
	if (*is_bdev)
		return 0;
	if (S_ISDIR(mode))
		flags |= O_TMPFILE;
	else if (!S_ISREG(mode))
		return -EINVAL;
	f = filp_open(path, flags | O_DIRECT, 0600);
	if (f == ERR_PTR(-EINVAL))
		f = filp_open(path, flags, 0600);
	if (IS_ERR(f))
		return PTR_ERR(f);
	if (!f->f_op->write_iter || !f->f_op->read_iter) {
		filp_close(f, NULL);
		return -EOPNOTSUPP;
	}
	*out = f;
	return 0;
}

void bsk_file_close(void *f)
{
	filp_close(f, NULL);
}

void *bsk_file_bdev(void *f)
{
	return file_inode(f)->i_sb->s_bdev;
}

bool bsk_file_direct(void *f)
{
	return ((struct file *)f)->f_flags & O_DIRECT;
}

bool bsk_file_same(void *a, void *b)
{
	return file_inode(a) == file_inode(b);
}

long bsk_file_allocate(void *f, u64 from, u64 len)
{
	return vfs_fallocate(f, 0, from, len);
}

static long transfer(struct file *f, bool write, u64 pos, struct bio_vec *bv, u32 n, size_t skip,
		     size_t len)
{
	while (len) {
		struct iov_iter iter;
		struct kiocb kiocb;
		ssize_t done;

		iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, bv, n, skip + len);
		iov_iter_advance(&iter, skip);
		init_sync_kiocb(&kiocb, f);
		kiocb.ki_pos = pos;
		if (write) {
			file_start_write(f);
			done = f->f_op->write_iter(&kiocb, &iter);
			file_end_write(f);
		} else {
			done = f->f_op->read_iter(&kiocb, &iter);
		}
		/* Also EINTR and EAGAIN: nobody has asked not to wait, and some file system might say so for ever. */
		if (done < 0)
			return done;
		if (!done)
			return -EIO;
		pos += done;
		skip += done;
		len -= done;
	}
	return 0;
}

long bsk_file_write_pages(void *f, u64 pos, struct page **pages, u32 n)
{
	struct bio_vec *bv = kmalloc_array(n, sizeof(*bv), GFP_NOIO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	long err;
	u32 i;

	if (!bv)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		bvec_set_page(&bv[i], pages[i], PAGE_SIZE, 0);
	err = transfer(f, true, pos, bv, n, 0, (size_t)n << PAGE_SHIFT);
	kfree(bv);
	return err;
}

long bsk_file_page(void *f, bool write, u64 pos, struct page *page)
{
	struct bio_vec bv;

	bvec_set_page(&bv, page, PAGE_SIZE, 0);
	return transfer(f, write, pos, &bv, 1, 0, PAGE_SIZE);
}

/* One bio_vec at a time: this path is for image requests that touch saved blocks. */
long bsk_file_rw_bio(void *f, bool write, u64 pos, struct bio *bio, u32 from, u32 len)
{
	struct bvec_iter it = bio->bi_iter;
	long err = 0;

	bio_advance_iter(bio, &it, from);
	it.bi_size = min(it.bi_size, len);
	while (it.bi_size && !err) {
		struct bio_vec bv = mp_bvec_iter_bvec(bio->bi_io_vec, it);

		err = transfer(f, write, pos, &bv, 1, 0, bv.bv_len);
		pos += bv.bv_len;
		bio_advance_iter_single(bio, &it, bv.bv_len);
	}
	return err;
}

void bsk_noio_begin(unsigned int *saved)
{
	*saved = memalloc_noio_save();
}

void bsk_noio_end(unsigned int saved)
{
	memalloc_noio_restore(saved);
}

void bsk_noreclaim_begin(unsigned int *saved)
{
	*saved = memalloc_noreclaim_save();
}

void bsk_noreclaim_end(unsigned int saved)
{
	memalloc_noreclaim_restore(saved);
}
