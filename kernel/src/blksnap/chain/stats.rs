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
    /// Figures now. Sleeps for the lock.
    pub(crate) fn figures(&self) -> Figures {
        self.with(|state| Figures {
            engine: state.engine.stats(),
            memory: state.frames.bytes()
                + state.fresh.len() as u64 * u64::from(PAGE_SIZE)
                + state.slots.bytes()
                + (state.engine.memory_bytes() + state.newest.as_ref().map_or(0, |layer| layer.saved.memory_bytes())) as u64,
        })
    }
}
