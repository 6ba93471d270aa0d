/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C side of the border between Rust and the kernel.
 *
 * Everything that crosses is declared here, in one section per shim file, and mirrored line by line in src/sys.rs. Only
 * opaque handles and scalars cross: a kernel structure's layout is never known to Rust. The functions hold no logic; what
 * differs between kernel versions is settled inside them.
 *
 * Names: bsk_* are C, called by Rust. bsr_* are Rust, called by C.
 * The comment on each function says its context: "sleeps" (process context, may sleep), "atomic" (any context but NMI).
 */
#ifndef BSK_SHIM_H
#define BSK_SHIM_H

#ifdef pr_fmt
#undef pr_fmt
#endif
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/types.h>
#include <linux/version.h>

struct bio;
struct block_device;
struct gendisk;

/* ---- module.c: the module's entry and exit ---- */
int bsr_module_init(void);	/* sleeps; a negative errno refuses the load */
void bsr_module_exit(void);	/* sleeps */
struct kernel_param;
/* For a file below /sys/module that is read only. Rust writes at most size bytes and says how many; sleeps for locks alone. */
int bsk_state_text(char *page, size_t (*text)(char *page, size_t size));
int bsk_state_set(const char *value, const struct kernel_param *param);
size_t bsr_state_attachments(char *page, size_t size);
size_t bsr_state_devices(char *page, size_t size);
size_t bsr_state_snapshots(char *page, size_t size);

/* ---- print.c: the kernel log ---- */
void bsk_print(int level, const char *text, size_t len);	/* atomic; level as in KERN_*: 0 emergency, 3 error, 4 warning, 6 info, 7 debug */

/* ---- alloc.c: memory for Rust's allocator ---- */
void *bsk_alloc(size_t size, size_t align, bool zero);	/* sleeps, but never for I/O; kmalloc, or vmalloc when large */
void bsk_free(void *ptr);				/* sleeps when the memory is large (more than a page), else atomic */

/* ---- filter.c: a filter in Rust (blksnap); the callbacks are those of linux/blk-filter.h ---- */
struct blkfilter_dev;
int bsk_filter_register(const char *name,
	int (*attach)(struct blkfilter_dev *fdev, struct block_device *bdev, const void __user *opt, u32 optlen, void **priv),
	int (*insists)(const void __user *opt, u32 optlen), int (*may_detach)(void *priv), void (*leaving)(void *priv), void (*detach)(void *priv),
	int (*ctl)(void *priv, u32 cmd, void __user *opt, u32 *optlen),
	int (*submit)(void *priv, struct bio *bio, u64 sector, u64 sectors, u32 flags));	/* sleeps; one filter a module */
void bsk_filter_unregister(void);	/* sleeps */

#endif
