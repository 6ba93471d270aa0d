// SPDX-License-Identifier: GPL-2.0-only

//! The change tracking of one generation of a device.

use alloc::sync::Arc;

use blksnap_core::cbt::{History, Marks};
use kern::bdev::BlockDevice;
use kern::errno::{Errno, Result};
use kern::misc::{param, uuid, Param};
use kern::sync::{Class, Mutex};

/// From the attach, or a change of the device's size or medium, until the next.
pub(crate) struct Tracking {
    /// Size of the device.
    pub(crate) sectors: u64,
    /// Its medium.
    sequence: u64,
    /// Set by each write. Outside of a write, only with the history locked.
    pub(crate) marks: Marks,
    pub(crate) history: Mutex<History>,
}

impl Tracking {
    /// A new generation, with no changes. Sleeps.
    pub(crate) fn new(device: &BlockDevice) -> Result<Arc<Tracking>> {
        let (sectors, sequence) = (device.sectors(), device.sequence());
        let marks = Marks::new(sectors, tracking_shift(sectors)).map_err(|_| Errno::ENOMEM)?;
        let history = History::new(&marks, uuid(), uuid()).map_err(|_| Errno::ENOMEM)?;
        kern::alloc::try_arc(Tracking { sectors, sequence, marks, history: Mutex::new(Class::History, history)? })
    }

    /// Whether the device is still the one that is tracked: the same size, the same medium.
    pub(crate) fn fits(&self, device: &BlockDevice) -> bool {
        self.sectors == device.sectors() && self.sequence == device.sequence()
    }

    /// Bytes of the device.
    pub(crate) fn capacity(&self) -> u64 {
        self.sectors * 512
    }

    /// Bytes of a tracking block.
    pub(crate) fn block_size(&self) -> u32 {
        (self.marks.block_sectors() * 512) as u32
    }

    /// Marks a range as changed, outside of a write. Sleeps.
    pub(crate) fn mark(&self, sector: u64, sectors: u64) {
        let _history = self.history.lock();
        self.marks.mark(sector, sectors);
    }
}

/// The tracking block, as a power of two of bytes: the parameter, larger only if a maximum count of blocks asks for it.
fn tracking_shift(sectors: u64) -> u32 {
    let least = param(Param::TrackingShift).clamp(12, 26);
    let most = param(Param::TrackingMaximumShift).clamp(least, 26);
    let count = u64::from(param(Param::TrackingMaximumCount));
    let mut shift = least;
    while count != 0 && shift < most && (sectors * 512).div_ceil(1 << shift) > count {
        shift += 1;
    }
    shift
}
