/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * Snapshots and changed block tracking of any block device.
 *
 * Generated from crates/uapi; do not edit. To make it anew:
 *   cargo run -p blksnap_uapi --example header
 */
#ifndef _UAPI_LINUX_BLKSNAP_H
#define _UAPI_LINUX_BLKSNAP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define BLKSNAP_FILTER_NAME "blksnap"
#define BLKSNAP_CTL "blksnap-control"
#define BLKSNAP 'V'

/* Commands of the filter "blksnap" for BLKFILTER_CTL. */
/* State of change tracking: out struct blksnap_cbtinfo. */
#define BLKFILTER_CTL_BLKSNAP_CBTINFO 0
/* Reads the map of changes: in struct blksnap_cbtmap. */
#define BLKFILTER_CTL_BLKSNAP_CBTMAP 1
/* Marks ranges as changed: in struct blksnap_cbtdirty. */
#define BLKFILTER_CTL_BLKSNAP_CBTDIRTY 2
/* Adds the device to a created snapshot: in struct blksnap_snapshotadd. */
#define BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD 3
/* The device's snapshot image: out struct blksnap_snapshotinfo. */
#define BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO 4
/* Bytes in the name of an image, NUL padding included. */
#define BLKSNAP_IMAGE_NAME_LENGTH 32
/* The highest changes_number before the generation changes. */
#define BLKSNAP_CHANGES_NUMBER_MAX 255

/* State of change tracking. */
struct blksnap_cbtinfo {
	/* Bytes of the device. */
	__u64 device_capacity;
	/* Bytes of a tracking block. */
	__u32 block_size;
	/* Blocks, which is also bytes of the map. */
	__u32 block_count;
	/* Changes when the map starts anew: numbers of two generations do not compare. */
	__u8 generation_id[16];
	/* Takes in this generation, up to 255. */
	__u8 changes_number;
};

/* Reads a part of the map, one byte a block, as it stood at the last take. */
struct blksnap_cbtmap {
	/* The first block. */
	__u32 offset;
	/* Blocks, which is also bytes at `buffer`. */
	__u32 length;
	/* User pointer to the bytes. */
	__u64 buffer;
};

/* A range of 512-byte sectors. */
struct blksnap_sectors {
	/* The first sector. */
	__u64 offset;
	/* Sectors. */
	__u64 count;
};

/* Marks ranges as changed, as a write to them would. */
struct blksnap_cbtdirty {
	/* Entries at `dirty_sectors`. */
	__u32 count;
	/* User pointer to an array of struct blksnap_sectors. */
	__u64 dirty_sectors;
};

/* Adds the device to a snapshot. */
struct blksnap_snapshotadd {
	/* The snapshot's id. */
	__u8 id[16];
};

/* The device's image in its snapshot. */
struct blksnap_snapshotinfo {
	/* 0, or the negative errno the snapshot failed with; -ENOSPC is an overflow. */
	__s32 error_code;
	/* The image's name under /dev, NUL-padded, or empty. */
	__u8 image[32];
};

/* The version of the module. */
struct blksnap_version {
	/* Major. */
	__u16 major;
	/* Minor. */
	__u16 minor;
	/* Revision. */
	__u16 revision;
	/* Build. */
	__u16 build;
};

/* Creates a snapshot, still without devices. */
struct blksnap_snapshot_create {
	/* The most the difference storage may grow to, in sectors. */
	__u64 diff_storage_limit_sect;
	/* User pointer to the path of a file, a directory or a block device. */
	__u64 diff_storage_filename;
	/* Out: the snapshot's id. */
	__u8 id[16];
};

/* Destroys a snapshot. */
struct blksnap_snapshot_destroy {
	/* The snapshot's id. */
	__u8 id[16];
};

/* Takes a snapshot: all its devices at one instant. */
struct blksnap_snapshot_take {
	/* The snapshot's id. */
	__u8 id[16];
};

