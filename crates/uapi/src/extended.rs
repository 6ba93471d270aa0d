// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! Our own interface, beside the one that existing clients know: numbers from 64 up.
//!
//! Every argument begins with its size as the caller knows it (see [`Versioned`](crate::Versioned)).
//! The kernel matches type and number of the ioctl only; for `BLKFILTER_CTL` commands the `optlen`
//! must be at least `size`. Offsets and lengths are bytes.
//!
//! A *change number* counts the takes of a generation: a write is marked with the number that
//! the next take will have. "Changed after take `base`, as of the last take" is all blocks whose
//! number is greater than `base` and at most the last take's. Base 0 is everything that was
//! written since the generation began.

abi_numbers! {
    /// Our own interface.
    table NUMBERS;
    /// The version of what follows; it grows only when something changes its meaning.
    pub const BLKSNAP_ABI: u32 = 1;
    /// Numbers from here up are matched without the size of the argument.
    pub const BLKSNAP_EXTENDED_FIRST: u32 = 64;

    /// Commands of the filter "blksnap" for BLKFILTER_CTL: inout struct blksnap_cbt_state.
    pub const BLKFILTER_CTL_BLKSNAP_CBT_STATE: u32 = 64;
    /// inout struct blksnap_cbt_extents. ESTALE: another generation; ERANGE: base > number.
    pub const BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS: u32 = 65;
    /// inout struct blksnap_image_stat. ENOENT: the device is in no snapshot.
    pub const BLKFILTER_CTL_BLKSNAP_IMAGE_STAT: u32 = 66;
    /// in struct blksnap_add. ESRCH, EALREADY as for SNAPSHOTADD; EBUSY: in another, and not shared.
    pub const BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD: u32 = 67;
    /// inout struct blksnap_free. ESRCH: no such snapshot, or not taken; ENOENT: the device is not in it.
    pub const BLKFILTER_CTL_BLKSNAP_FREE: u32 = 68;
    /// inout struct blksnap_consumer. ENOENT: no such consumer; ESTALE: another generation.
    pub const BLKFILTER_CTL_BLKSNAP_CONSUMER: u32 = 69;

    /// struct blksnap_snapshot_open.flags: destroyed when the descriptor it was made on is closed.
    pub const BLKSNAP_OPEN_BOUND: u32 = 1;
    /// struct blksnap_snapshot_open.store_kind: memory.
    pub const BLKSNAP_STORE_MEMORY: u32 = 0;
    /// struct blksnap_snapshot_open.store_kind: a file, a directory or a block device.
    pub const BLKSNAP_STORE_PATH: u32 = 1;
    /// struct blksnap_snapshot_open.store_kind: a file on a device of the snapshot, by its extents.
    pub const BLKSNAP_STORE_EXTENTS: u32 = 2;
    /// struct blksnap_snapshot_open.policy: at the bound of the memory for copies, writes wait.
    pub const BLKSNAP_POLICY_HOLD: u32 = 0;
    /// struct blksnap_snapshot_open.policy: at that bound the snapshot is given up.
    pub const BLKSNAP_POLICY_GIVE_UP: u32 = 1;
    /// struct blksnap_attach_options.flags: also what an active device (DM, MD, bcache) is made of.
    pub const BLKSNAP_ATTACH_FORCE: u32 = 1;
    /// struct blksnap_add.flags: the device may be in other snapshots, too.
    pub const BLKSNAP_ADD_SHARED: u32 = 1;
    /// struct blksnap_consumer.op: the base of `name`.
    pub const BLKSNAP_CONSUMER_GET: u32 = 0;
    /// struct blksnap_consumer.op: sets the base of `name`, and makes the consumer if there is none.
    pub const BLKSNAP_CONSUMER_SET: u32 = 1;
    /// struct blksnap_consumer.op: forgets `name`.
    pub const BLKSNAP_CONSUMER_REMOVE: u32 = 2;
    /// struct blksnap_consumer.op: name and base of the consumer at `index`; ENOENT past the last.
    pub const BLKSNAP_CONSUMER_LIST: u32 = 3;
    /// The gate's time limit when gate_timeout_ms is 0.
    pub const BLKSNAP_GATE_TIMEOUT_MS: u32 = 10000;

    /// struct blksnap_snapshot_stat.state: created, not taken yet.
    pub const BLKSNAP_STATE_CREATED: u32 = 0;
    /// struct blksnap_snapshot_stat.state: taken, its images are there.
    pub const BLKSNAP_STATE_TAKEN: u32 = 1;
    /// struct blksnap_snapshot_stat.state: failed, its images give I/O errors.
    pub const BLKSNAP_STATE_FAILED: u32 = 2;

    /// struct blksnap_features.features: difference storage in memory.
    pub const BLKSNAP_FEATURE_MEMORY_STORE: u64 = 1;
    /// struct blksnap_features.features: changed extents.
    pub const BLKSNAP_FEATURE_EXTENTS: u64 = 2;
    /// struct blksnap_features.features: BLKSNAP_OPEN_BOUND.
    pub const BLKSNAP_FEATURE_BOUND: u64 = 4;
    /// struct blksnap_features.features: images can be written.
    pub const BLKSNAP_FEATURE_WRITABLE_IMAGE: u64 = 8;
    /// struct blksnap_features.features: a device may be in several snapshots, BLKSNAP_ADD_SHARED.
    pub const BLKSNAP_FEATURE_SHARED: u64 = 16;
    /// struct blksnap_features.features: free space is not saved, BLKFILTER_CTL_BLKSNAP_FREE.
    pub const BLKSNAP_FEATURE_FREE: u64 = 32;
    /// struct blksnap_features.features: named bases, BLKFILTER_CTL_BLKSNAP_CONSUMER.
    pub const BLKSNAP_FEATURE_CONSUMERS: u64 = 64;
    /// struct blksnap_features.features: policy and copy_memory_kib of a snapshot.
    pub const BLKSNAP_FEATURE_POLICY: u64 = 128;
    /// struct blksnap_features.features: several difference storages, IOCTL_BLKSNAP_STORE_ADD.
    pub const BLKSNAP_FEATURE_STORE_ADD: u64 = 256;
    /// struct blksnap_features.features: BLKSNAP_STORE_EXTENTS.
    pub const BLKSNAP_FEATURE_STORE_EXTENTS: u64 = 512;
    /// struct blksnap_features.features: IOCTL_BLKSNAP_MEMBERS.
    pub const BLKSNAP_FEATURE_MEMBERS: u64 = 1024;
    /// struct blksnap_features.features: full_in_ms and BLKSNAP_EVENT_CODE_LOW_SPACE.
    pub const BLKSNAP_FEATURE_PREDICTION: u64 = 2048;
    /// struct blksnap_features.features: poll(2) of the control file, readable when a snapshot bound to it has an event.
    pub const BLKSNAP_FEATURE_POLL: u64 = 4096;
    /// struct blksnap_features.features: BLKSNAP_ATTACH_FORCE.
    pub const BLKSNAP_FEATURE_ATTACH_FORCE: u64 = 8192;

    /// An event of a snapshot: its storage will soon be full. struct blksnap_event_low_space.
    pub const BLKSNAP_EVENT_CODE_LOW_SPACE: u32 = 64;
    /// full_in_ms when no end is in sight.
    pub const BLKSNAP_FULL_NEVER: u64 = u64::MAX;
}

