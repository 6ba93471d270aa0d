// SPDX-License-Identifier: GPL-2.0-only

//! Figures of a chain.

use alloc::vec::Vec;

use blksnap_core::cow::Stats;
use kern::page::PAGE_SIZE;

use super::shard::State;
use super::Chain;

/// What it has cost so far.
pub(crate) struct Figures {
    pub(crate) engine: Stats,
    /// Bytes of kernel memory: pages for copies, maps, what images have of their own, the newest epoch's bits.
    pub(crate) memory: u64,
}

impl State {
    /// Bytes of kernel memory behind the lock.
    fn bytes(&self) -> u64 {
        let pages = self.fresh.len() as u64 * u64::from(PAGE_SIZE);
        let rows = capacity(&self.fresh) + capacity(&self.unread) + capacity(&self.waiting);
        let rows = rows + capacity(&self.storing) + capacity(&self.live);
        let engine = self.engine.memory_bytes() as u64;
        self.frames.bytes() + pages + self.slots.bytes() + self.tokens.bytes() + rows + engine
    }
}

/// Bytes that a vector has allocated.
fn capacity<T>(of: &Vec<T>) -> u64 {
    (of.capacity() * size_of::<T>()) as u64
}

impl Chain {
    /// Figures now. Sleeps for locks.
    pub(crate) fn figures(&self) -> Figures {
        let mut sum = Figures { engine: Stats::default(), memory: 0 };
        for shard in self.shards() {
            shard.with(|state| {
                sum.engine += state.engine.stats();
                sum.memory += state.bytes();
            });
        }
        let newest = self.first.with(|state| state.newest.as_ref().map_or(0, |layer| layer.saved.memory_bytes()));
        sum.memory += newest as u64;
        sum
    }
}