/* The ids of all snapshots. */
struct blksnap_snapshot_collect {
	/* In: ids that fit at `ids`. Out: the number of snapshots. */
	__u32 count;
	/* User pointer to an array of 16-byte ids, or 0 to be told the count alone. */
	__u64 ids;
};

/* An event of a snapshot. */
struct blksnap_snapshot_event {
	/* In: the snapshot's id. */
	__u8 id[16];
	/* In: how long to wait. */
	__u32 timeout_ms;
	/* Out: what happened. */
	__u32 code;
	/* Out: when, in nanoseconds of CLOCK_REALTIME. */
	__s64 time_label;
	/* Out: more, by the code. */
	__u8 data[4064];
};

/* Codes of events. */
/* The snapshot of a device is corrupted: struct blksnap_event_corrupted. */
#define BLKSNAP_EVENT_CODE_CORRUPTED 0
/* The difference storage is full: struct blksnap_event_no_space. */
#define BLKSNAP_EVENT_CODE_NO_SPACE 1

/* Data of the event BLKSNAP_EVENT_CODE_CORRUPTED. */
struct blksnap_event_corrupted {
	/* The device's major number. */
	__u32 dev_id_mj;
	/* The device's minor number. */
	__u32 dev_id_mn;
	/* The negative errno. */
	__s32 err_code;
};

/* Data of the event BLKSNAP_EVENT_CODE_NO_SPACE. */
struct blksnap_event_no_space {
	/* How much was wanted, in sectors. */
	__u64 requested_nr_sect;
};

/* On /dev/blksnap-control. */
/* The version of the module. */
#define IOCTL_BLKSNAP_VERSION _IOR(BLKSNAP, 0, struct blksnap_version)
/* Creates a snapshot. */
#define IOCTL_BLKSNAP_SNAPSHOT_CREATE _IOWR(BLKSNAP, 1, struct blksnap_snapshot_create)
/* Destroys a snapshot. ENODEV: no such snapshot. */
#define IOCTL_BLKSNAP_SNAPSHOT_DESTROY _IOW(BLKSNAP, 2, struct blksnap_snapshot_destroy)
/* Takes a snapshot. ESRCH: no such snapshot; EALREADY: taken; ENODEV: it has no device. */
#define IOCTL_BLKSNAP_SNAPSHOT_TAKE _IOW(BLKSNAP, 3, struct blksnap_snapshot_take)
/* Lists snapshots. ENODATA: too many for `count`, which now says how many. */
#define IOCTL_BLKSNAP_SNAPSHOT_COLLECT _IOR(BLKSNAP, 4, struct blksnap_snapshot_collect)
/* Waits for an event. ENOENT: nothing in time; EINTR: interrupted; ESRCH: no such snapshot. */
#define IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT _IOR(BLKSNAP, 5, struct blksnap_snapshot_event)