abi_struct! {
    /// What the module can do.
    pub struct Features as blksnap_features, 24, versioned 24 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// Out: BLKSNAP_ABI.
        pub abi: u32,
        /// Out: BLKSNAP_FEATURE_*.
        pub features: u64,
        /// Out: bytes of a copy-on-write block.
        pub block_size: u32,
        /// Zero.
        pub reserved: u32,
    }
}

abi_struct! {
    /// Creates a snapshot, still without devices.
    pub struct SnapshotOpen as blksnap_snapshot_open, 72, versioned 48 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// BLKSNAP_OPEN_*.
        pub flags: u32,
        /// BLKSNAP_STORE_*.
        pub store_kind: u32,
        /// How long writes may be held while those in flight are waited for; 0 is the default.
        pub gate_timeout_ms: u32,
        /// The most bytes to store; 0 is none for a path, half of the free memory for memory.
        pub limit: u64,
        /// User pointer to a NUL-terminated path, for BLKSNAP_STORE_PATH.
        pub path: u64,
        /// Out: the snapshot's id.
        pub id: [u8; 16],
        /// BLKSNAP_POLICY_*.
        pub policy: u32,
        /// KiB of memory for copies not yet stored, for the whole snapshot; 0 is the module's parameter.
        pub copy_memory_kib: u32,
        /// For BLKSNAP_STORE_EXTENTS, the file: open for writing, preallocated, on a block device.
        pub fd: i32,
        /// For BLKSNAP_STORE_EXTENTS, entries at `extents`; 0 is all of the file.
        pub extent_count: u32,
        /// User pointer to an array of struct blksnap_extent: bytes on the file system's block device.
        pub extents: u64,
    }
}

