// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The table from ranks, which fit a byte, to change numbers, which never wrap.

use alloc::vec::Vec;

use super::cells::Cells;
use super::consumers::Consumers;
use crate::fallible::{bytes, place};
use crate::NoMemory;

/// Ranks, with rank 0.
const RANKS: usize = 256;
/// How many ranks become free when all are in use: a pass over the cells then serves that many takes.
const MERGED: usize = 63;

/// The change number of each rank.
///
/// # Invariants
///
/// - Rank 0 has number 0, "never changed in this generation". Numbers increase strictly with the rank.
/// - `numbers` has room for [`RANKS`] from the start, and never grows.
pub(super) struct Ranks {
    numbers: Vec<u64>,
    /// A cell's number is exact when it is larger than this.
    exact_above: u64,
}

impl Ranks {
    pub(super) fn new() -> Result<Self, NoMemory> {
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(RANKS).map_err(|_| NoMemory)?;
        place(&mut numbers, 0);
        Ok(Self {
            numbers,
            exact_above: 0,
        })
    }

    pub(super) fn number(&self, rank: u8) -> u64 {
        self.numbers.get(usize::from(rank)).copied().unwrap_or(0)
    }

    /// The lowest rank whose number is larger than `base`, if there is one.
    pub(super) fn above(&self, base: u64) -> Option<u8> {
        let rank = self.numbers.partition_point(|number| *number <= base);
        u8::try_from(rank)
            .ok()
            .filter(|_| rank < self.numbers.len())
    }

    pub(super) fn exact_above(&self) -> u64 {
        self.exact_above
    }

    /// The rank of `number`, the highest so far. `None` if all ranks are taken by others.
    pub(super) fn rank_of(&mut self, number: u64) -> Option<u8> {
        if self.numbers.last() != Some(&number) {
            if self.numbers.len() == RANKS {
                return None;
            }
            place(&mut self.numbers, number);
        }
        u8::try_from(self.numbers.len() - 1).ok()
    }

    /// Drops the ranks that no cell has. If there are none, merges the oldest ones towards the newer number, as far as the number is at most `keep`
    /// and no consumer's base lies between.
    pub(super) fn make_room(&mut self, keep: u64, consumers: &Consumers, cells: &mut Cells) {
        let used = cells.used();
        let unused = used.iter().skip(1).any(|used| !used);
        let most = if unused { RANKS } else { RANKS - MERGED };
        self.renumber(most, &used, keep, consumers, cells);
    }

    /// Drops and merges until ranks need a bit less than they do.
    pub(super) fn make_narrow(&mut self, keep: u64, consumers: &Consumers, cells: &mut Cells) {
        let most = self.numbers.len().next_power_of_two() / 2;
        // One less, for the rank that is to be added.
        self.renumber(most - 1, &cells.used(), keep, consumers, cells);
    }

    /// Bits that a rank needs.
    pub(super) fn bits(&self) -> u32 {
        self.numbers.len().next_power_of_two().trailing_zeros()
    }

    /// Leaves `most` ranks, if that many can be dropped or merged.
    fn renumber(
        &mut self,
        most: usize,
        used: &[bool; RANKS],
        keep: u64,
        consumers: &Consumers,
        cells: &mut Cells,
    ) {
        let live = 1 + used.iter().skip(1).filter(|used| **used).count();
        let mut excess = live.saturating_sub(most);
        let (mut to, mut last) = ([0; RANKS], 0);
        let mut rank: u8 = 0;
        for old in 1..self.numbers.len() {
            if !used[old] {
                continue;
            }
            let number = self.numbers[old];
            let apart = last == 0 || number > keep || consumers.between(self.numbers[last], number);
            if excess > 0 && !apart {
                // Both have the newer number from now on.
                excess -= 1;
                self.exact_above = self.exact_above.max(number);
            } else {
                last += 1;
                rank = rank.saturating_add(1);
            }
            self.numbers[last] = number;
            to[old] = rank;
        }
        self.numbers.truncate(last + 1);
        cells.renumber(&to);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.numbers)
    }
}
