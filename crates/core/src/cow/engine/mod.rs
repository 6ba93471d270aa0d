// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The copy-on-write engine of one device in one snapshot.
//!
//! Each method is an event, told under the caller's lock; afterwards the caller takes actions from [`Engine::next_action`] until there
//! is none, and carries them out in that order. Actions may be carried out after the lock is dropped, as long as their order is kept.
//!
//! # Progress
//!
//! A held write needs copies of the blocks of its range that are on the origin alone. Writes for which not all are planned, because the pool is
//! full, are *starved* and served in turns; a turn is four of the
//! largest copies. A large write advances copy by copy with whatever room there is: one
//! block is enough. Copies that are read are stored whenever no store is under way, so the pool gets room again without
//! the help of anyone who waits for it.
//!
//! # Memory
//!
//! The pool bounds the pages of copies, and the entries for copies are allocated with it. An entry for each held write, and the map,
//! grow. Where planning a copy finds no memory, it is put off while other copies are under way, whose end tries again.

mod api;
mod copies;
mod events;
mod held;
mod plan;
mod queue;

use alloc::vec::Vec;

pub use api::{Action, BatchId, CopyId, Limits, Source, Stats, Token};
use copies::Copies;
use held::HeldWrites;
use queue::Queue;

use crate::cow::map::{BlockMap, Place};
use crate::fallible::{bytes, filled};
use crate::{BlockRange, NoMemory};

/// Copies of the largest size for which a starved write may plan before it is the next one's turn.
const TURN_COPIES: u32 = 4;

/// Copies that are stored together; no copies while the entry is free.
#[derive(Default)]
struct Batch {
    copies: Queue<0>,
    blocks: u32,
}

/// Copy on write of one device: the held writes, the copies under way, and where each block of the image is.
pub struct Engine {
    blocks: u64,
    limits: Limits,
    map: BlockMap,
    held: HeldWrites,
    copies: Copies,
    batches: Vec<Batch>,
    batches_in_flight: u32,
    /// Blocks of copies that are not stored yet.
    pool_used: u32,
    /// The starved write whose turn it is, and the blocks planned in this turn.
    turn: (u32, u32),
    failed: bool,
    stats: Stats,
}

impl Engine {
    /// For a device of `blocks` blocks, nothing saved. Bounds outside of their range are moved into it.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates 40 bytes for each block of the pool, and 48 bytes per GiB of the device.
    pub fn new(blocks: u64, limits: Limits) -> Result<Self, NoMemory> {
        let limits = limits.checked();
        Ok(Self {
            blocks,
            limits,
            map: BlockMap::new(blocks)?,
            held: HeldWrites::new(),
            copies: Copies::new(limits.pool_blocks)?,
            batches: filled(limits.stores_in_flight as usize, Batch::default)?,
            batches_in_flight: 0,
            pool_used: 0,
            turn: (0, 0),
            failed: false,
            stats: Stats::default(),
        })
    }

    /// Where `block` of the image is, and for how many blocks from it on this goes on: 1 to `max`, at least 1.
    ///
    /// A run may end before it has to; ask again behind it. Blocks outside of the device are on the origin. Not to be used after
    /// [`Engine::fail`].
    pub fn resolve(&self, block: u64, max: u64) -> (Source, u64) {
        let (place, run) = self.map.find(block, max);
        let source = match place {
            None | Some(Place::Reading(_)) => Source::Origin,
            Some(Place::Memory(copy)) => {
                let start = self
                    .copies
                    .slab
                    .get(copy as usize)
                    .map_or(block, |copy| copy.start);
                Source::Memory {
                    copy: CopyId(copy),
                    index: u32::try_from(block - start).unwrap_or(0),
                }
            }
            Some(Place::Stored(slot)) => Source::Store { slot },
        };
        (source, run)
    }

    /// The copies of a batch, in the order of their slots.
    pub fn batch(&self, batch: BatchId) -> impl Iterator<Item = (CopyId, BlockRange)> + '_ {
        let copies = self
            .batches
            .get(batch.0 as usize)
            .map(|batch| batch.copies.iter(&self.copies.slab));
        copies
            .into_iter()
            .flatten()
            .map(|id| (CopyId(id), self.copies.slab[id as usize].range()))
    }

    /// The blocks of a copy that was asked for and not freed yet.
    pub fn copy_range(&self, copy: CopyId) -> Option<BlockRange> {
        self.copies
            .slab
            .get(copy.0 as usize)
            .map(copies::Copy::range)
    }

    /// Nothing is held, being copied, or to be done.
    ///
    /// After [`Engine::fail`] this speaks of held writes only; the reads and stores under way then are the caller's to wait for.
    pub fn idle(&self) -> bool {
        self.held.count() == 0 && (self.failed || self.pool_used == 0 && !self.copies.any_freed())
    }

    /// Whether [`Engine::fail`] was called.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            held_now: self.held.count(),
            pool_used: self.pool_used,
            ..self.stats
        }
    }

    /// Bytes of memory allocated, without the pages of copies.
    pub fn memory_bytes(&self) -> usize {
        self.map.memory_bytes()
            + self.held.memory_bytes()
            + self.copies.memory_bytes()
            + bytes(&self.batches)
    }
}
