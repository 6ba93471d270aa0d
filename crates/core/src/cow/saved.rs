// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which blocks may be written over: the question each write asks.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::lazy::LazyCell;
use crate::fallible::{bytes, filled};
use crate::units::{bits, index};
use crate::{BlockRange, NoMemory};

/// Words in a page: 4 KiB of bits, for 128 MiB of the device.
const PAGE_WORDS: usize = 512;
/// Blocks in a page.
const PAGE_BLOCKS: u64 = 512 * 64;

/// The bits of 32768 blocks.
pub struct SavedPage(Vec<AtomicU64>);

/// One bit a block: its content at the take is safe, a write may pass. Sparse; a page of bits is made when the first of its blocks is copied.
///
/// `C` is the cell that holds a page, see [`LazyCell`].
///
/// # Memory ordering
///
/// A bit is set with release ordering after the read of the old data has completed, and read with acquire ordering before the write
/// is passed on: no write that saw the bit can reach the disk before the old data was read from it. Bits are never cleared.
pub struct Saved<C> {
    pages: Vec<C>,
    blocks: u64,
    /// All blocks are free to be written, for ever: the snapshot failed or ends.
    released: AtomicBool,
    page_count: AtomicUsize,
}

impl<C: LazyCell<SavedPage>> Saved<C> {
    /// For a device of `blocks` blocks, none saved.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates one cell per 128 MiB of the device; process context.
    pub fn new(blocks: u64) -> Result<Self, NoMemory> {
        let pages = filled(index(blocks.div_ceil(PAGE_BLOCKS)), C::default)?;
        Ok(Self {
            pages,
            blocks,
            released: AtomicBool::new(false),
            page_count: AtomicUsize::new(0),
        })
    }

    /// Whether a write to all of `range` may pass. Blocks outside of the device do not count. Any context; no lock, no allocation.
    #[inline]
    pub fn covers(&self, range: BlockRange) -> bool {
        let range = range.clip(self.blocks);
        self.all_set(range.start, range.end()) || self.released.load(Ordering::Acquire)
    }

    /// Whether no write to any block of `range` was ever let pass: what was read from the origin before this says true is as it was at
    /// the take. Any context; no lock, no allocation.
    #[inline]
    pub fn untouched(&self, range: BlockRange) -> bool {
        let range = range.clip(self.blocks);
        !self.released.load(Ordering::Acquire)
            && for_words(range.start, range.end(), |page, word, mask| {
                let word = self.page(page).and_then(|page| page.0.get(word));
                word.is_none_or(|word| word.load(Ordering::Acquire) & mask == 0)
            })
    }

    /// From now on [`Saved::covers`] is true of every range. Any context.
    pub fn release_all(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Bytes of memory allocated.
    pub fn memory_bytes(&self) -> usize {
        let page = size_of::<SavedPage>() + PAGE_WORDS * size_of::<AtomicU64>();
        bytes(&self.pages) + self.page_count.load(Ordering::Relaxed) * page
    }

    /// Makes the pages in which [`Saved::set`] will set bits. One caller at a time.
    pub(super) fn prepare(&self, range: BlockRange) -> Result<(), NoMemory> {
        let range = range.clip(self.blocks);
        for page in range.start / PAGE_BLOCKS..range.end().div_ceil(PAGE_BLOCKS) {
            let Some(cell) = self.pages.get(index(page)) else {
                continue;
            };
            if cell.get().is_none() {
                cell.set(SavedPage(filled(PAGE_WORDS, AtomicU64::default)?))
                    .map_err(|_| NoMemory)?;
                self.page_count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The old content of `range`, which was prepared, is in memory.
    pub(super) fn set(&self, range: BlockRange) {
        let range = range.clip(self.blocks);
        for_words(range.start, range.end(), |page, word, mask| {
            if let Some(word) = self.page(page).and_then(|page| page.0.get(word)) {
                word.fetch_or(mask, Ordering::Release);
            }
            true
        });
    }

    #[inline]
    fn all_set(&self, start: u64, end: u64) -> bool {
        for_words(start, end, |page, word, mask| {
            let word = self.page(page).and_then(|page| page.0.get(word));
            word.is_some_and(|word| word.load(Ordering::Acquire) & mask == mask)
        })
    }

    #[inline]
    fn page(&self, page: u64) -> Option<&SavedPage> {
        self.pages.get(index(page)).and_then(C::get)
    }
}

/// Calls `each(page, word, mask)` for the words that blocks `start..end` touch, until it says no. Whether it never did.
#[inline]
fn for_words(start: u64, end: u64, mut each: impl FnMut(u64, usize, u64) -> bool) -> bool {
    let mut at = start;
    while at < end {
        let next = (at / 64 * 64 + 64).min(end);
        let mask = bits(at % 64, at % 64 + (next - at));
        if !each(at / PAGE_BLOCKS, index(at % PAGE_BLOCKS / 64), mask) {
            return false;
        }
        at = next;
    }
    true
}
