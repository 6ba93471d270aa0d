// SPDX-License-Identifier: GPL-2.0-only

//! The memory of copies: pages set aside when the chain is made, linked by their numbers, so that a copy needs no memory.

use alloc::vec::Vec;

use blksnap_core::cow::CopyId;
use kern::errno::{Errno, Result};
use kern::page::{Page, PAGE_SIZE};

/// The end of a row.
const NONE: u32 = u32::MAX;

/// Pages, each in one row: that of a copy, or of those that are free.
#[derive(Default)]
pub(super) struct Frames {
    pages: Vec<Page>,
    /// The number behind each in its row.
    next: Vec<u32>,
    /// The first of each copy, and how many.
    copies: Vec<(u32, u32)>,
    free: u32,
}

impl Frames {
    /// With `count` pages, all free. Sleeps; `ENOMEM`.
    pub(super) fn new(count: u32) -> Result<Frames> {
        let mut pages = super::reserved(count)?;
        Page::fill(&mut pages, count as usize, true);
        if pages.len() < count as usize {
            return Err(Errno::ENOMEM);
        }
        let mut following = 0;
        let next = kern::alloc::try_vec_with(count as usize, || {
            following += 1;
            if following < count {
                following
            } else {
                NONE
            }
        })?;
        let copies = kern::alloc::try_vec(count as usize, (NONE, 0))?;
        Ok(Frames { pages, next, copies, free: if count > 0 { 0 } else { NONE } })
    }

    /// Gives `count` pages to a copy. `false`: there are not as many.
    pub(super) fn take(&mut self, copy: CopyId, count: u32) -> bool {
        let (first, mut last, mut at) = (self.free, NONE, self.free);
        for _ in 0..count {
            let Some(&next) = self.next.get(at as usize) else { return false };
            (last, at) = (at, next);
        }
        let (Some(end), Some(entry)) = (self.next.get_mut(last as usize), self.copies.get_mut(copy.0 as usize)) else {
            return false;
        };
        *end = NONE;
        *entry = (first, count);
        self.free = at;
        true
    }

    /// Takes a copy's pages back.
    pub(super) fn give_back(&mut self, copy: CopyId) {
        let Some(entry) = self.copies.get_mut(copy.0 as usize) else { return };
        let (first, _) = core::mem::replace(entry, (NONE, 0));
        let mut last = first;
        while let Some(&next) = self.next.get(last as usize) {
            if next == NONE {
                break;
            }
            last = next;
        }
        if let Some(end) = self.next.get_mut(last as usize) {
            *end = self.free;
            self.free = first;
        }
    }

    /// The pages of a copy, in the order of its blocks.
    pub(super) fn of(&self, copy: CopyId) -> Row<'_> {
        let (at, left) = self.copies.get(copy.0 as usize).copied().unwrap_or((NONE, 0));
        Row { frames: self, at, left }
    }

    /// Exchanges each page of a copy for a fresh one, and gives the old ones to `keep`, in the order of its blocks.
    pub(super) fn replace(&mut self, copy: CopyId, fresh: &mut Vec<Page>, mut keep: impl FnMut(Page) -> Result) -> Result {
        let (mut at, count) = self.copies.get(copy.0 as usize).copied().unwrap_or((NONE, 0));
        for _ in 0..count {
            let page = self.pages.get_mut(at as usize).ok_or(Errno::EIO)?;
            keep(core::mem::replace(page, fresh.pop().ok_or(Errno::EIO)?))?;
            at = self.next.get(at as usize).copied().unwrap_or(NONE);
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.len() as u64 * u64::from(PAGE_SIZE) + (self.next.capacity() * 4 + self.copies.capacity() * 8) as u64
    }
}

/// The pages of a copy.
pub(super) struct Row<'a> {
    frames: &'a Frames,
    at: u32,
    left: u32,
}

impl<'a> Iterator for Row<'a> {
    type Item = &'a Page;

    fn next(&mut self) -> Option<&'a Page> {
        let at = self.at as usize;
        self.left = self.left.checked_sub(1)?;
        self.at = self.frames.next.get(at).copied().unwrap_or(NONE);
        self.frames.pages.get(at)
    }
}
