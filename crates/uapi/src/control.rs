// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! The ioctls on `/dev/blksnap-control` that existing clients know.

/// The control device.
pub const BLKSNAP_CONTROL_PATH: &str = "/dev/blksnap-control";
/// The control device's name under `/dev`.
pub const BLKSNAP_CONTROL_NAME: &str = "blksnap-control";

/// The type of every ioctl on the control device.
pub const BLKSNAP_IOCTL_TYPE: u8 = b'V';

abi_numbers! {
    /// Codes of events.
    table NUMBERS;
    /// The snapshot of a device is corrupted: struct blksnap_event_corrupted.
    pub const BLKSNAP_EVENT_CODE_CORRUPTED: u32 = 0;
    /// The difference storage is full: struct blksnap_event_no_space.
    pub const BLKSNAP_EVENT_CODE_NO_SPACE: u32 = 1;
}

abi_struct! {
    /// The version of the module.
    pub struct Version as blksnap_version, 8 {
        /// Major.
        pub major: u16,
        /// Minor.
        pub minor: u16,
        /// Revision.
        pub revision: u16,
        /// Build.
        pub build: u16,
    }
}

abi_struct! {
    /// Creates a snapshot, still without devices.
    pub struct SnapshotCreate as blksnap_snapshot_create, 32 {
        /// The most the difference storage may grow to, in sectors.
        pub diff_storage_limit_sect: u64,
        /// User pointer to the path of a file, a directory or a block device.
        pub diff_storage_filename: u64,
        /// Out: the snapshot's id.
        pub id: [u8; 16],
    }
}

abi_struct! {
    /// Destroys a snapshot.
    pub struct SnapshotDestroy as blksnap_snapshot_destroy, 16 {
        /// The snapshot's id.
        pub id: [u8; 16],
    }
}

abi_struct! {
    /// Takes a snapshot: all its devices at one instant.
    pub struct SnapshotTake as blksnap_snapshot_take, 16 {
        /// The snapshot's id.
        pub id: [u8; 16],
    }
}

abi_struct! {
    /// The ids of all snapshots.
    pub struct SnapshotCollect as blksnap_snapshot_collect, 16 {
        /// In: ids that fit at `ids`. Out: the number of snapshots.
        pub count: u32,
        /// Padding.
        pub _padding: [u8; 4],
        /// User pointer to an array of 16-byte ids, or 0 to be told the count alone.
        pub ids: u64,
    }
}

abi_struct! {
    /// An event of a snapshot.
    pub struct SnapshotEvent as blksnap_snapshot_event, 4096 {
        /// In: the snapshot's id.
        pub id: [u8; 16],
        /// In: how long to wait.
        pub timeout_ms: u32,
        /// Out: what happened.
        pub code: u32,
        /// Out: when, in nanoseconds of CLOCK_REALTIME.
        pub time_label: i64,
        /// Out: more, by the code.
        pub data: [u8; 4064],
    }
}

abi_struct! {
    /// Data of the event BLKSNAP_EVENT_CODE_CORRUPTED.
    pub struct EventCorrupted as blksnap_event_corrupted, 12 {
        /// The device's major number.
        pub dev_id_mj: u32,
        /// The device's minor number.
        pub dev_id_mn: u32,
        /// The negative errno.
        pub err_code: i32,
    }
}

abi_struct! {
    /// Data of the event BLKSNAP_EVENT_CODE_NO_SPACE.
    pub struct EventNoSpace as blksnap_event_no_space, 8 {
        /// How much was wanted, in sectors.
        pub requested_nr_sect: u64,
    }
}

abi_ioctls! {
    /// On /dev/blksnap-control.
    table IOCTLS;
    /// The version of the module.
    pub const IOCTL_BLKSNAP_VERSION = ior(b'V', 0, Version);
    /// Creates a snapshot.
    pub const IOCTL_BLKSNAP_SNAPSHOT_CREATE = iowr(b'V', 1, SnapshotCreate);
    /// Destroys a snapshot. ENODEV: no such snapshot.
    pub const IOCTL_BLKSNAP_SNAPSHOT_DESTROY = iow(b'V', 2, SnapshotDestroy);
    /// Takes a snapshot. ESRCH: no such snapshot; EALREADY: taken; ENODEV: it has no device.
    pub const IOCTL_BLKSNAP_SNAPSHOT_TAKE = iow(b'V', 3, SnapshotTake);
    /// Lists snapshots. ENODATA: too many for `count`, which now says how many.
    pub const IOCTL_BLKSNAP_SNAPSHOT_COLLECT = ior(b'V', 4, SnapshotCollect);
    /// Waits for an event. ENOENT: nothing in time; EINTR: interrupted; ESRCH: no such snapshot.
    pub const IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT = ior(b'V', 5, SnapshotEvent);
}
