// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Units of length and place.

/// Sectors (512 bytes) in a block, the unit of copy on write: 4 KiB.
pub const BLOCK_SECTORS: u64 = 8;

/// A run of copy-on-write blocks, `start..start + count`.
///
/// Blocks are counted from the start of the device. The last block of a device may be shorter than [`BLOCK_SECTORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// First block.
    pub start: u64,
    /// Number of blocks; 0 is an empty range.
    pub count: u64,
}

impl BlockRange {
    /// The blocks that the `sectors` sectors from `sector` touch, rounded outward. Never overflows.
    pub fn of_sectors(sector: u64, sectors: u64) -> Self {
        let start = sector / BLOCK_SECTORS;
        if sectors == 0 {
            return Self { start, count: 0 };
        }
        let last = sector.saturating_add(sectors - 1) / BLOCK_SECTORS;
        Self {
            start,
            count: last - start + 1,
        }
    }

    /// One past the last block, at most `u64::MAX`.
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.count)
    }

    /// The part below `blocks`, the size of a device.
    pub fn clip(self, blocks: u64) -> Self {
        let start = self.start.min(blocks);
        Self {
            start,
            count: self.end().min(blocks) - start,
        }
    }
}

/// `value` as an index. What does not fit is an index no slice has.
#[inline]
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Bits `from..to` of a word, for `from < to <= 64`.
#[inline]
pub(crate) fn bits(from: u64, to: u64) -> u64 {
    debug_assert!(from < to && to <= 64);
    (u64::MAX >> (64 - (to - from))) << from
}
