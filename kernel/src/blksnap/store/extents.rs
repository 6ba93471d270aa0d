// SPDX-License-Identifier: GPL-2.0-only

//! Difference storage in a file on a tracked file system: by its blocks, past the file system.
//!
//! The file is pinned, so that its blocks stay its own; what is written there goes to the device as our own I/O, which nobody tracks,
//! copies or freezes. At a take the ranges are left out of the image (see `take/part.rs`): they read as zeros there.

use alloc::vec::Vec;

use kern::bdev::BlockDevice;
use kern::errno::{Errno, Result};
use kern::pin::Pin;
use kern::vec::TryPush;

use super::SLOT;

/// Sectors of a slot.
const SECTORS: u64 = SLOT / 512;

/// Slots that follow each other on the device.
struct Extent {
    slot: u64,
    sector: u64,
    slots: u64,
}

/// A pinned file.
pub(crate) struct Extents {
    table: Vec<Extent>,
    slots: u64,
    pin: Pin,
}

impl Extents {
    /// The file behind a descriptor; with `wanted`, in bytes on its device, only the part of its blocks that lies in there. `EINVAL`: a
    /// wanted range is none of the file's, or not of whole slots, or reaches past the device, or two of them meet. Sleeps, with I/O.
    pub(crate) fn new(fd: i32, wanted: &[(u64, u64)]) -> Result<Extents> {
        let pin = Pin::new(fd)?;
        let device_slots = pin.device().sectors() / SECTORS;
        let mut own = Vec::new();
        for (start, slots) in pin.extents() {
            if start.checked_add(slots).is_none_or(|end| end > device_slots) {
                return Err(Errno::EINVAL);
            }
            own.try_push((start, slots)).map_err(|_| Errno::ENOMEM)?;
        }
        let mut made = Extents { table: Vec::new(), slots: 0, pin };
        if wanted.is_empty() {
            for &(start, slots) in &own {
                made.push(start, slots)?;
            }
        }
        own.sort_unstable();
        for &(offset, length) in wanted {
            let (start, slots) = (offset / SLOT, length / SLOT);
            if offset % SLOT != 0 || length % SLOT != 0 || length == 0 || !within(&own, start, slots) {
                return Err(Errno::EINVAL);
            }
            made.push(start, slots)?;
        }
        let mut order = Vec::new();
        for extent in &made.table {
            order.try_push((extent.sector, extent.slots * SECTORS)).map_err(|_| Errno::ENOMEM)?;
        }
        order.sort_unstable();
        if order.windows(2).any(|pair| matches!(pair, [a, b] if a.0 + a.1 > b.0)) {
            return Err(Errno::EINVAL);
        }
        Ok(made)
    }

    fn push(&mut self, start: u64, slots: u64) -> Result {
        let extent = Extent { slot: self.slots, sector: start * SECTORS, slots };
        self.slots += slots;
        self.table.try_push(extent).map_err(|_| Errno::ENOMEM)
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// The device that the file is on.
    pub(crate) fn device(&self) -> &BlockDevice {
        self.pin.device()
    }

    pub(crate) fn same(&self, other: &Extents) -> bool {
        self.pin.same(&other.pin)
    }

    /// Where a slot is on the device, and how many of the `max` from it on follow it there.
    pub(crate) fn find(&self, slot: u64, max: u64) -> Option<(u64, u64)> {
        let after = self.table.partition_point(|e| e.slot <= slot);
        let extent = self.table.get(after.checked_sub(1)?)?;
        let skip = slot - extent.slot;
        (skip < extent.slots).then(|| (extent.sector + skip * SECTORS, max.min(extent.slots - skip)))
    }

    /// The ranges that lie on `device`, as first sector from its start and sectors.
    pub(crate) fn ranges_on<'a>(&'a self, device: &'a BlockDevice) -> impl Iterator<Item = (u64, u64)> + 'a {
        let own = self.device();
        let both = own.overlaps(device);
        let (base, from, sectors) = (own.start(), device.start(), device.sectors());
        self.table.iter().filter(move |_| both).filter_map(move |extent| {
            let first = (base + extent.sector).max(from);
            let end = (base + extent.sector + extent.slots * SECTORS).min(from + sectors);
            (first < end).then(|| (first - from, end - first))
        })
    }
}

/// Whether the slots lie in the sorted extents, which may touch.
fn within(own: &[(u64, u64)], start: u64, slots: u64) -> bool {
    let Some(end) = start.checked_add(slots) else { return false };
    let mut at = start;
    for &(first, count) in own {
        if first <= at && at < first + count {
            at = first + count;
        }
        if at >= end {
            return true;
        }
    }
    false
}
