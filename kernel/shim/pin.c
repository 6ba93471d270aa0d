// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file whose blocks are written past its file system, as those of a swap
 * file are. It is pinned in the same way (S_SWAPFILE: no write, truncate,
 * hole, clone or unlink), and the file system itself says where its blocks
 * are, by the call that swapon uses. That is asked of file systems alone whose
 * answer needs no undoing and stays true as long as the file is pinned.
 */
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/vmalloc.h>
#include "shim.h"
#include "snap.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

struct bsk_pin {
	struct file *file;
	struct block_device *bdev;
	u32 count;
	struct {
		u64 start, pages;
	} *extent;
};

static const char *unfit(struct file *f)
{
	struct inode *inode = file_inode(f);

	if (!S_ISREG(inode->i_mode))
		return "it is no regular file";
	if (!(f->f_mode & FMODE_WRITE))
		return "it is not open for writing";
	if (!inode->i_sb->s_bdev || !(inode->i_sb->s_type->fs_flags & FS_REQUIRES_DEV))
		return "its file system is on no block device";
	if (inode->i_sb->s_magic != EXT4_SUPER_MAGIC && inode->i_sb->s_magic != XFS_SUPER_MAGIC)
		return "its file system may move its blocks; ext4 and XFS do not";
	if (!f->f_mapping->a_ops->swap_activate)
		return "its file system does not tell where its blocks are";
	return NULL;
}

static int extents_of(struct bsk_pin *pin, struct swap_info_struct *sis)
{
	sector_t span;
	struct rb_node *node;
	int n;

	sis->max = UINT_MAX;
	sis->bdev = pin->bdev;
	sis->swap_file = pin->file;
	sis->swap_extent_root = RB_ROOT;
	n = pin->file->f_mapping->a_ops->swap_activate(sis, pin->file, &span);
	if (n > 0 && sis->bdev != pin->bdev)
		n = -EOPNOTSUPP;	/* XFS's realtime device, which nothing here freezes */
	if (n > 0) {
		pin->extent = kvmalloc_array(n, sizeof(*pin->extent), GFP_KERNEL);
		if (!pin->extent)
			n = -ENOMEM;
	}
	while ((node = rb_first(&sis->swap_extent_root))) {
		struct swap_extent *se = rb_entry(node, struct swap_extent, rb_node);

		if (n > 0 && pin->count < n) {
			pin->extent[pin->count].start = se->start_block;
			pin->extent[pin->count].pages = se->nr_pages;
			pin->count++;
		}
		rb_erase(node, &sis->swap_extent_root);
		kfree(se);
	}
	return n < 0 ? n : pin->count ? 0 : -EINVAL;
}

long bsk_pin_new(int fd, void **out)
{
	struct swap_info_struct *sis = kzalloc(sizeof(*sis), GFP_KERNEL);
	struct bsk_pin *pin = kzalloc(sizeof(*pin), GFP_KERNEL);
	struct inode *inode;
	const char *why;
	int err = -ENOMEM;

	if (!sis || !pin)
		goto free;
	pin->file = fget(fd);
	err = -EBADF;
	if (!pin->file)
		goto free;
	err = -EOPNOTSUPP;
	why = unfit(pin->file);
	if (why) {
		pr_err("the file cannot be difference storage by its extents: %s\n", why);
		goto put;
	}
	inode = file_inode(pin->file);
	pin->bdev = inode->i_sb->s_bdev;
	inode_lock(inode);
	err = -EBUSY;
	if (!IS_SWAPFILE(inode)) {
		inode->i_flags |= S_SWAPFILE;
		/* First the journal: with data=journal, what it holds is written to the blocks after that. */
		err = vfs_fsync(pin->file, 1);
		if (!err)
			err = inode_drain_writes(inode);
		if (!err)
			err = extents_of(pin, sis);
		if (err)
			inode->i_flags &= ~S_SWAPFILE;
	}
	inode_unlock(inode);
	if (err)
		goto put;
	kfree(sis);
	*out = pin;
	return 0;
put:
	fput(pin->file);
free:
	if (pin)
		kvfree(pin->extent);
	kfree(pin);
	kfree(sis);
	return err;
}

void bsk_pin_free(void *handle)
{
	struct bsk_pin *pin = handle;
	struct inode *inode = file_inode(pin->file);

	inode_lock(inode);
	inode->i_flags &= ~S_SWAPFILE;
	inode_unlock(inode);
	fput(pin->file);
	kvfree(pin->extent);
	kfree(pin);
}

void *bsk_pin_bdev(void *handle)
{
	return ((struct bsk_pin *)handle)->bdev;
}

bool bsk_pin_same(void *a, void *b)
{
	return file_inode(((struct bsk_pin *)a)->file) == file_inode(((struct bsk_pin *)b)->file);
}

bool bsk_pin_extent(void *handle, u32 index, u64 *start, u64 *pages)
{
	struct bsk_pin *pin = handle;

	if (index >= pin->count)
		return false;
	*start = pin->extent[index].start;
	*pages = pin->extent[index].pages;
	return true;
}
