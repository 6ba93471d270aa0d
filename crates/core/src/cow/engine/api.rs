// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The engine's vocabulary: what it is told and what it asks for.

use core::fmt;

use crate::cow::map::MAX_RUN;
use crate::{BlockRange, NoMemory};

/// Nanoseconds of a clock that does not go back. Any context.
pub type Clock = fn() -> u64;

/// The caller's name for a held write.
pub type Token = u64;

/// A copy in memory: an index below [`Limits::pool_blocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyId(pub u32);

/// A store under way: an index below [`Limits::stores_in_flight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u32);

/// A snapshot's place among those of its device: ascending with the takes of an engine, never used twice. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// What happens to a write that finds no room in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is held until there is.
    #[default]
    Hold,
    /// It costs the snapshots: [`Lost::Pool`]. Also a write that is larger than the pool.
    GiveUp,
}

/// Why the snapshots of a device are to be given up. Whoever gets it calls [`Engine::fail`](super::Engine::fail).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No memory for what the engine keeps.
    Memory,
    /// No room in the pool, and [`Policy::GiveUp`].
    Pool,
    /// The original device could not be read.
    Read,
    /// A slot beyond what can be addressed.
    Slot,
}

impl From<NoMemory> for Lost {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "out of memory",
            Self::Pool => "the memory for copies is full",
            Self::Read => "the original device cannot be read",
            Self::Slot => "the difference storage is too large",
        })
    }
}

impl core::error::Error for Lost {}

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
    /// What happens when the pool is full.
    pub policy: Policy,
}

impl Default for Limits {
    /// Copies of 256 KiB, 16 MiB of them, two stores of 1 MiB at a time.
    fn default() -> Self {
        Self {
            copy_blocks: 64,
            pool_blocks: 4096,
            store_batch_blocks: 256,
            stores_in_flight: 2,
            policy: Policy::Hold,
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
            policy: self.policy,
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
        /// The epoch of all its copies: the slots are needed as long as the epoch is.
        epoch: Epoch,
        /// Its number of blocks: the slots needed.
        blocks: u32,
    },
    /// The pages of the copy are not needed any more; the number may come back with the next `Read`.
    FreeCopy {
        /// The copy.
        copy: CopyId,
    },
    /// The write that [`Engine::image_write`](super::Engine::image_write) told of has its blocks to itself, or has nothing to wait for any more
    /// since the snapshot fails or ends. Carry it out, then [`Engine::image_done`](super::Engine::image_done).
    ImageWrite {
        /// The write.
        token: Token,
    },
    /// Call [`Engine::resume`](super::Engine::resume): there is room for writes that wait for it.
    Resume,
    /// Nobody looks at the blocks of this epoch any more: its [`Saved`](crate::cow::Saved), and the slots of its batches, may go. Not told of those
    /// that are left when the last snapshot ends, or all fail.
    FreeEpoch {
        /// The epoch.
        epoch: Epoch,
    },
}

/// What an image has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing: what the device had at the take counts.
    None,
    /// Zeros.
    Zero,
    /// The run's first block is in this slot, the others behind it.
    Slot(u64),
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
    /// Nowhere: it reads as zeros.
    Zero,
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
    /// Writes to images.
    pub image_writes: u64,
    /// Blocks that are in memory or in the store, over all epochs.
    pub saved_blocks: u64,
    /// Times that planning was put off for lack of memory, and went on with a later event.
    pub deferred: u64,
    /// Writes held back now.
    pub held_now: u32,
    /// Blocks of the pool in use now.
    pub pool_used: u32,
    /// Blocks of the pool: [`Limits::pool_blocks`].
    pub pool_limit: u32,
    /// Writes that found no room in the pool, and waited for it.
    pub pool_waits: u64,
    /// Nanoseconds for which they did, summed, with those that still do.
    pub pool_wait_ns: u64,
    /// Of these, the longest of one write.
    pub pool_wait_longest_ns: u64,
    /// Blocks copied ahead of a write.
    pub spec_blocks: u64,
    /// Those of them that were written later. Looked at when copies are planned: lags behind.
    pub spec_used: u64,
}

impl core::ops::AddAssign for Stats {
    /// Of several engines.
    fn add_assign(&mut self, other: Self) {
        let Self {
            copy_reads,
            copy_read_blocks,
            stores,
            store_blocks,
            held,
            image_writes,
            saved_blocks,
            deferred,
            held_now,
            pool_used,
            pool_limit,
            pool_waits,
            pool_wait_ns,
            pool_wait_longest_ns,
            spec_blocks,
            spec_used,
        } = other;
        self.copy_reads += copy_reads;
        self.copy_read_blocks += copy_read_blocks;
        self.stores += stores;
        self.store_blocks += store_blocks;
        self.held += held;
        self.image_writes += image_writes;
        self.saved_blocks += saved_blocks;
        self.deferred += deferred;
        self.held_now += held_now;
        self.pool_used += pool_used;
        self.pool_limit += pool_limit;
        self.pool_waits += pool_waits;
        self.pool_wait_ns += pool_wait_ns;
        self.pool_wait_longest_ns = self.pool_wait_longest_ns.max(pool_wait_longest_ns);
        self.spec_blocks += spec_blocks;
        self.spec_used += spec_used;
    }
}
