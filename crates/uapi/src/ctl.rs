// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! The `BLKFILTER_CTL` commands of the filter `blksnap` that existing clients know.

use crate::filter::{filter_name, BLKFILTER_NAME_LENGTH};

/// The name of the filter, as text.
pub const BLKSNAP_FILTER_NAME: &str = "blksnap";

/// The name of the filter, as the interface has it.
pub const BLKSNAP_FILTER: [u8; BLKFILTER_NAME_LENGTH] = filter_name(BLKSNAP_FILTER_NAME);

abi_numbers! {
    /// Commands of the filter "blksnap" for BLKFILTER_CTL.
    table NUMBERS;
    /// State of change tracking: out struct blksnap_cbtinfo.
    pub const BLKFILTER_CTL_BLKSNAP_CBTINFO: u32 = 0;
    /// Reads the map of changes: in struct blksnap_cbtmap.
    pub const BLKFILTER_CTL_BLKSNAP_CBTMAP: u32 = 1;
    /// Marks ranges as changed: in struct blksnap_cbtdirty.
    pub const BLKFILTER_CTL_BLKSNAP_CBTDIRTY: u32 = 2;
    /// Adds the device to a created snapshot: in struct blksnap_snapshotadd.
    pub const BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD: u32 = 3;
    /// The device's snapshot image: out struct blksnap_snapshotinfo.
    pub const BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO: u32 = 4;
    /// Bytes in the name of an image, NUL padding included.
    pub const BLKSNAP_IMAGE_NAME_LENGTH: usize = 32;
    /// The highest changes_number before the generation changes.
    pub const BLKSNAP_CHANGES_NUMBER_MAX: u32 = 255;
}

abi_struct! {
    /// State of change tracking.
    pub struct CbtInfo as blksnap_cbtinfo, 40 {
        /// Bytes of the device.
        pub device_capacity: u64,
        /// Bytes of a tracking block.
        pub block_size: u32,
        /// Blocks, which is also bytes of the map.
        pub block_count: u32,
        /// Changes when the map starts anew: numbers of two generations do not compare.
        pub generation_id: [u8; 16],
        /// Takes in this generation, up to 255.
        pub changes_number: u8,
        /// Padding.
        pub _padding: [u8; 7],
    }
}

abi_struct! {
    /// Reads a part of the map, one byte a block, as it stood at the last take.
    pub struct CbtMap as blksnap_cbtmap, 16 {
        /// The first block.
        pub offset: u32,
        /// Blocks, which is also bytes at `buffer`.
        pub length: u32,
        /// User pointer to the bytes.
        pub buffer: u64,
    }
}

abi_struct! {
    /// A range of 512-byte sectors.
    pub struct SectorRange as blksnap_sectors, 16 {
        /// The first sector.
        pub offset: u64,
        /// Sectors.
        pub count: u64,
    }
}

abi_struct! {
    /// Marks ranges as changed, as a write to them would.
    pub struct CbtDirty as blksnap_cbtdirty, 16 {
        /// Entries at `dirty_sectors`.
        pub count: u32,
        /// Padding.
        pub _padding: [u8; 4],
        /// User pointer to an array of struct blksnap_sectors.
        pub dirty_sectors: u64,
    }
}

abi_struct! {
    /// Adds the device to a snapshot.
    pub struct SnapshotAdd as blksnap_snapshotadd, 16 {
        /// The snapshot's id.
        pub id: [u8; 16],
    }
}

abi_struct! {
    /// The device's image in its snapshot.
    pub struct SnapshotInfo as blksnap_snapshotinfo, 36 {
        /// 0, or the negative errno the snapshot failed with; -ENOSPC is an overflow.
        pub error_code: i32,
        /// The image's name under /dev, NUL-padded, or empty.
        pub image: [u8; BLKSNAP_IMAGE_NAME_LENGTH],
    }
}