/* Our own interface. */
/* The version of what follows; it grows only when something changes its meaning. */
#define BLKSNAP_ABI 1
/* Numbers from here up are matched without the size of the argument. */
#define BLKSNAP_EXTENDED_FIRST 64
/* Commands of the filter "blksnap" for BLKFILTER_CTL: inout struct blksnap_cbt_state. */
#define BLKFILTER_CTL_BLKSNAP_CBT_STATE 64
/* inout struct blksnap_cbt_extents. ESTALE: another generation; ERANGE: base > number. */
#define BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS 65
/* inout struct blksnap_image_stat. ENOENT: the device is in no snapshot. */
#define BLKFILTER_CTL_BLKSNAP_IMAGE_STAT 66
/* in struct blksnap_add. ESRCH, EALREADY as for SNAPSHOTADD; EBUSY: in another, and not shared. */
#define BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD 67
/* inout struct blksnap_free. ESRCH: no such snapshot, or not taken; ENOENT: the device is not in it. */
#define BLKFILTER_CTL_BLKSNAP_FREE 68
/* inout struct blksnap_consumer. ENOENT: no such consumer; ESTALE: another generation. */
#define BLKFILTER_CTL_BLKSNAP_CONSUMER 69
/* struct blksnap_snapshot_open.flags: destroyed when the descriptor it was made on is closed. */
#define BLKSNAP_OPEN_BOUND 1
/* struct blksnap_snapshot_open.store_kind: memory. */
#define BLKSNAP_STORE_MEMORY 0
/* struct blksnap_snapshot_open.store_kind: a file, a directory or a block device. */
#define BLKSNAP_STORE_PATH 1
/* struct blksnap_snapshot_open.store_kind: a file on a device of the snapshot, by its extents. */
#define BLKSNAP_STORE_EXTENTS 2
/* struct blksnap_snapshot_open.policy: at the bound of the memory for copies, writes wait. */
#define BLKSNAP_POLICY_HOLD 0
/* struct blksnap_snapshot_open.policy: at that bound the snapshot is given up. */
#define BLKSNAP_POLICY_GIVE_UP 1
/* struct blksnap_attach_options.flags: also what an active device (DM, MD, bcache) is made of. */
#define BLKSNAP_ATTACH_FORCE 1
/* struct blksnap_add.flags: the device may be in other snapshots, too. */
#define BLKSNAP_ADD_SHARED 1
/* struct blksnap_consumer.op: the base of `name`. */
#define BLKSNAP_CONSUMER_GET 0
/* struct blksnap_consumer.op: sets the base of `name`, and makes the consumer if there is none. */
#define BLKSNAP_CONSUMER_SET 1
/* struct blksnap_consumer.op: forgets `name`. */
#define BLKSNAP_CONSUMER_REMOVE 2
/* struct blksnap_consumer.op: name and base of the consumer at `index`; ENOENT past the last. */
#define BLKSNAP_CONSUMER_LIST 3
/* The gate's time limit when gate_timeout_ms is 0. */
#define BLKSNAP_GATE_TIMEOUT_MS 10000
/* struct blksnap_snapshot_stat.state: created, not taken yet. */
#define BLKSNAP_STATE_CREATED 0
/* struct blksnap_snapshot_stat.state: taken, its images are there. */
#define BLKSNAP_STATE_TAKEN 1
/* struct blksnap_snapshot_stat.state: failed, its images give I/O errors. */
#define BLKSNAP_STATE_FAILED 2
/* struct blksnap_features.features: difference storage in memory. */
#define BLKSNAP_FEATURE_MEMORY_STORE 1ULL
/* struct blksnap_features.features: changed extents. */
#define BLKSNAP_FEATURE_EXTENTS 2ULL
/* struct blksnap_features.features: BLKSNAP_OPEN_BOUND. */
#define BLKSNAP_FEATURE_BOUND 4ULL
/* struct blksnap_features.features: images can be written. */
#define BLKSNAP_FEATURE_WRITABLE_IMAGE 8ULL
/* struct blksnap_features.features: a device may be in several snapshots, BLKSNAP_ADD_SHARED. */
#define BLKSNAP_FEATURE_SHARED 16ULL
/* struct blksnap_features.features: free space is not saved, BLKFILTER_CTL_BLKSNAP_FREE. */
#define BLKSNAP_FEATURE_FREE 32ULL
/* struct blksnap_features.features: named bases, BLKFILTER_CTL_BLKSNAP_CONSUMER. */
#define BLKSNAP_FEATURE_CONSUMERS 64ULL
/* struct blksnap_features.features: policy and copy_memory_kib of a snapshot. */
#define BLKSNAP_FEATURE_POLICY 128ULL
/* struct blksnap_features.features: several difference storages, IOCTL_BLKSNAP_STORE_ADD. */
#define BLKSNAP_FEATURE_STORE_ADD 256ULL
/* struct blksnap_features.features: BLKSNAP_STORE_EXTENTS. */
#define BLKSNAP_FEATURE_STORE_EXTENTS 512ULL
/* struct blksnap_features.features: IOCTL_BLKSNAP_MEMBERS. */
#define BLKSNAP_FEATURE_MEMBERS 1024ULL
/* struct blksnap_features.features: full_in_ms and BLKSNAP_EVENT_CODE_LOW_SPACE. */
#define BLKSNAP_FEATURE_PREDICTION 2048ULL
/* struct blksnap_features.features: poll(2) of the control file, readable when a snapshot bound to it has an event. */
#define BLKSNAP_FEATURE_POLL 4096ULL
/* struct blksnap_features.features: BLKSNAP_ATTACH_FORCE. */
#define BLKSNAP_FEATURE_ATTACH_FORCE 8192ULL
/* An event of a snapshot: its storage will soon be full. struct blksnap_event_low_space. */
#define BLKSNAP_EVENT_CODE_LOW_SPACE 64
/* full_in_ms when no end is in sight. */
#define BLKSNAP_FULL_NEVER 18446744073709551615ULL

