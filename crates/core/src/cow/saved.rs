// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which blocks may be written over: the question each write asks.

use alloc::vec::Vec;

use super::lazy::LazyCell;
use super::stripes::Stripes;
use crate::fallible::{bytes, filled};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::units::index;
use crate::{BlockRange, NoMemory};

/// Words in a page: 512 bytes of bits, for 16 MiB of the device. On a large device the first write nearly anywhere makes one, so that
/// it has to be small. A model checker has to remember each.
const PAGE_WORDS: usize = if cfg!(loom) { 1 } else { 64 };
/// Blocks in a page.
const PAGE_BLOCKS: u64 = 64 * PAGE_WORDS as u64;

/// The bits of 4096 blocks.
pub struct SavedPage {
    words: Vec<AtomicU64>,
    /// Blocks of the page that were copied ahead and not written yet: their bits are in a page of [`Saved::ahead`].
    ahead: AtomicU32,
}

impl SavedPage {
    fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            words: filled(PAGE_WORDS, AtomicU64::default)?,
            ahead: AtomicU32::new(0),
        })
    }

    #[inline]
    fn word(&self, word: usize) -> u64 {
        let word = self.words.get(word);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }
}

/// One bit a block: its content at the take is safe, a write may pass. Sparse; a page of bits is made when the first of its blocks is copied,
/// and none where all of them are given up.
///
/// Each epoch of a device's snapshots has its own; and each image has one more, for the blocks that it has of its own. `C` is the cell that holds a page, see [`LazyCell`].
///
/// Where a device has several engines, they set their bits beside each other, each those of its own [`Stripes`].
///
/// # Copied ahead
///
/// A block that was copied before anyone wrote to it has a second bit, which the write that comes clears and counts. Where nothing was copied ahead, a
/// write looks at nothing more for that than at the page that it looks at anyhow.
///
/// # Memory ordering
///
/// A bit is set with release ordering after the read of the old data has completed, and read with acquire ordering before the write
/// is passed on: no write that saw the bit can reach the disk before the old data was read from it. Bits are never cleared. A bit for "copied
/// ahead" is set before that of its block, so that a write that passes finds it.
pub struct Saved<C> {
    pages: Vec<C>,
    /// A bit for each page: it was given up as a whole before there was one, and all its bits are set. There will be none.
    given_up: Vec<AtomicU64>,
    blocks: u64,
    /// All blocks are free to be written, for ever: the snapshot failed or ends.
    released: AtomicBool,
    page_count: AtomicUsize,
    /// Bits of blocks that were copied ahead; no cells where nothing is.
    ahead: Vec<C>,
    stripes: Stripes,
    /// Blocks that were copied ahead and written since, by engine.
    used: Vec<AtomicU64>,
}

impl<C: LazyCell<SavedPage>> Saved<C> {
    /// For a device of `blocks` blocks that has one engine, none saved.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates two cells per 16 MiB of the device, which are a MiB per TiB, and 8 KiB per TiB; process context.
    pub fn new(blocks: u64) -> Result<Self, NoMemory> {
        Self::striped(blocks, Stripes::ONE)
    }

