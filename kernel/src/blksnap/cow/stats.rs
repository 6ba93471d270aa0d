// SPDX-License-Identifier: GPL-2.0-only

//! Figures of one device in one snapshot.

use core::sync::atomic::Ordering;

use blksnap_core::cow::Stats;

use super::Cow;

/// What it has cost so far.
pub(crate) struct Figures {
    pub(crate) engine: Stats,
    pub(crate) image_reads: u64,
    /// Bytes of kernel memory.
    pub(crate) memory: u64,
}

impl Cow {
    /// Figures now. Sleeps.
    pub(crate) fn figures(&self) -> Figures {
        let state = self.state.lock();
        let engine = state.engine.stats();
        let pages = state.spare.capacity() as u64 * 4096;
        Figures {
            engine,
            image_reads: self.image_reads.load(Ordering::Relaxed),
            memory: pages + (state.engine.memory_bytes() + self.saved.memory_bytes()) as u64,
        }
    }
}