abi_struct! {
    /// One more difference storage for a snapshot, created or taken.
    pub struct StoreAdd as blksnap_store_add, 56, versioned 56 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// BLKSNAP_STORE_*.
        pub kind: u32,
        /// The snapshot's id.
        pub id: [u8; 16],
        /// As in struct blksnap_snapshot_open.
        pub limit: u64,
        /// As in struct blksnap_snapshot_open.
        pub path: u64,
        /// As in struct blksnap_snapshot_open.
        pub fd: i32,
        /// As in struct blksnap_snapshot_open.
        pub extent_count: u32,
        /// As in struct blksnap_snapshot_open.
        pub extents: u64,
    }
}

abi_struct! {
    /// The state of a snapshot.
    pub struct SnapshotStat as blksnap_snapshot_stat, 96, versioned 80 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// Out: BLKSNAP_STATE_*.
        pub state: u32,
        /// In: the snapshot's id.
        pub id: [u8; 16],
        /// Out: 0, or the negative errno it failed with.
        pub error: i32,
        /// Out: devices in it.
        pub devices: u32,
        /// Out: how long the take held writes.
        pub gate_ns: u64,
        /// Out: when it was taken, in nanoseconds of CLOCK_REALTIME.
        pub taken_ns: u64,
        /// Out: bytes the difference storage has room for now.
        pub store_capacity: u64,
        /// Out: bytes of it in use.
        pub store_used: u64,
        /// Out: bytes it may grow to; 0 is no limit.
        pub store_limit: u64,
        /// Out: bytes of kernel memory the snapshot holds.
        pub memory: u64,
        /// Out: milliseconds until the storage is full, as it fills now; or BLKSNAP_FULL_NEVER.
        pub full_in_ms: u64,
        /// Out: BLKSNAP_POLICY_*.
        pub policy: u32,
        /// Zero.
        pub reserved: u32,
    }
}

abi_struct! {
    /// Data of the event BLKSNAP_EVENT_CODE_LOW_SPACE: less than an eighth is left; or a quarter is used, and under a minute left.
    pub struct EventLowSpace as blksnap_event_low_space, 24 {
        /// Bytes of the storage in use.
        pub used: u64,
        /// Bytes it may grow to.
        pub limit: u64,
        /// Milliseconds until it is full, as it fills now; or BLKSNAP_FULL_NEVER.
        pub full_in_ms: u64,
    }
}

abi_struct! {
    /// The devices of a snapshot.
    pub struct Members as blksnap_members, 32, versioned 32 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// In: entries that fit at `entries`. Out: the number of devices; ENODATA when too small.
        pub count: u32,
        /// The snapshot's id.
        pub id: [u8; 16],
        /// User pointer to an array of struct blksnap_member.
        pub entries: u64,
    }
}