    /// [`Saved::new`], for a device that has several engines.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn striped(blocks: u64, stripes: Stripes) -> Result<Self, NoMemory> {
        let mut bits = Self::own(blocks)?;
        bits.ahead = filled(bits.pages.len(), C::default)?;
        bits.stripes = stripes;
        bits.used = filled(stripes.engines() as usize, AtomicU64::default)?;
        Ok(bits)
    }

    /// For what an image has of its own, where nothing is copied.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates a cell per 16 MiB of the device, half a MiB per TiB, and 8 KiB per TiB; process context.
    pub fn own(blocks: u64) -> Result<Self, NoMemory> {
        let pages = index(blocks.div_ceil(PAGE_BLOCKS));
        Ok(Self {
            pages: filled(pages, C::default)?,
            given_up: filled(pages.div_ceil(64), AtomicU64::default)?,
            blocks,
            released: AtomicBool::new(false),
            page_count: AtomicUsize::new(0),
            ahead: Vec::new(),
            stripes: Stripes::ONE,
            used: Vec::new(),
        })
    }

    /// Whether a write to all of `range` may pass. Blocks outside of the device do not count. Any context; no lock, no allocation.
    ///
    /// To be asked by each write that goes on if it may: what was copied ahead counts as used then.
    #[inline]
    pub fn covers(&self, range: BlockRange) -> bool {
        let range = range.clip(self.blocks);
        let mut ahead = 0;
        let all = for_words(range.start, range.end(), |at, word, mask| {
            let Some(page) = self.page(at) else {
                return self.is_given_up(at);
            };
            let set = page.word(word) & mask == mask;
            // Behind the word: whoever sees a block's bit sees that it was copied ahead.
            ahead |= page.ahead.load(Ordering::Relaxed);
            set
        });
        if ahead != 0 && all {
            self.use_up(range);
        }
        all || self.released.load(Ordering::Acquire)
    }

    /// Whether no write to any block of `range` was ever let pass: what was read from the origin before this says true is as it was at
    /// the take. Any context; no lock, no allocation.
    ///
    /// An image reads from the origin what is untouched in its epoch and in all later ones.
    #[inline]
    pub fn untouched(&self, range: BlockRange) -> bool {
        let range = range.clip(self.blocks);
        !self.released.load(Ordering::Acquire)
            && for_words(range.start, range.end(), |at, word, mask| {
                match self.page(at) {
                    Some(page) => page.word(word) & mask == 0,
                    None => !self.is_given_up(at),
                }
            })
    }

    /// From now on [`Saved::covers`] is true of every range. Any context.
    pub fn release_all(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Bytes of memory allocated.
    pub fn memory_bytes(&self) -> usize {
        let page = size_of::<SavedPage>() + PAGE_WORDS * size_of::<AtomicU64>();
        let cells = bytes(&self.pages) + bytes(&self.given_up) + bytes(&self.ahead);
        cells + bytes(&self.used) + self.page_count.load(Ordering::Relaxed) * page
    }

    /// How many blocks from `block` on are saved, as far as `max` and this one's group of 64: 0 if it is not.
    #[inline]
    pub(super) fn saved_run(&self, block: u64, max: u64) -> u64 {
        let word = self.word(block / 64) >> (block % 64);
        u64::from(word.trailing_ones()).min(max)
    }

    /// How many blocks from `block` on are not saved, at most `max`.
    pub(super) fn clear_run(&self, block: u64, max: u64) -> u64 {
        let (mut at, end) = (block, block.saturating_add(max));
        while at < end {
            let word = self.word(at / 64) >> (at % 64);
            if word != 0 {
                at += u64::from(word.trailing_zeros());
                break;
            }
            at = (at / 64 + 1) * 64;
        }
        at.min(end) - block
    }

    /// The bits of blocks `64 * word..` that are saved.
    pub(super) fn word(&self, word: u64) -> u64 {
        let at = word / (PAGE_BLOCKS / 64);
        match self.page(at) {
            Some(page) => page.word(index(word % (PAGE_BLOCKS / 64))),
            None if self.is_given_up(at) => u64::MAX,
            None => 0,
        }
    }

    /// The bits of blocks `64 * word..` that were copied ahead and not written since.
    pub(super) fn ahead_word(&self, word: u64) -> u64 {
        let page = self.ahead.get(index(word / (PAGE_BLOCKS / 64)));
        let page = page.and_then(C::get);
        page.map_or(0, |page| page.word(index(word % (PAGE_BLOCKS / 64))))
    }

    /// How many blocks that were copied ahead by the engine of `block` were written since.
    pub(super) fn used(&self, block: u64) -> u64 {
        let used = self.used.get(self.stripes.of(block));
        used.map_or(0, |used| used.load(Ordering::Relaxed))
    }

    /// Makes the pages in which [`Saved::set`] will set bits.
    #[inline]
    pub(super) fn prepare(&self, range: BlockRange) -> Result<(), NoMemory> {
        let page = range.start / PAGE_BLOCKS;
        let within = range.start % PAGE_BLOCKS + range.count <= PAGE_BLOCKS;
        // Nearly always.
        if within && self.page(page).is_some() {
            return Ok(());
        }
        self.make_pages(&self.pages, range)
    }

    /// Makes the pages in which [`Saved::set_ahead`] will set bits.
    pub(super) fn prepare_ahead(&self, range: BlockRange) -> Result<(), NoMemory> {
        self.make_pages(&self.ahead, range)
    }

    /// The old content of `range`, which was prepared, is in memory.
    pub(super) fn set(&self, range: BlockRange) {
        let range = range.clip(self.blocks);
        for_words(range.start, range.end(), |page, word, mask| {
            if let Some(word) = self.page(page).and_then(|page| page.words.get(word)) {
                word.fetch_or(mask, Ordering::Release);
            }
            true
        });
    }

    /// `range`, which was prepared for both kinds of bits and is not saved yet, will be copied though nobody writes there.
    pub(super) fn set_ahead(&self, range: BlockRange) {
        let range = range.clip(self.blocks);
        for_words(range.start, range.end(), |at, word, mask| {
            let ahead = self.ahead.get(index(at)).and_then(C::get);
            if let (Some(page), Some(ahead)) = (self.page(at), ahead) {
                page.ahead.fetch_add(mask.count_ones(), Ordering::Relaxed);
                if let Some(word) = ahead.words.get(word) {
                    word.fetch_or(mask, Ordering::Relaxed);
                }
            }
            true
        });
    }

    /// The old content of `range` is of no use: writes pass. Takes no memory for pages that lie in it as a whole. Without memory, some of it may be done.
    pub(super) fn give_up(&self, range: BlockRange) -> Result<(), NoMemory> {
        let range = range.clip(self.blocks);
        let mut at = range.start;
        while at < range.end() {
            let (page, first) = (at / PAGE_BLOCKS, at / PAGE_BLOCKS * PAGE_BLOCKS);
            let last = (first + PAGE_BLOCKS).min(self.blocks);
            let part = BlockRange {
                start: at,
                count: last.min(range.end()) - at,
            };
            let whole = part.start == first && part.end() == last;
            if whole && self.page(page).is_none() {
                let word = self.given_up.get(index(page / 64));
                word.map(|word| word.fetch_or(1 << (page % 64), Ordering::Release));
            } else {
                self.prepare(part)?;
                self.set(part);
            }
            at = part.end();
        }
        Ok(())
    }

    #[cold]
    fn make_pages(&self, cells: &[C], range: BlockRange) -> Result<(), NoMemory> {
        let range = range.clip(self.blocks);
        for page in range.start / PAGE_BLOCKS..range.end().div_ceil(PAGE_BLOCKS) {
            let Some(cell) = cells.get(index(page)) else {
                continue;
            };
            if cell.get().is_none() && !self.is_given_up(page) {
                let set = cell.set(SavedPage::new()?);
                // Another engine's, where a page has stripes of several, will do.
                if set.is_err() && cell.get().is_none() {
                    return Err(NoMemory);
                }
                self.page_count
                    .fetch_add(usize::from(set.is_ok()), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// A write to `range` passes: what was copied ahead there was of use.
    #[cold]
    fn use_up(&self, range: BlockRange) {
        for_words(range.start, range.end(), |at, number, mask| {
            let ahead = self.ahead.get(index(at)).and_then(C::get);
            let word = ahead.and_then(|ahead| ahead.words.get(number));
            // A look first: most writes find nothing, and the line stays shared.
            let word = word.filter(|word| word.load(Ordering::Relaxed) & mask != 0);
            if let (Some(page), Some(word)) = (self.page(at), word) {
                let found = (word.fetch_and(!mask, Ordering::Relaxed) & mask).count_ones();
                page.ahead.fetch_sub(found, Ordering::Relaxed);
                let block = at * PAGE_BLOCKS + number as u64 * 64;
                if let Some(used) = self.used.get(self.stripes.of(block)) {
                    used.fetch_add(u64::from(found), Ordering::Relaxed);
                }
            }
            true
        });
    }

    /// Whether all bits of a page that is not there are set. A page that is there is to be looked at first.
    #[inline]
    fn is_given_up(&self, page: u64) -> bool {
        let word = self.given_up.get(index(page / 64));
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
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
        let next = (at | 63) + 1;
        let mask = u64::MAX << (at % 64);
        if next >= end {
            // Nearly always the first.
            let mask = mask & u64::MAX >> (next - end);
            return each(at / PAGE_BLOCKS, index(at % PAGE_BLOCKS / 64), mask);
        }
        if !each(at / PAGE_BLOCKS, index(at % PAGE_BLOCKS / 64), mask) {
            return false;
        }
        at = next;
    }
    true
}
