// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! What a 32-bit program on a 64-bit kernel sends, where that differs.
//!
//! A compiler for 32-bit x86 aligns a `__u64` to 4 bytes. So a struct of an odd number of 32-bit words ends without padding, and a
//! `__u64` behind such a number is not moved. Of the structs that existing clients know, this changes four: `blkfilter_attach` (44 bytes,
//! its fields where they are), and these. Ours, numbered from 64 up, are the same for both.

use crate::control::{SnapshotCollect, BLKSNAP_IOCTL_TYPE};
use crate::ctl::CbtDirty;
use crate::ioc;

/// Bytes of `blksnap_cbtinfo`: its fields are where they are.
pub const CBTINFO_SIZE: usize = 36;

/// `IOCTL_BLKSNAP_SNAPSHOT_COLLECT`.
pub const SNAPSHOT_COLLECT: u32 = ioc::ior::<SnapshotCollect32>(BLKSNAP_IOCTL_TYPE, 4);

abi_struct! {
    /// Marks ranges as changed.
    pub struct CbtDirty32 as blksnap_cbtdirty, 12 {
        /// Entries at `dirty_sectors`.
        pub count: u32,
        /// User pointer, a number of 64 bits.
        pub dirty_sectors: [u8; 8],
    }
}

abi_struct! {
    /// The ids of all snapshots.
    pub struct SnapshotCollect32 as blksnap_snapshot_collect, 12 {
        /// As in [`SnapshotCollect`].
        pub count: u32,
        /// User pointer, a number of 64 bits.
        pub ids: [u8; 8],
    }
}

impl From<CbtDirty32> for CbtDirty {
    fn from(asked: CbtDirty32) -> Self {
        Self {
            count: asked.count,
            dirty_sectors: u64::from_ne_bytes(asked.dirty_sectors),
            ..Self::ZERO
        }
    }
}

impl From<SnapshotCollect32> for SnapshotCollect {
    fn from(asked: SnapshotCollect32) -> Self {
        Self {
            count: asked.count,
            ids: u64::from_ne_bytes(asked.ids),
            ..Self::ZERO
        }
    }
}
