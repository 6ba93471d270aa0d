// SPDX-License-Identifier: GPL-2.0-only

//! Difference storage in memory: the pages that the old content was read into stay, and are not copied.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::page::{Page, Row, PAGE_SIZE};
use kern::sync::{Class, Mutex};
use kern::vec::TryPush;

/// Pages in a part of the table, so that it grows without moving.
const PART: usize = 512;

/// Pages by slot.
pub(crate) struct Memory {
    parts: Mutex<Vec<Vec<Option<Page>>>>,
    pages: AtomicU64,
}

impl Memory {
    pub(crate) fn new() -> Result<Memory> {
        Ok(Memory { parts: Mutex::new(Class::Store, Vec::new())?, pages: AtomicU64::new(0) })
    }

    /// Keeps a page under a slot. `ENOMEM`: the page is lost, and so is who needed it. Without reclaim, as writers may wait for the lock.
    pub(crate) fn put(&self, slot: u64, page: Page) -> Result {
        kern::file::without_reclaim(|| self.put_now(slot, page))
    }

    fn put_now(&self, slot: u64, page: Page) -> Result {
        let mut parts = self.parts.lock();
        let part = slot as usize / PART;
        while parts.len() <= part {
            let fresh = kern::alloc::try_vec_with(PART, || None)?;
            parts.try_push(fresh).map_err(|_| Errno::ENOMEM)?;
        }
        let place = parts.get_mut(part).and_then(|p| p.get_mut(slot as usize % PART)).ok_or(Errno::EIO)?;
        if place.replace(page).is_none() {
            self.pages.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Another handle on a slot's page.
    pub(crate) fn page(&self, slot: u64) -> Result<Page> {
        let parts = self.parts.lock();
        let page = parts.get(slot as usize / PART).and_then(|p| p.get(slot as usize % PART)).and_then(Option::as_ref);
        page.map(Page::share).ok_or(Errno::EIO)
    }

    /// Moves `len` bytes between the slots, from byte `pos` of them, and the bio's data, from its byte `from`.
    pub(crate) fn transfer(&self, write: bool, pos: u64, bio: &Bio, from: u32, len: u32) -> Result {
        let mut done = 0;
        while done < len {
            let pos = pos + u64::from(done);
            let (slot, at) = (pos / u64::from(PAGE_SIZE), (pos % u64::from(PAGE_SIZE)) as u32);
            done += if write {
                let n = (len - done).min(PAGE_SIZE - at);
                self.page(slot)?.copy_from(at, bio, from + done, n);
                n
            } else {
                let most = (len - done).min(Row::MOST as u32 * PAGE_SIZE) + at;
                let row = self.row(slot, most.div_ceil(PAGE_SIZE))?;
                let n = (len - done).min(row.len() * PAGE_SIZE - at);
                row.copy_to(at, bio, from + done, n);
                n
            };
        }
        Ok(())
    }

    /// The pages of some slots from `slot` on: at least one, at most `most`. One after the other in one part of the table.
    fn row(&self, slot: u64, most: u32) -> Result<Row> {
        let parts = self.parts.lock();
        let part = parts.get(slot as usize / PART).and_then(|part| part.get(slot as usize % PART..)).unwrap_or_default();
        let row = Row::of(part.iter().take(most as usize).map_while(Option::as_ref));
        if row.is_empty() {
            return Err(Errno::EIO);
        }
        Ok(row)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages.load(Ordering::Relaxed) * u64::from(PAGE_SIZE)
    }
}
