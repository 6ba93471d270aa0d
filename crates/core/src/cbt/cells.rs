// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The rank of each tracking block, in bit planes: as many as the ranks of a page need, and none where all its ranks are the same.
//!
//! A page has 4096 tracking blocks in 64 words. A rank of `w` bits is spread over `w` planes, so that ranks are compared, set and looked for
//! 64 blocks at a time.

use alloc::vec::Vec;

use crate::fallible::{bytes, filled};
use crate::units::index;
use crate::NoMemory;

/// Words of 64 tracking blocks in a page.
pub(super) const PAGE_WORDS: u64 = 64;
/// Tracking blocks in a page.
const PAGE_BLOCKS: u64 = PAGE_WORDS * 64;
/// Bytes of a plane of a page.
const PLANE_BYTES: usize = 512;
/// Planes that a page may always have.
const ALWAYS: u32 = 5;
/// Memory that a device may take for its cells, however small it is.
const LEAST_BYTES: usize = 64 << 10;

/// The planes of a page, word by word.
struct Planes(Vec<u64>);

impl Planes {
    fn new(width: u32) -> Result<Self, NoMemory> {
        Ok(Self(filled(width as usize * 64, || 0)?))
    }

    fn width(&self) -> usize {
        self.0.len() / 64
    }

    fn word(&self, word: usize) -> &[u64] {
        let width = self.width();
        self.0.get(word * width..(word + 1) * width).unwrap_or(&[])
    }

    /// Gives the blocks of a word whose bits are set in `mask` the rank `rank`, which the planes have room for.
    fn set(&mut self, word: usize, mask: u64, rank: u8) {
        let width = self.width();
        let planes = self.0.get_mut(word * width..(word + 1) * width);
        for (bit, plane) in planes.into_iter().flatten().enumerate() {
            *plane = if rank >> bit & 1 == 1 {
                *plane | mask
            } else {
                *plane & !mask
            };
        }
    }

    /// Calls `each` for every rank among the blocks of a word whose bits are set in `mask`, with their bits.
    fn ranks(&self, word: usize, mask: u64, each: &mut dyn FnMut(u8, u64)) {
        split(self.word(word), mask, 0, each);
    }
}

/// Halves `mask` by the highest plane, and so on.
fn split(planes: &[u64], mask: u64, rank: u8, each: &mut dyn FnMut(u8, u64)) {
    if mask == 0 {
        return;
    }
    match planes.split_last() {
        None => each(rank, mask),
        Some((plane, lower)) => {
            let bit = 1 << lower.len();
            split(lower, mask & !plane, rank, each);
            split(lower, mask & plane, rank | bit, each);
        }
    }
}

/// Bits of a rank, at least 1.
fn width_of(rank: u8) -> u32 {
    (8 - rank.leading_zeros()).max(1)
}

enum Page {
    Uniform(u8),
    Mixed(Planes),
}

/// The ranks of all tracking blocks, at first 0.
pub(super) struct Cells {
    pages: Vec<Page>,
    blocks: u64,
    /// Planes of all pages.
    planes: usize,
    /// Bytes that all of this may take.
    limit: usize,
}

impl Cells {
    /// For `blocks` tracking blocks. With the bits of [`Marks`](super::Marks), a byte a block is the bound.
    pub(super) fn new(blocks: u64) -> Result<Self, NoMemory> {
        let pages = index(blocks.div_ceil(PAGE_BLOCKS));
        Ok(Self {
            pages: filled(pages, || Page::Uniform(0))?,
            blocks,
            planes: 0,
            limit: index(blocks / 4 * 3)
                .saturating_sub(8 << 10)
                .max(LEAST_BYTES),
        })
    }