abi_struct! {
    /// A device in a snapshot.
    pub struct Member as blksnap_member, 56 {
        /// The device's major number.
        pub major: u32,
        /// The device's minor number.
        pub minor: u32,
        /// 0, or the negative errno its snapshot failed with.
        pub error: i32,
        /// Zero.
        pub flags: u32,
        /// The image's name under /dev, NUL-padded, or empty.
        pub image: [u8; 32],
        /// The take the image is of, or 0.
        pub number: u64,
    }
}

abi_struct! {
    /// All attached devices.
    pub struct Devices as blksnap_devices, 16, versioned 16 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// In: entries that fit at `entries`. Out: the number of devices; ENODATA when too small.
        pub count: u32,
        /// User pointer to an array of struct blksnap_device.
        pub entries: u64,
    }
}

abi_struct! {
    /// An attached device.
    pub struct Device as blksnap_device, 64 {
        /// The device's major number.
        pub major: u32,
        /// The device's minor number.
        pub minor: u32,
        /// Bytes of the device.
        pub capacity: u64,
        /// The generation of its change tracking.
        pub generation: [u8; 16],
        /// Takes so far in this generation.
        pub number: u64,
        /// The newest snapshot it is in, or zero.
        pub snapshot: [u8; 16],
        /// Bytes of a tracking block.
        pub block_size: u32,
        /// Snapshots it is in.
        pub snapshots: u32,
    }
}

abi_struct! {
    /// The state of change tracking.
    pub struct CbtState as blksnap_cbt_state, 56, versioned 56 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// Out: bytes of a tracking block.
        pub block_size: u32,
        /// Out: bytes of the device.
        pub capacity: u64,
        /// Out: the generation.
        pub generation: [u8; 16],
        /// Out: takes so far in this generation.
        pub number: u64,
        /// Out: tracking blocks.
        pub block_count: u64,
        /// Out: bytes of kernel memory the tracking holds.
        pub memory: u64,
    }
}

abi_struct! {
    /// A range of bytes.
    pub struct Extent as blksnap_extent, 16 {
        /// The first byte.
        pub offset: u64,
        /// Bytes.
        pub length: u64,
    }
}

abi_struct! {
    /// The extents changed after take `base`, as of the last take; ascending, not touching.
    pub struct CbtExtents as blksnap_cbt_extents, 56, versioned 56 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// In: entries that fit at `extents`. Out: entries filled.
        pub count: u32,
        /// In: the generation `base` belongs to.
        pub generation: [u8; 16],
        /// In: the take after which the changes are asked.
        pub base: u64,
        /// In: where to begin or resume.
        pub offset: u64,
        /// Out: where to resume; the device's capacity when all was said.
        pub next: u64,
        /// User pointer to an array of struct blksnap_extent.
        pub extents: u64,
    }
}

