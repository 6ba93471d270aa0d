// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The engine's vocabulary: what it is told and what it asks for.

use crate::cow::map::MAX_RUN;
use crate::BlockRange;

/// The caller's name for a held write.
pub type Token = u64;

/// A copy in memory: an index below [`Limits::pool_blocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyId(pub u32);

/// A store under way: an index below [`Limits::stores_in_flight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u32);

/// Bounds of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest copy, in blocks: 1 to 512, and at most `pool_blocks`.
    pub copy_blocks: u32,
    /// Memory for copies, in blocks: 1 to 2^24. A copy counts from when it is planned until it is stored.
    pub pool_blocks: u32,
    /// Largest store, in blocks; at least `copy_blocks`.
    pub store_batch_blocks: u32,
    /// Stores at a time: 1 to 1024.
    pub stores_in_flight: u32,
}

impl Default for Limits {
    /// Copies of 256 KiB, 16 MiB of them, two stores of 1 MiB at a time.
    fn default() -> Self {
        Self {
            copy_blocks: 64,
            pool_blocks: 4096,
            store_batch_blocks: 256,
            stores_in_flight: 2,
        }
    }
}

impl Limits {
    /// Each bound moved into its range.
    pub(super) fn checked(self) -> Self {
        let pool_blocks = self.pool_blocks.clamp(1, 1 << 24);
        let longest = u32::try_from(MAX_RUN).unwrap_or(u32::MAX).min(pool_blocks);
        let copy_blocks = self.copy_blocks.clamp(1, longest);
        Self {
            copy_blocks,
            pool_blocks,
            store_batch_blocks: self.store_batch_blocks.max(copy_blocks),
            stores_in_flight: self.stores_in_flight.clamp(1, 1024),
        }
    }
}

/// What is to be done, in the order it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read `range` of the original device into new pages, the copy's; then [`Engine::read_done`](super::Engine::read_done).
    Read {
        /// The copy.
        copy: CopyId,
        /// Its blocks, within the device.
        range: BlockRange,
    },
    /// Send the held write on. The engine has forgotten it.
    Release {
        /// The write.
        token: Token,
    },
    /// Write the copies of [`Engine::batch`](super::Engine::batch) to as many slots, one behind the other, of the store; then
    /// [`Engine::store_done`](super::Engine::store_done).
    Store {
        /// The batch.
        batch: BatchId,
        /// Its number of blocks: the slots needed.
        blocks: u32,
    },
    /// The pages of the copy are not needed any more; the number may come back with the next `Read`.
    FreeCopy {
        /// The copy.
        copy: CopyId,
    },
}

/// Where the image's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the original device. Read it, and resolve again when the read has completed: what is no longer `Origin` then has to be read again.
    Origin,
    /// In the pages of a copy. They stay until its [`Action::FreeCopy`].
    Memory {
        /// The copy.
        copy: CopyId,
        /// The block within the copy.
        index: u32,
    },
    /// In the store; the blocks of the run in slots behind each other.
    Store {
        /// The first block's slot.
        slot: u64,
    },
}

/// Counters of an engine. Blocks are of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads of the original device asked for.
    pub copy_reads: u64,
    /// Blocks they read.
    pub copy_read_blocks: u64,
    /// Stores completed.
    pub stores: u64,
    /// Blocks they wrote.
    pub store_blocks: u64,
    /// Writes to the original device that were held back.
    pub held: u64,
    /// Writes to the image that were held back.
    pub image_writes: u64,
    /// Blocks that are in memory or in the store.
    pub saved_blocks: u64,
    /// Times that planning was put off for lack of memory, and went on with a later event.
    pub deferred: u64,
    /// Writes held back now.
    pub held_now: u32,
    /// Blocks of the pool in use now.
    pub pool_used: u32,
}
