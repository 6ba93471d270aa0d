// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Several engines for one device, so that processors that write to different parts of it do not wait for one lock.
//!
//! The device is cut into stripes of equal length, which belong to the engines in turns. Each engine is told of its own blocks alone, under a
//! lock of its own; all use the bits of the same [`Saved`]. Takes, ends and failures are told to all of them.
//!
//! A write that lies in several stripes is told to one engine after the other: the one that [`Stripes::part`] names holds it until its part is saved
//! and lets it go, and then it is offered again, as each write is that was held. Bits are only ever set, so that it gets on each time; and it holds
//! nothing of one engine while it waits for another.

use super::engine::{Limits, Policy};
use super::lazy::LazyCell;
use super::saved::{Saved, SavedPage};
use crate::BlockRange;

/// Blocks of a stripe: 128 MiB. Whole pages of bits, so that those of free space that lie in it take no memory.
const STRIPE_BLOCKS: u64 = 1 << 15;
/// Blocks of the pool that an engine has at least, where there are several: sixteen of the largest copies.
const LEAST_POOL: u32 = 1024;

/// Which engine a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripes {
    /// Of the length in blocks, its binary logarithm.
    shift: u32,
    /// The number of engines less one: all bits below a power of two.
    mask: u64,
}

impl Stripes {
    /// The shortest: what is copied ahead of a write is never more than the aligned 64 blocks around it.
    const SHORTEST: u64 = 64;
    /// The most engines.
    const MOST: u32 = 64;

    /// One engine for all: a stripe that no device fills.
    pub const ONE: Self = Self { shift: 63, mask: 0 };

    /// For up to `engines` engines, 1 to 64, and stripes of up to `blocks` blocks, 64 at least: the next lower powers of two.
    pub fn new(engines: u32, blocks: u64) -> Self {
        match engines.clamp(1, Self::MOST).ilog2() {
            0 => Self::ONE,
            engines => Self {
                shift: blocks.max(Self::SHORTEST).ilog2(),
                mask: (1 << engines) - 1,
            },
        }
    }

    /// For a device of `blocks` blocks, on a machine of so many processors, with `limits` for all engines together: stripes of 128 MiB, and as many engines
    /// as there are processors that could use them, each with 4 MiB of the pool at least. One, where a full pool costs the snapshots.
    pub fn fitting(blocks: u64, processors: u32, limits: &Limits) -> Self {
        let stripes = u32::try_from(blocks.div_ceil(STRIPE_BLOCKS)).unwrap_or(u32::MAX);
        let most = match limits.policy {
            Policy::Hold => limits.pool_blocks / LEAST_POOL,
            Policy::GiveUp => 1,
        };
        Self::new(processors.min(stripes).min(most), STRIPE_BLOCKS)
    }

    /// The bounds of one of the engines, of those for all together.
    #[must_use]
    pub fn share(self, limits: Limits) -> Limits {
        let pool_blocks = (limits.pool_blocks / self.engines()).max(1);
        Limits {
            pool_blocks,
            ..limits
        }
    }

    /// How many engines there are.
    pub fn engines(self) -> u32 {
        u32::try_from(self.mask).unwrap_or(0) + 1
    }

    /// The number of the engine that a block belongs to.
    #[inline]
    pub fn of(self, block: u64) -> usize {
        usize::try_from(block >> self.shift & self.mask).unwrap_or(0)
    }

    /// The blocks of `range` from the first on that belong to the same engine without a gap; all, where there is one engine.
    #[inline]
    pub fn first(self, range: BlockRange) -> BlockRange {
        let length = 1 << self.shift;
        let left = length - (range.start & (length - 1));
        BlockRange {
            start: range.start,
            count: range.count.min(left),
        }
    }

    /// The parts of `range` and the engines they belong to, in order.
    pub fn parts(self, range: BlockRange) -> impl Iterator<Item = (usize, BlockRange)> {
        let mut left = range;
        core::iter::from_fn(move || {
            let part = self.first(left);
            (left.start, left.count) = (part.end(), left.count - part.count);
            (part.count > 0).then(|| (self.of(part.start), part))
        })
    }

    /// The engine that is to be told of a write to `range`, and of which part of it: the first blocks that are not saved. Any context.
    #[inline]
    pub fn part<C: LazyCell<SavedPage>>(
        self,
        saved: &Saved<C>,
        range: BlockRange,
    ) -> (usize, BlockRange) {
        let part = self.first(range);
        if part.count == range.count {
            return (self.of(part.start), part);
        }
        self.first_unsaved(saved, range)
    }

    /// What the engine of number `which` is told of a write to `range` that it was given: [`Stripes::part`] if that is its own, else nothing, so that
    /// the write is let go at once, and offered again.
    pub fn part_of<C: LazyCell<SavedPage>>(
        self,
        which: usize,
        saved: &Saved<C>,
        range: BlockRange,
    ) -> BlockRange {
        let (engine, part) = self.part(saved, range);
        let count = if engine == which { part.count } else { 0 };
        BlockRange { count, ..part }
    }

    #[cold]
    fn first_unsaved<C: LazyCell<SavedPage>>(
        self,
        saved: &Saved<C>,
        range: BlockRange,
    ) -> (usize, BlockRange) {
        let mut start = range.start;
        while start < range.end() {
            match saved.saved_run(start, range.end() - start) {
                0 => break,
                run => start += run,
            }
        }
        // All were saved meanwhile: any engine will let it go.
        let start = if start < range.end() {
            start
        } else {
            range.start
        };
        let part = self.first(BlockRange {
            start,
            count: range.end() - start,
        });
        (self.of(start), part)
    }
}
