// SPDX-License-Identifier: GPL-2.0-only

//! The memory of copies: pages set aside when the chain is made, so that a copy needs no memory. Which ones it gets is decided in core.

use alloc::vec::Vec;

use blksnap_core::cow::{self, CopyId};
use kern::errno::{Errno, Result};
use kern::page::{Page, PAGE_SIZE};

/// Pages, and which of them each copy has.
#[derive(Default)]
pub(super) struct Frames {
    pages: Vec<Page>,
    frames: cow::Frames,
}

impl Frames {
    /// With `count` pages, all free. Sleeps; `ENOMEM`.
    pub(super) fn new(count: u32) -> Result<Frames> {
        let mut pages = super::reserved(count)?;
        Page::fill_rows(&mut pages, count as usize, true);
        if pages.len() < count as usize {
            return Err(Errno::ENOMEM);
        }
        let frames = cow::Frames::new(count).map_err(|_| Errno::ENOMEM)?;
        Ok(Frames { pages, frames })
    }

    /// Gives `count` pages to a copy. `false`: there are not as many.
    pub(super) fn take(&mut self, copy: CopyId, count: u32) -> bool {
        self.frames.take(copy, count)
    }

    /// Takes a copy's pages back.
    pub(super) fn give_back(&mut self, copy: CopyId) {
        self.frames.give_back(copy);
    }

    /// The pages of a copy, in the order of its blocks.
    pub(super) fn of(&self, copy: CopyId) -> impl Iterator<Item = &Page> {
        self.frames.row(copy).filter_map(|frame| self.pages.get(frame as usize))
    }

    /// Exchanges each page of a copy for a fresh one, the last first, and gives the old ones to `keep`, in the order of its blocks.
    pub(super) fn replace(&mut self, copy: CopyId, fresh: &mut Vec<Page>, mut keep: impl FnMut(Page) -> Result) -> Result {
        for frame in self.frames.row(copy) {
            let page = self.pages.get_mut(frame as usize).ok_or(Errno::EIO)?;
            keep(core::mem::replace(page, fresh.pop().ok_or(Errno::EIO)?))?;
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.len() as u64 * u64::from(PAGE_SIZE) + self.frames.memory_bytes() as u64
    }
}