/* What the module can do. */
struct blksnap_features {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* Out: BLKSNAP_ABI. */
	__u32 abi;
	/* Out: BLKSNAP_FEATURE_*. */
	__u64 features;
	/* Out: bytes of a copy-on-write block. */
	__u32 block_size;
	/* Zero. */
	__u32 reserved;
};

/* Creates a snapshot, still without devices. */
struct blksnap_snapshot_open {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* BLKSNAP_OPEN_*. */
	__u32 flags;
	/* BLKSNAP_STORE_*. */
	__u32 store_kind;
	/* How long writes may be held while those in flight are waited for; 0 is the default. */
	__u32 gate_timeout_ms;
	/* The most bytes to store; 0 is none for a path, half of the free memory for memory. */
	__u64 limit;
	/* User pointer to a NUL-terminated path, for BLKSNAP_STORE_PATH. */
	__u64 path;
	/* Out: the snapshot's id. */
	__u8 id[16];
	/* BLKSNAP_POLICY_*. */
	__u32 policy;
	/* KiB of memory for copies not yet stored, for the whole snapshot; 0 is the module's parameter. */
	__u32 copy_memory_kib;
	/* For BLKSNAP_STORE_EXTENTS, the file: open for writing, preallocated, on a block device. */
	__s32 fd;
	/* For BLKSNAP_STORE_EXTENTS, entries at `extents`; 0 is all of the file. */
	__u32 extent_count;
	/* User pointer to an array of struct blksnap_extent: bytes on the file system's block device. */
	__u64 extents;
};

/* One more difference storage for a snapshot, created or taken. */
struct blksnap_store_add {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* BLKSNAP_STORE_*. */
	__u32 kind;
	/* The snapshot's id. */
	__u8 id[16];
	/* As in struct blksnap_snapshot_open. */
	__u64 limit;
	/* As in struct blksnap_snapshot_open. */
	__u64 path;
	/* As in struct blksnap_snapshot_open. */
	__s32 fd;
	/* As in struct blksnap_snapshot_open. */
	__u32 extent_count;
	/* As in struct blksnap_snapshot_open. */
	__u64 extents;
};

/* The state of a snapshot. */
struct blksnap_snapshot_stat {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* Out: BLKSNAP_STATE_*. */
	__u32 state;
	/* In: the snapshot's id. */
	__u8 id[16];
	/* Out: 0, or the negative errno it failed with. */
	__s32 error;
	/* Out: devices in it. */
	__u32 devices;
	/* Out: how long the take held writes. */
	__u64 gate_ns;
	/* Out: when it was taken, in nanoseconds of CLOCK_REALTIME. */
	__u64 taken_ns;
	/* Out: bytes the difference storage has room for now. */
	__u64 store_capacity;
	/* Out: bytes of it in use. */
	__u64 store_used;
	/* Out: bytes it may grow to; 0 is no limit. */
	__u64 store_limit;
	/* Out: bytes of kernel memory the snapshot holds. */
	__u64 memory;
	/* Out: milliseconds until the storage is full, as it fills now; or BLKSNAP_FULL_NEVER. */
	__u64 full_in_ms;
	/* Out: BLKSNAP_POLICY_*. */
	__u32 policy;
	/* Zero. */
	__u32 reserved;
};

