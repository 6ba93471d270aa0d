// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The table from ranks, which fit a byte, to change numbers, which never wrap.

use alloc::vec::Vec;

use super::cells::Cells;
use crate::fallible::{bytes, place};
use crate::NoMemory;

/// Ranks, with rank 0.
const RANKS: usize = 256;
/// How many of the oldest ranks become one when all are in use: a pass over the cells then serves that many takes.
const MERGED: usize = 64;

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

    /// The rank of `number`, the highest so far. Renumbers `cells` when the ranks have run out; numbers above `keep`, of which
    /// there are at most 253, stay apart.
    pub(super) fn rank_of(&mut self, number: u64, keep: u64, cells: &mut Cells) -> u8 {
        if self.numbers.last() != Some(&number) {
            if self.numbers.len() == RANKS {
                self.renumber(keep, cells);
            }
            place(&mut self.numbers, number);
        }
        u8::try_from(self.numbers.len() - 1).unwrap_or(u8::MAX)
    }

    fn renumber(&mut self, keep: u64, cells: &mut Cells) {
        let used = cells.used();
        let unused = used.iter().skip(1).any(|used| !used);
        // Ranks below `merged` become one, that of the youngest of them.
        let old = self.numbers.partition_point(|number| *number <= keep);
        let merged = if unused { 1 } else { old.min(1 + MERGED) };
        let mut to = [0; RANKS];
        let mut next: u8 = 0;
        let mut kept = 1;
        for rank in 1..self.numbers.len() {
            if used[rank] {
                if rank == 1 || rank >= merged {
                    next += 1;
                    kept = usize::from(next) + 1;
                }
                to[rank] = next;
                self.numbers[usize::from(next)] = self.numbers[rank];
            }
        }
        if merged > 2 {
            self.exact_above = self.numbers[1];
        }
        self.numbers.truncate(kept);
        cells.renumber(&to);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.numbers)
    }
}
