// SPDX-License-Identifier: GPL-2.0-only

//! Figures of a chain.

use blksnap_core::cow::Stats;
use kern::page::PAGE_SIZE;

use super::Chain;

/// What it has cost so far.
pub(crate) struct Figures {
    pub(crate) engine: Stats,
    /// Bytes of kernel memory: pages for copies, maps, what images have of their own, the newest epoch's bits.
    pub(crate) memory: u64,
}

impl Chain {
    /// Figures now. Sleeps for locks.
    pub(crate) fn figures(&self) -> Figures {
        let mut sum = Figures { engine: Stats::default(), memory: 0 };
        for shard in self.shards() {
            shard.with(|state| {
                sum.engine += state.engine.stats();
                sum.memory += state.frames.bytes()
                    + state.fresh.len() as u64 * u64::from(PAGE_SIZE)
                    + state.slots.bytes()
                    + state.engine.memory_bytes() as u64;
            });
        }
        let newest = self.first.with(|state| state.newest.as_ref().map_or(0, |layer| layer.saved.memory_bytes()));
        sum.memory += newest as u64;
        sum
    }
}
