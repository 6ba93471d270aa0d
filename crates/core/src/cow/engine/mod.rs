// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The copy-on-write engine of one device, for all its snapshots.
//!
//! Each method is an event, told under the caller's lock; afterwards the caller takes actions from [`Engine::next_action`] until there
//! is none, and carries them out in that order. Actions may be carried out after the lock is dropped, as long as their order is kept.
//!
//! # Epochs
//!
//! Each snapshot is an [`Epoch`], begun by its take. Blocks are copied for the newest epoch only, and entered in its map. The image of an older
//! epoch finds a block in the map of its own epoch, or the first later one that has it, or else on the origin: so a block is copied once
//! for all snapshots that need it. When a snapshot ends, its map stays as long as an older one is alive. See `chain.rs`.
//!
//! # Progress
//!
//! A held write needs copies of the blocks of its range that are on the origin alone. Writes for which not all are planned, because the pool is
//! full, are *starved* and served in turns; a turn is four of the
//! largest copies. A large write advances copy by copy with whatever room there is: one
//! block is enough. Copies that are read are stored whenever no store is under way, so the pool gets room again without
//! the help of anyone who waits for it. Where nobody waits for room, few copies linger for more ([`Engine::lingers`]): stores are large.
//!
//! # Memory
//!
//! The pool bounds the pages of copies, and the entries for copies are allocated with it. An entry for each held write, and the map,
//! grow. Where planning a copy finds no memory, it is put off while other copies are under way, whose end tries again.

mod ahead;
mod api;
mod chain;
mod copies;
mod events;
mod held;
mod images;
mod plan;
mod queue;
mod waits;

use alloc::vec::Vec;

use ahead::Ahead;
pub use api::{
    Action, BatchId, Clock, CopyId, Epoch, Limits, Lost, Over, Policy, Source, Stats, Token,
};
use chain::Level;
use copies::Copies;
use held::HeldWrites;
use images::ImageWrites;
use queue::Queue;

use crate::cow::map::Place;
use crate::fallible::{bytes, filled};
use crate::{BlockRange, NoMemory};

/// Copies of the largest size for which a starved write may plan before it is the next one's turn.
const TURN_COPIES: u32 = 4;

/// Copies that are stored together; no copies while the entry is free.
#[derive(Default)]
struct Batch {
    copies: Queue<0>,
    epoch: Epoch,
    blocks: u32,
}

/// Copy on write of one device: the held writes, the copies under way, and where each block of each image is.
///
/// `saved` in its methods is the bits of the newest epoch, `own` those of what an image has of its own. An image reads the origin without asking the
/// engine where its own bits, and those of its epoch and of all later ones, are untouched.
pub struct Engine {
    blocks: u64,
    limits: Limits,
    /// The newest epoch, whose map copies are entered in; 0 before the first take.
    top: Level,
    /// The older ones, oldest first; none that is neither alive nor needed.
    below: Vec<Level>,
    /// The epoch of the take to come, prepared.
    fresh: Option<Level>,
    /// Takes so far.
    takes: u32,
    held: HeldWrites,
    copies: Copies,
    ahead: Ahead,
    images: ImageWrites,
    batches: Vec<Batch>,
    batches_in_flight: u32,
    /// The next store may be small.
    hurry: bool,
    /// Blocks of copies that are not stored yet.
    pool_used: u32,
    /// The starved write whose turn it is, and the blocks planned in this turn.
    turn: (u32, u32),
    /// The end of a snapshot has made room in the pool.
    resume: bool,
    failed: bool,
    stats: Stats,
}

impl Engine {
    /// For a device of `blocks` blocks, with no epoch: [`Engine::prepare`] and [`Engine::take`] make the first. Bounds outside of their range are
    /// moved into it. `clock` is asked when a write begins or ends to wait for room in the pool, and by [`Engine::stats`] while one does.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates 40 bytes for each block of the pool.
    pub fn new(blocks: u64, limits: Limits, clock: Clock) -> Result<Self, NoMemory> {
        let limits = limits.checked();
        Ok(Self {
            blocks,
            limits,
            top: Level::default(),
            below: Vec::new(),
            fresh: None,
            takes: 0,
            held: HeldWrites::new(clock),
            copies: Copies::new(limits.pool_blocks)?,
            ahead: Ahead::default(),
            images: ImageWrites::default(),
            batches: filled(limits.stores_in_flight as usize, Batch::default)?,
            batches_in_flight: 0,
            hurry: false,
            pool_used: 0,
            turn: (0, 0),
            resume: false,
            failed: false,
            stats: Stats::default(),
        })
    }

    /// Where `block` of the image of `epoch` is, and for how many blocks from it on this goes on: 1 to `max`, at least 1.
    ///
    /// A run may end before it has to; ask again behind it. Blocks outside of the device are on the origin. Not to be used after
    /// [`Engine::fail`], nor for an epoch that has ended.
    pub fn resolve(&self, epoch: Epoch, block: u64, max: u64) -> (Source, u64) {
        let mut run = max.max(1);
        for level in self.levels_from(epoch) {
            if level.id == epoch {
                match level.over.find(block, run) {
                    (Some(Place::Stored(slot)), run) => return (Source::Store { slot }, run),
                    (Some(_), run) => return (Source::Zero, run),
                    (None, free) => run = run.min(free),
                }
            }
            let (place, found) = level.map.find(block, run);
            run = run.min(found);
            match place {
                Some(Place::Copy(copy)) => return (self.in_copy(copy, block), run),
                Some(Place::Stored(slot)) => return (Source::Store { slot }, run),
                Some(Place::Zero) => return (Source::Zero, run),
                None => {}
            }
        }
        (Source::Origin, run)
    }

    fn in_copy(&self, id: u32, block: u64) -> Source {
        match self.copies.slab.get(id as usize) {
            Some(copy) if copy.in_memory() => Source::Memory {
                copy: CopyId(id),
                index: u32::try_from(block - copy.start).unwrap_or(0),
            },
            _ => Source::Origin,
        }
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
        let idle = self.held.count() == 0 && self.images.idle();
        idle && (self.failed || self.pool_used == 0 && !self.copies.any_freed())
    }

    /// Whether [`Engine::fail`] was called, or the last snapshot ended.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Counters. Takes a step for each write that waits for room.
    pub fn stats(&self) -> Stats {
        let waits = self.held.waits();
        Stats {
            pool_waits: waits.count,
            pool_wait_ns: waits.total,
            pool_wait_longest_ns: waits.longest,
            held_now: self.held.count(),
            pool_used: self.pool_used,
            pool_limit: self.limits.pool_blocks,
            spec_blocks: self.ahead.planned(),
            spec_used: self.ahead.used(),
            ..self.stats
        }
    }

    /// Bytes of memory allocated, without the pages of copies.
    pub fn memory_bytes(&self) -> usize {
        let levels = self.below.iter().chain([&self.top]).chain(&self.fresh);
        levels.map(Level::memory_bytes).sum::<usize>()
            + bytes(&self.below)
            + self.held.memory_bytes()
            + self.copies.memory_bytes()
            + self.images.memory_bytes()
            + bytes(&self.batches)
    }
}