abi_struct! {
    /// The image of a device in a snapshot, and what it has cost. What is copied serves all
    /// snapshots that the device is in, and is counted once for all of them.
    pub struct ImageStat as blksnap_image_stat, 200, versioned 136 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// Out: 0, or the negative errno the snapshot failed with.
        pub error: i32,
        /// Out: the image's name under /dev, NUL-padded, or empty.
        pub image: [u8; 32],
        /// In: the snapshot's id, or zero for the newest. Out: the snapshot's id.
        pub snapshot: [u8; 16],
        /// Out: the take this image is of.
        pub number: u64,
        /// Out: reads of the original for copies.
        pub copy_reads: u64,
        /// Out: bytes they read.
        pub copy_read_bytes: u64,
        /// Out: writes to the difference storage.
        pub stores: u64,
        /// Out: bytes they wrote.
        pub store_bytes: u64,
        /// Out: writes that were held.
        pub held: u64,
        /// Out: reads of the image.
        pub image_reads: u64,
        /// Out: writes to the image.
        pub image_writes: u64,
        /// Out: blocks saved.
        pub saved_blocks: u64,
        /// Out: bytes of kernel memory the image holds.
        pub memory: u64,
        /// Out: blocks that were copied beside those written, as their neighbours were.
        pub spec_blocks: u64,
        /// Out: of these, blocks that were written later.
        pub spec_used: u64,
        /// Out: bytes handed in as free space.
        pub free_bytes: u64,
        /// Out: bytes of copies in memory, not yet stored.
        pub pool_bytes: u64,
        /// Out: the bound of these.
        pub pool_limit: u64,
        /// Out: writes that found no room below that bound, and were held until there was.
        pub pool_waits: u64,
        /// Out: nanoseconds for which they were, summed, with those that still are.
        pub pool_wait_ns: u64,
        /// Out: of these, the longest of one write.
        pub pool_wait_longest_ns: u64,
    }
}

abi_struct! {
    /// What struct blkfilter_attach.opt may point to; with optlen 0 there are no options.
    pub struct AttachOptions as blksnap_attach_options, 8, versioned 8 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// BLKSNAP_ATTACH_*.
        pub flags: u32,
    }
}

abi_struct! {
    /// Adds the device to a created snapshot.
    pub struct Add as blksnap_add, 24, versioned 24 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// BLKSNAP_ADD_*.
        pub flags: u32,
        /// The snapshot's id.
        pub id: [u8; 16],
    }
}

abi_struct! {
    /// Hands in ranges of the device that its file system did not use at the take: the image reads
    /// zeros there, and the old content is not saved. Rounded inwards to whole blocks.
    pub struct Free as blksnap_free, 40, versioned 40 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// Entries at `extents`.
        pub count: u32,
        /// The snapshot's id.
        pub id: [u8; 16],
        /// User pointer to an array of struct blksnap_extent: bytes on the device.
        pub extents: u64,
        /// Out: bytes taken as free.
        pub accepted: u64,
    }
}

abi_struct! {
    /// A named base of the device's changes, kept by the module: changes after it stay exact.
    pub struct Consumer as blksnap_consumer, 104, versioned 104 {
        /// Size of the struct as the caller knows it.
        pub size: u32,
        /// BLKSNAP_CONSUMER_*.
        pub op: u32,
        /// The consumer's name, NUL-padded; out for BLKSNAP_CONSUMER_LIST.
        pub name: [u8; 64],
        /// The generation of `number`; in for BLKSNAP_CONSUMER_SET.
        pub generation: [u8; 16],
        /// The take that is its base; in for BLKSNAP_CONSUMER_SET.
        pub number: u64,
        /// In: which, for BLKSNAP_CONSUMER_LIST.
        pub index: u32,
        /// Zero.
        pub reserved: u32,
    }
}

abi_ioctls! {
    /// On /dev/blksnap-control, ours.
    table IOCTLS;
    /// What the module can do.
    pub const IOCTL_BLKSNAP_FEATURES = iowr(b'V', 64, Features);
    /// Creates a snapshot.
    pub const IOCTL_BLKSNAP_SNAPSHOT_OPEN = iowr(b'V', 65, SnapshotOpen);
    /// The state of a snapshot. ESRCH: no such snapshot.
    pub const IOCTL_BLKSNAP_SNAPSHOT_STAT = iowr(b'V', 66, SnapshotStat);
    /// All attached devices.
    pub const IOCTL_BLKSNAP_DEVICES = iowr(b'V', 67, Devices);
    /// One more difference storage. ESRCH: no such snapshot.
    pub const IOCTL_BLKSNAP_STORE_ADD = iowr(b'V', 68, StoreAdd);
    /// The devices of a snapshot. ESRCH: no such snapshot.
    pub const IOCTL_BLKSNAP_MEMBERS = iowr(b'V', 69, Members);
}
