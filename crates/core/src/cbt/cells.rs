// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! One byte a tracking block, in pages; a page whose bytes are all the same takes no memory.

use alloc::vec::Vec;

use crate::fallible::{bytes, filled};
use crate::units::index;
use crate::NoMemory;

/// Words of 64 tracking blocks in a page.
pub(super) const PAGE_WORDS: u64 = 64;
/// Tracking blocks in a page.
const PAGE_BLOCKS: u64 = PAGE_WORDS * 64;

enum Page {
    Uniform(u8),
    Mixed(Vec<u8>),
}

/// The ranks of all tracking blocks, at first 0.
pub(super) struct Cells {
    pages: Vec<Page>,
    blocks: u64,
}

impl Cells {
    pub(super) fn new(blocks: u64) -> Result<Self, NoMemory> {
        let pages = index(blocks.div_ceil(PAGE_BLOCKS));
        Ok(Self {
            pages: filled(pages, || Page::Uniform(0))?,
            blocks,
        })
    }

    pub(super) fn page_count(&self) -> u64 {
        u64::try_from(self.pages.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&self, block: u64) -> u8 {
        match self.pages.get(index(block / PAGE_BLOCKS)) {
            Some(Page::Uniform(rank)) => *rank,
            Some(Page::Mixed(cells)) => cells.get(index(block % PAGE_BLOCKS)).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// The blocks of word `word` (64 blocks) with a rank of at least `least`, as bits. `least` is not 0.
    pub(super) fn at_least(&self, word: u64, least: u8) -> u64 {
        match self.pages.get(index(word / PAGE_WORDS)) {
            Some(Page::Uniform(rank)) if *rank >= least => u64::MAX,
            Some(Page::Mixed(cells)) => {
                let from = index(word % PAGE_WORDS * 64);
                let cells = cells.get(from..from + 64).unwrap_or_default();
                cells
                    .iter()
                    .rev()
                    .fold(0, |mask, cell| mask << 1 | u64::from(*cell >= least))
            }
            _ => 0,
        }
    }

    /// Gives the blocks of page `page` whose bits `marked(word)` has the rank `rank`. Nothing changes without memory.
    pub(super) fn set(
        &mut self,
        page: u64,
        rank: u8,
        marked: impl Fn(u64) -> u64,
    ) -> Result<(), NoMemory> {
        let first = page * PAGE_WORDS;
        let whole = (first..first + PAGE_WORDS).all(|word| marked(word) == self.valid(word));
        let Some(page) = self.pages.get_mut(index(page)) else {
            return Ok(());
        };
        if whole {
            *page = Page::Uniform(rank);
            return Ok(());
        }
        if let Page::Uniform(old) = *page {
            *page = Page::Mixed(filled(index(PAGE_BLOCKS), || old)?);
        }
        if let Page::Mixed(cells) = page {
            for (word, cells) in (first..).zip(cells.chunks_exact_mut(64)) {
                let mut mask = marked(word);
                while mask != 0 {
                    if let Some(cell) = cells.get_mut(mask.trailing_zeros() as usize) {
                        *cell = rank;
                    }
                    mask &= mask - 1;
                }
            }
        }
        Ok(())
    }

    /// Which ranks are in use.
    pub(super) fn used(&self) -> [bool; 256] {
        let mut used = [false; 256];
        for page in &self.pages {
            match page {
                Page::Uniform(rank) => used[usize::from(*rank)] = true,
                Page::Mixed(cells) => cells
                    .iter()
                    .for_each(|rank| used[usize::from(*rank)] = true),
            }
        }
        used
    }

    /// Replaces each rank by `to[rank]`. Pages that became uniform give their memory back.
    pub(super) fn renumber(&mut self, to: &[u8; 256]) {
        for page in &mut self.pages {
            match page {
                Page::Uniform(rank) => *rank = to[usize::from(*rank)],
                Page::Mixed(cells) => {
                    cells
                        .iter_mut()
                        .for_each(|rank| *rank = to[usize::from(*rank)]);
                    let first = cells.first().copied().unwrap_or(0);
                    if cells.iter().all(|rank| *rank == first) {
                        *page = Page::Uniform(first);
                    }
                }
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let mixed = |page: &Page| {
            if let Page::Mixed(cells) = page {
                bytes(cells)
            } else {
                0
            }
        };
        bytes(&self.pages) + self.pages.iter().map(mixed).sum::<usize>()
    }

    /// The bits of word `word` that stand for blocks of the device.
    pub(super) fn valid(&self, word: u64) -> u64 {
        match self.blocks.saturating_sub(word * 64) {
            0 => 0,
            left if left < 64 => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}