/* Data of the event BLKSNAP_EVENT_CODE_LOW_SPACE: less than an eighth is left; or a quarter is used, and under a minute left. */
struct blksnap_event_low_space {
	/* Bytes of the storage in use. */
	__u64 used;
	/* Bytes it may grow to. */
	__u64 limit;
	/* Milliseconds until it is full, as it fills now; or BLKSNAP_FULL_NEVER. */
	__u64 full_in_ms;
};

/* The devices of a snapshot. */
struct blksnap_members {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* In: entries that fit at `entries`. Out: the number of devices; ENODATA when too small. */
	__u32 count;
	/* The snapshot's id. */
	__u8 id[16];
	/* User pointer to an array of struct blksnap_member. */
	__u64 entries;
};

/* A device in a snapshot. */
struct blksnap_member {
	/* The device's major number. */
	__u32 major;
	/* The device's minor number. */
	__u32 minor;
	/* 0, or the negative errno its snapshot failed with. */
	__s32 error;
	/* Zero. */
	__u32 flags;
	/* The image's name under /dev, NUL-padded, or empty. */
	__u8 image[32];
	/* The take the image is of, or 0. */
	__u64 number;
};

/* All attached devices. */
struct blksnap_devices {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* In: entries that fit at `entries`. Out: the number of devices; ENODATA when too small. */
	__u32 count;
	/* User pointer to an array of struct blksnap_device. */
	__u64 entries;
};

/* An attached device. */
struct blksnap_device {
	/* The device's major number. */
	__u32 major;
	/* The device's minor number. */
	__u32 minor;
	/* Bytes of the device. */
	__u64 capacity;
	/* The generation of its change tracking. */
	__u8 generation[16];
	/* Takes so far in this generation. */
	__u64 number;
	/* The newest snapshot it is in, or zero. */
	__u8 snapshot[16];
	/* Bytes of a tracking block. */
	__u32 block_size;
	/* Snapshots it is in. */
	__u32 snapshots;
};

/* The state of change tracking. */
struct blksnap_cbt_state {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* Out: bytes of a tracking block. */
	__u32 block_size;
	/* Out: bytes of the device. */
	__u64 capacity;
	/* Out: the generation. */
	__u8 generation[16];
	/* Out: takes so far in this generation. */
	__u64 number;
	/* Out: tracking blocks. */
	__u64 block_count;
	/* Out: bytes of kernel memory the tracking holds. */
	__u64 memory;
};

/* A range of bytes. */
struct blksnap_extent {
	/* The first byte. */
	__u64 offset;
	/* Bytes. */
	__u64 length;
};

/* The extents changed after take `base`, as of the last take; ascending, not touching. */
struct blksnap_cbt_extents {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* In: entries that fit at `extents`. Out: entries filled. */
	__u32 count;
	/* In: the generation `base` belongs to. */
	__u8 generation[16];
	/* In: the take after which the changes are asked. */
	__u64 base;
	/* In: where to begin or resume. */
	__u64 offset;
	/* Out: where to resume; the device's capacity when all was said. */
	__u64 next;
	/* User pointer to an array of struct blksnap_extent. */
	__u64 extents;
};

/*
 * The image of a device in a snapshot, and what it has cost. What is copied serves all
 * snapshots that the device is in, and is counted once for all of them.
 */
