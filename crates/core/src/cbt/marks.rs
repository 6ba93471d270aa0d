// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The marks that writes leave: one bit a tracking block.

use alloc::vec::Vec;

use crate::fallible::{bytes, filled};
use crate::sync::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use crate::units::{bits, index};
use crate::NoMemory;

/// Which tracking blocks are written, for any number of CPUs at once and without a lock.
///
/// Two bitmaps; writes mark the *active* one, the other is *idle* and belongs to [`History`](super::History).
///
/// # Invariants
///
/// - The bitmaps are exchanged only while no `mark` runs and none begins: at the gate, after the drain.
/// - A bit of the active bitmap is cleared by nobody.
///
/// # Memory ordering
///
/// All accesses are relaxed. A write is counted as in flight from before its mark until it is complete, and the drain at the gate
/// waits for the count with the barriers that takes; so each mark happens before the exchange that follows it, and each exchange
/// before the marks that follow it. Between two exchanges the order of marks does not matter: a bit seen set was set for the same take.
pub struct Marks {
    maps: [Vec<AtomicU64>; 2],
    /// Number of exchanges; the lowest bit names the active bitmap.
    parity: AtomicUsize,
    capacity_sectors: u64,
    sector_shift: u32,
}

impl Marks {
    /// Marks for a device of `capacity_sectors` sectors in tracking blocks of `1 << block_shift` bytes, none set.
    ///
    /// `block_shift` is 9 (a sector) to 62, and is moved into this range. Takes 2 bits a tracking block.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates; process context.
    pub fn new(capacity_sectors: u64, block_shift: u32) -> Result<Self, NoMemory> {
        let sector_shift = block_shift.clamp(9, 62) - 9;
        let words = index(blocks(capacity_sectors, sector_shift).div_ceil(64));
        let map = || filled(words, AtomicU64::default);
        Ok(Self {
            maps: [map()?, map()?],
            parity: AtomicUsize::new(0),
            capacity_sectors,
            sector_shift,
        })
    }

    /// Marks what a write changes: `sectors`, at least 1 and less than 2³², from `sector`, less than 2⁶³, on; what lies outside of the
    /// device is left out.
    ///
    /// To be called before the write is passed on, from any context, inside the accounting of the gate. A write that is held and sent
    /// on later is marked again when it is sent on: a take may lie between.
    #[inline]
    pub fn mark_write(&self, sector: u64, sectors: u64) {
        // The shift is less than 64; said in this way, no check of it is made.
        let first = sector.wrapping_shr(self.sector_shift);
        let last = (sector.wrapping_add(sectors).wrapping_sub(1)).wrapping_shr(self.sector_shift);
        if first != last {
            return self.mark(sector, sectors);
        }
        // Blocks behind the last one that have a bit in its word are no blocks: `idle` leaves them out.
        let map = &self.maps[self.parity.load(Relaxed) & 1];
        set(map.get(index(first / 64)), 1 << (first % 64));
    }

    /// Marks the `sectors` sectors from `sector` as changed, as [`Marks::mark_write`] does; any numbers will do.
    ///
    /// Callers outside the gate (a client that declares ranges dirty) take turns with [`History`](super::History)'s methods by the lock
    /// that guards it.
    #[inline(never)]
    pub fn mark(&self, sector: u64, sectors: u64) {
        let end = sector.saturating_add(sectors).min(self.capacity_sectors);
        if sector < end {
            let map = &self.maps[self.parity.load(Relaxed) & 1];
            mark_blocks(
                map,
                sector >> self.sector_shift,
                (end - 1) >> self.sector_shift,
            );
        }
    }

    /// Number of tracking blocks.
    pub fn block_count(&self) -> u64 {
        blocks(self.capacity_sectors, self.sector_shift)
    }

    /// Size of a tracking block in sectors.
    pub fn block_sectors(&self) -> u64 {
        1 << self.sector_shift
    }

    /// Size of the device in sectors, as given to [`Marks::new`].
    pub fn capacity_sectors(&self) -> u64 {
        self.capacity_sectors
    }

    /// Bytes of memory allocated.
    pub fn memory_bytes(&self) -> usize {
        self.maps.iter().map(bytes).sum()
    }

    /// Exchanges the bitmaps. The idle one must be clear.
    pub(super) fn exchange(&self) {
        self.parity.fetch_add(1, Relaxed);
    }

    /// Word `at` of the idle bitmap; nothing is set outside of the device.
    pub(super) fn idle(&self, at: u64) -> u64 {
        let blocks = self.block_count().saturating_sub(at.saturating_mul(64));
        self.idle_map()
            .get(index(at))
            .map_or(0, |word| word.load(Relaxed) & bits(0, blocks.min(64)))
    }

    /// Clears word `at` of the idle bitmap.
    pub(super) fn clear_idle(&self, at: u64) {
        if let Some(word) = self.idle_map().get(index(at)) {
            word.store(0, Relaxed);
        }
    }

    /// Marks in the active bitmap all that the idle one has, and clears it: late rather than never.
    pub(super) fn carry_over(&self) {
        let active = &self.maps[self.parity.load(Relaxed) & 1];
        for (from, to) in self.idle_map().iter().zip(active) {
            set(Some(to), from.swap(0, Relaxed));
        }
    }

    fn idle_map(&self) -> &Vec<AtomicU64> {
        &self.maps[(self.parity.load(Relaxed) & 1) ^ 1]
    }
}

/// Sets the bits of `mask`. The cache line is written only when one of them is clear.
#[inline]
fn set(word: Option<&AtomicU64>, mask: u64) {
    if let Some(word) = word {
        if word.load(Relaxed) & mask != mask {
            word.fetch_or(mask, Relaxed);
        }
    }
}

/// Marks `first..=last`: a step a word, also for the largest discard.
fn mark_blocks(map: &[AtomicU64], first: u64, last: u64) {
    let (head, tail) = (index(first / 64), index(last / 64));
    if head == tail {
        return set(map.get(head), bits(first % 64, last % 64 + 1));
    }
    set(map.get(head), bits(first % 64, 64));
    for word in map.get(head + 1..tail).unwrap_or_default() {
        // Not `fetch_or`: a full word can be stored whole, nobody clears bits meanwhile.
        if word.load(Relaxed) != u64::MAX {
            word.store(u64::MAX, Relaxed);
        }
    }
    set(map.get(tail), bits(0, last % 64 + 1));
}

fn blocks(capacity_sectors: u64, sector_shift: u32) -> u64 {
    capacity_sectors.div_ceil(1 << sector_shift)
}
