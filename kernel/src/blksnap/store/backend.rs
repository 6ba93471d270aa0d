// SPDX-License-Identifier: GPL-2.0-only

//! What the slots of a difference storage are, and the I/O of those who wait for it. Everything here sleeps.

use kern::bdev::{BlockDevice, Open};
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::file::File;
use kern::io::{Io, Pool};
use kern::page::Page;

use super::extents::Extents;
use super::memory::Memory;
use super::SLOT;
use crate::image::Cut;

/// What the slots are.
pub(crate) enum Backend {
    /// Pages.
    Memory(Memory),
    /// A file, by its I/O functions.
    File(File),
    /// A block device that is ours alone.
    Device(Open),
    /// A file, by its blocks.
    Extents(Extents),
}

impl Backend {
    /// Where a slot lies on a block device, when it does so for us: the device, the sector, and how many of `max` slots follow there.
    pub(crate) fn on_device(&self, slot: u64, max: u64) -> Option<(&BlockDevice, u64, u64)> {
        match self {
            Backend::Memory(_) | Backend::File(_) => None,
            Backend::Device(device) => Some((device, slot * (SLOT / 512), max)),
            Backend::Extents(extents) => extents.find(slot, max).map(|(sector, run)| (extents.device(), sector, run)),
        }
    }

    /// Moves `len` bytes between the slots from `slot` on, from byte `skip` of them, and a bio's data, from its byte `from`.
    pub(crate) fn transfer(&self, pool: &Pool, write: bool, slot: u64, skip: u64, bio: &Bio, from: u32, len: u32) -> Result {
        let (mut pos, mut from, mut left) = (slot * SLOT + skip, from, len);
        match self {
            Backend::Memory(memory) => return memory.transfer(write, pos, bio, from, len),
            Backend::File(file) => return file.transfer(write, pos, bio, from, len),
            Backend::Device(_) | Backend::Extents(_) => {}
        }
        while left > 0 {
            let skip = pos % SLOT;
            let slots = (skip + u64::from(left)).div_ceil(SLOT);
            let (device, sector, run) = self.on_device(pos / SLOT, slots).ok_or(Errno::EIO)?;
            let n = u64::from(left).min(run * SLOT - skip) as u32;
            Io::part(pool, device, bio, (from, n), write, sector + skip / 512, true)?.run()?;
            (pos, from, left) = (pos + u64::from(n), from + n, left - n);
        }
        Ok(())
    }

    /// Puts a bio's data into fresh slots: its `len` bytes from byte `from`, whole slots.
    pub(crate) fn fill(&self, pool: &Pool, slot: u64, bio: &Bio, from: u32, len: u32) -> Result {
        let Backend::Memory(memory) = self else { return self.transfer(pool, true, slot, 0, bio, from, len) };
        for at in 0..u64::from(len) / SLOT {
            let mut page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
            page.copy_from(0, bio, from + (at * SLOT) as u32, SLOT as u32);
            memory.put(slot + at, page)?;
        }
        Ok(())
    }

    /// Reads one slot.
    pub(crate) fn read_page(&self, pool: &Pool, slot: u64, page: &mut Page) -> Result {
        match self {
            Backend::Memory(memory) => page.copy_of(&memory.page(slot)?),
            Backend::File(file) => return file.read_page(slot * SLOT, page),
            Backend::Device(_) | Backend::Extents(_) => return self.page_io(pool, false, slot, page),
        }
        Ok(())
    }

    /// Writes one slot.
    pub(crate) fn write_page(&self, pool: &Pool, slot: u64, page: Page) -> Result {
        match self {
            Backend::Memory(memory) => memory.put(slot, page),
            Backend::File(file) => file.write_page(slot * SLOT, &page),
            Backend::Device(_) | Backend::Extents(_) => self.page_io(pool, true, slot, &page),
        }
    }

    fn page_io(&self, pool: &Pool, write: bool, slot: u64, page: &Page) -> Result {
        let (device, sector, _) = self.on_device(slot, 1).ok_or(Errno::EIO)?;
        Io::pages(pool, device, write, sector, SLOT, true, core::iter::once(page))?.run()
    }

    /// Whether the data of an image's request may be moved there as it is; `asks` is what all requests of the image suit.
    pub(crate) fn suits(&self, asks: (u32, u32), at: &Cut) -> bool {
        let (logical, dma) = self.asks();
        dma & !asks.1 == 0 && (logical <= asks.0 || (at.skip | u64::from(at.len)) % u64::from(logical) == 0)
    }

    /// What its I/O has to suit: bytes of a logical block, and how memory is to be aligned, as a mask.
    pub(crate) fn asks(&self) -> (u32, u32) {
        let of = |device: &BlockDevice| (device.logical_block(), device.dma_mask());
        match self {
            Backend::Memory(_) => (512, 0),
            Backend::File(file) if !file.is_direct() => (512, 0),
            Backend::File(file) => file.on_device(of).unwrap_or((512, 0)),
            Backend::Device(device) => of(device),
            Backend::Extents(extents) => of(extents.device()),
        }
    }
}
