/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * Attach a filter to a block device, detach it, talk to it.
 *
 * Generated from crates/uapi; do not edit. To make it anew:
 *   cargo run -p blksnap_uapi --example header
 */
#ifndef _UAPI_LINUX_BLK_FILTER_H
#define _UAPI_LINUX_BLK_FILTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Limits of the filter interface. */
/* Bytes in the name of a filter, NUL padding included. */
#define BLKFILTER_NAME_LENGTH 32

/* Argument of BLKFILTER_ATTACH. */
struct blkfilter_attach {
	/* The name of the filter, NUL-padded. */
	__u8 name[32];
	/* User pointer to options of the filter, or 0. */
	__u64 opt;
	/* Bytes at `opt`. */
	__u32 optlen;
};

/* Argument of BLKFILTER_DETACH. */
struct blkfilter_detach {
	/* The name of the filter, NUL-padded. */
	__u8 name[32];
};

/* Argument of BLKFILTER_CTL. */
struct blkfilter_ctl {
	/* The name of the filter, NUL-padded. */
	__u8 name[32];
	/* The filter's command. */
	__u32 cmd;
	/* Bytes at `opt`. */
	__u32 optlen;
	/* User pointer to the command's argument. */
	__u64 opt;
};

/* On a block device's descriptor. */
/* Attaches a filter. EALREADY: this one is attached; EBUSY: another is; ENOENT: no such filter. */
#define BLKFILTER_ATTACH _IOWR(0x12, 142, struct blkfilter_attach)
/* Detaches a filter. ENOENT: none is attached; EINVAL: another is; EBUSY: a snapshot needs it. */
#define BLKFILTER_DETACH _IOWR(0x12, 143, struct blkfilter_detach)
/* Sends a command to the attached filter. ENOTTY: it does not know the command. */
#define BLKFILTER_CTL _IOWR(0x12, 144, struct blkfilter_ctl)

#endif /* _UAPI_LINUX_BLK_FILTER_H */