    pub(super) fn page_count(&self) -> u64 {
        u64::try_from(self.pages.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&self, block: u64) -> u8 {
        match self.pages.get(index(block / PAGE_BLOCKS)) {
            Some(Page::Uniform(rank)) => *rank,
            Some(Page::Mixed(planes)) => {
                let bit = |plane: &u64| *plane >> (block % 64) & 1 == 1;
                let planes = planes.word(index(block / 64 % PAGE_WORDS)).iter().rev();
                planes.fold(0, |rank, plane| rank << 1 | u8::from(bit(plane)))
            }
            None => 0,
        }
    }

    /// The blocks of word `word` (64 blocks) with a rank of at least `least`, as bits. `least` is not 0.
    pub(super) fn at_least(&self, word: u64, least: u8) -> u64 {
        match self.pages.get(index(word / PAGE_WORDS)) {
            Some(Page::Uniform(rank)) if *rank >= least => u64::MAX,
            Some(Page::Mixed(planes)) => {
                let planes = planes.word(index(word % PAGE_WORDS));
                if u32::from(least).checked_shr(small(planes.len())) != Some(0) {
                    // A rank of more bits than there are here.
                    return 0;
                }
                let (mut larger, mut equal) = (0, u64::MAX);
                for (bit, plane) in planes.iter().enumerate().rev() {
                    if least >> bit & 1 == 1 {
                        equal &= plane;
                    } else {
                        larger |= equal & plane;
                        equal &= !plane;
                    }
                }
                larger | equal
            }
            _ => 0,
        }
    }

    /// Gives the blocks of page `page` whose bits `marked(word)` has the rank `rank`. `false`, and nothing changes, if that would take more
    /// memory than all cells may. Nothing changes without memory.
    pub(super) fn set(
        &mut self,
        page: u64,
        rank: u8,
        marked: impl Fn(u64) -> u64,
    ) -> Result<bool, NoMemory> {
        let first = page * PAGE_WORDS;
        let whole = (first..first + PAGE_WORDS).all(|word| marked(word) == self.valid(word));
        let bytes = self.memory_bytes();
        let Some(page) = self.pages.get_mut(index(page)) else {
            return Ok(true);
        };
        let old = match page {
            Page::Uniform(_) => 0,
            Page::Mixed(planes) => planes.width(),
        };
        if whole {
            *page = Page::Uniform(rank);
            self.planes -= old;
            return Ok(true);
        }
        let width = match page {
            Page::Uniform(rank) => width_of(*rank),
            Page::Mixed(planes) => small(planes.width()),
        };
        let width = width.max(width_of(rank));
        let more = width as usize - old;
        if more > 0 {
            if width > ALWAYS && bytes + more * PLANE_BYTES > self.limit {
                return Ok(false);
            }
            let mut wide = Planes::new(width)?;
            for word in 0..64 {
                match page {
                    Page::Uniform(rank) => wide.set(word, u64::MAX, *rank),
                    Page::Mixed(planes) => {
                        let to = wide.0.iter_mut().skip(word * width as usize);
                        to.zip(planes.word(word)).for_each(|(to, from)| *to = *from);
                    }
                }
            }
            *page = Page::Mixed(wide);
            self.planes += more;
        }
        if let Page::Mixed(planes) = page {
            for (word, at) in (0..64).zip(first..) {
                planes.set(word, marked(at), rank);
            }
        }
        Ok(true)
    }

    /// Which ranks are in use.
    pub(super) fn used(&self) -> [bool; 256] {
        let mut used = [false; 256];
        for (at, page) in (0..).zip(&self.pages) {
            match page {
                Page::Uniform(rank) => used[usize::from(*rank)] = true,
                Page::Mixed(planes) => {
                    for word in 0..PAGE_WORDS {
                        let valid = self.valid(at * PAGE_WORDS + word);
                        planes.ranks(index(word), valid, &mut |rank, _| {
                            used[usize::from(rank)] = true;
                        });
                    }
                }
            }
        }
        used
    }

    /// Replaces each rank by `to[rank]`, which is no larger. Pages that then need fewer planes give their memory back, if there is some for the move.
    pub(super) fn renumber(&mut self, to: &[u8; 256]) {
        for at in 0..self.page_count() {
            let valid = |word| self.valid(at * PAGE_WORDS + word);
            let planes = match self.pages.get(index(at)) {
                Some(Page::Mixed(planes)) => planes,
                Some(Page::Uniform(rank)) => {
                    self.pages[index(at)] = Page::Uniform(to[usize::from(*rank)]);
                    continue;
                }
                None => continue,
            };
            let (mut least, mut most) = (u8::MAX, 0);
            for word in 0..PAGE_WORDS {
                planes.ranks(index(word), valid(word), &mut |rank, _| {
                    let rank = to[usize::from(rank)];
                    (least, most) = (least.min(rank), most.max(rank));
                });
            }
            let old = planes.width();
            if least == most {
                self.pages[index(at)] = Page::Uniform(most);
                self.planes -= old;
                continue;
            }
            let width = small(old).min(width_of(most));
            let Ok(mut fresh) = Planes::new(width).or_else(|_| Planes::new(small(old))) else {
                self.renumber_in_place(index(at), to);
                continue;
            };
            for word in 0..PAGE_WORDS {
                planes.ranks(index(word), valid(word), &mut |rank, mask| {
                    fresh.set(index(word), mask, to[usize::from(rank)]);
                });
            }
            self.planes -= old - fresh.width();
            self.pages[index(at)] = Page::Mixed(fresh);
        }
    }

    /// For a page, without memory: a word's ranks are gathered before they are replaced.
    fn renumber_in_place(&mut self, page: usize, to: &[u8; 256]) {
        if let Some(Page::Mixed(planes)) = self.pages.get_mut(page) {
            for word in 0..64 {
                let (mut found, mut count) = ([(0, 0); 64], 0);
                planes.ranks(word, u64::MAX, &mut |rank, mask| {
                    found[count] = (rank, mask);
                    count += 1;
                });
                for (rank, mask) in found.iter().take(count) {
                    planes.set(word, *mask, to[usize::from(*rank)]);
                }
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.pages) + self.planes * PLANE_BYTES
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

/// A number of planes.
fn small(planes: usize) -> u32 {
    u32::try_from(planes).unwrap_or(u32::MAX)
}