struct blksnap_image_stat {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* Out: 0, or the negative errno the snapshot failed with. */
	__s32 error;
	/* Out: the image's name under /dev, NUL-padded, or empty. */
	__u8 image[32];
	/* In: the snapshot's id, or zero for the newest. Out: the snapshot's id. */
	__u8 snapshot[16];
	/* Out: the take this image is of. */
	__u64 number;
	/* Out: reads of the original for copies. */
	__u64 copy_reads;
	/* Out: bytes they read. */
	__u64 copy_read_bytes;
	/* Out: writes to the difference storage. */
	__u64 stores;
	/* Out: bytes they wrote. */
	__u64 store_bytes;
	/* Out: writes that were held. */
	__u64 held;
	/* Out: reads of the image. */
	__u64 image_reads;
	/* Out: writes to the image. */
	__u64 image_writes;
	/* Out: blocks saved. */
	__u64 saved_blocks;
	/* Out: bytes of kernel memory the image holds. */
	__u64 memory;
	/* Out: blocks that were copied beside those written, as their neighbours were. */
	__u64 spec_blocks;
	/* Out: of these, blocks that were written later. */
	__u64 spec_used;
	/* Out: bytes handed in as free space. */
	__u64 free_bytes;
	/* Out: bytes of copies in memory, not yet stored. */
	__u64 pool_bytes;
	/* Out: the bound of these. */
	__u64 pool_limit;
	/* Out: writes that found no room below that bound, and were held until there was. */
	__u64 pool_waits;
	/* Out: nanoseconds for which they were, summed, with those that still are. */
	__u64 pool_wait_ns;
	/* Out: of these, the longest of one write. */
	__u64 pool_wait_longest_ns;
};

/* What struct blkfilter_attach.opt may point to; with optlen 0 there are no options. */
struct blksnap_attach_options {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* BLKSNAP_ATTACH_*. */
	__u32 flags;
};

/* Adds the device to a created snapshot. */
struct blksnap_add {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* BLKSNAP_ADD_*. */
	__u32 flags;
	/* The snapshot's id. */
	__u8 id[16];
};

/*
 * Hands in ranges of the device that its file system did not use at the take: the image reads
 * zeros there, and the old content is not saved. Rounded inwards to whole blocks.
 */
struct blksnap_free {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* Entries at `extents`. */
	__u32 count;
	/* The snapshot's id. */
	__u8 id[16];
	/* User pointer to an array of struct blksnap_extent: bytes on the device. */
	__u64 extents;
	/* Out: bytes taken as free. */
	__u64 accepted;
};

/* A named base of the device's changes, kept by the module: changes after it stay exact. */
struct blksnap_consumer {
	/* Size of the struct as the caller knows it. */
	__u32 size;
	/* BLKSNAP_CONSUMER_*. */
	__u32 op;
	/* The consumer's name, NUL-padded; out for BLKSNAP_CONSUMER_LIST. */
	__u8 name[64];
	/* The generation of `number`; in for BLKSNAP_CONSUMER_SET. */
	__u8 generation[16];
	/* The take that is its base; in for BLKSNAP_CONSUMER_SET. */
	__u64 number;
	/* In: which, for BLKSNAP_CONSUMER_LIST. */
	__u32 index;
	/* Zero. */
	__u32 reserved;
};

/* On /dev/blksnap-control, ours. */
/* What the module can do. */
#define IOCTL_BLKSNAP_FEATURES _IOWR(BLKSNAP, 64, struct blksnap_features)
/* Creates a snapshot. */
#define IOCTL_BLKSNAP_SNAPSHOT_OPEN _IOWR(BLKSNAP, 65, struct blksnap_snapshot_open)
/* The state of a snapshot. ESRCH: no such snapshot. */
#define IOCTL_BLKSNAP_SNAPSHOT_STAT _IOWR(BLKSNAP, 66, struct blksnap_snapshot_stat)
/* All attached devices. */
#define IOCTL_BLKSNAP_DEVICES _IOWR(BLKSNAP, 67, struct blksnap_devices)
/* One more difference storage. ESRCH: no such snapshot. */
#define IOCTL_BLKSNAP_STORE_ADD _IOWR(BLKSNAP, 68, struct blksnap_store_add)
/* The devices of a snapshot. ESRCH: no such snapshot. */
#define IOCTL_BLKSNAP_MEMBERS _IOWR(BLKSNAP, 69, struct blksnap_members)

#endif /* _UAPI_LINUX_BLKSNAP_H */
