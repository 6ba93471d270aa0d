// SPDX-License-Identifier: GPL-2.0-only

//! A part of a chain: an engine, what its lock guards, and its workers. It knows the blocks of its own stripes alone.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use blksnap_core::cow::{BatchId, CopyId, Engine, Epoch, Limits, Saved};
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bdev::Open;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::io::Pool;
use kern::misc::monotonic_ns;
use kern::page::Page;
use kern::sync::{Class, Mutex, Wait};
use kern::worker::{Queue, Worker};

use super::frames::Frames;
use super::slots::Slots;
use super::slow;
use super::watch::Times;
use super::{reserved, Chain, Common, Layer, Lazy};
use crate::events::Events;
use crate::image::Image;
use crate::slab::Slab;
use crate::store::Stores;

/// Bios of a chain's own reads and stores that are set aside, for all shards; and for one at least.
const BIOS: u32 = 64;
const BIOS_LEAST: u32 = 16;

/// Who waits under one of the engine's tokens.
pub(super) enum Token {
    /// A write to the origin.
    Write(Bio),
    /// A write to an epoch's image, by its request's number.
    Image(Epoch, u32),
}

/// A snapshot that is alive.
pub(super) struct Live {
    pub(super) epoch: Epoch,
    pub(super) image: Arc<Image>,
    pub(super) stores: Arc<Stores>,
    /// The first storage is in memory.
    pub(super) in_memory: bool,
    pub(super) events: Arc<Events>,
}

/// A store under way.
#[derive(Clone, Copy, Default)]
pub(super) struct Storing {
    /// The engine's number of its first slot.
    pub(super) slot: u64,
    /// I/O not yet ended.
    pub(super) left: u32,
}

/// A store that waits for a storage to grow.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) batch: BatchId,
    pub(super) epoch: Epoch,
    pub(super) blocks: u32,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) engine: Engine,
    /// The newest taken epoch's; none before the first take and after the close.
    pub(super) newest: Option<Arc<Layer>>,
    /// Oldest first.
    pub(super) live: Vec<Live>,
    /// What copies are read from; gone when closed.
    pub(super) origin: Option<Arc<Open>>,
    pub(super) frames: Frames,
    pub(super) tokens: Slab<Token>,
    /// Of these, writes to the origin.
    pub(super) held: u32,
    pub(super) slots: Slots,
    /// Copies whose read waits for a bio; room for all of them is there.
    pub(super) unread: Vec<(CopyId, BlockRange)>,
    pub(super) waiting: Vec<Waiting>,
    /// By batch.
    pub(super) storing: Vec<Storing>,
    pub(super) times: Times,
    /// Pages on their way into a storage in memory; room for the largest batch.
    pub(super) fresh: Vec<Page>,
}

impl State {
    /// The engine, and the bits that it is to be told of.
    pub(super) fn engine(&mut self) -> Option<(&mut Engine, &Saved<Lazy>)> {
        let newest = self.newest.as_ref()?;
        Some((&mut self.engine, &newest.saved))
    }
}

/// One of the engines of a chain.
pub(crate) struct Shard {
    pub(super) common: Arc<Common>,
    /// Its number among them.
    which: usize,
    /// It is the only one.
    alone: bool,
    /// Of the device: its first sector on the disk, and its length.
    start: u64,
    pub(super) sectors: u64,
    pub(super) worker: Worker<Shard, 0>,
    pub(super) slow: Worker<Shard, 1>,
    pub(super) state: Mutex<State>,
    pub(super) jobs: Mutex<Vec<slow::Job>>,
    pub(super) finished: Mutex<Vec<slow::Finished>>,
    /// Something was put into `finished`.
    pub(super) reported: AtomicBool,
    /// Own I/O and jobs under way.
    pub(super) outstanding: AtomicU32,
    /// Somebody wants the worker to look, without having put anything on its lists.
    pub(super) urged: AtomicBool,
    /// Something waits for a time.
    pub(super) watching: AtomicBool,
    /// How often somebody asked the worker whether all is quiet, and its answer: to which question, and in bit 0 whether it is.
    pub(super) asked: AtomicU32,
    pub(super) answered: AtomicU64,
    pub(super) idle: Wait,
    pub(super) pool: Pool,
}

impl Shard {
    /// Sleeps; takes its memory here, so that copying needs none.
    pub(super) fn new(common: &Arc<Common>, which: usize, limits: Limits, origin: &Arc<Open>) -> Result<Arc<Shard>> {
        let state = State {
            engine: Engine::new(common.sectors.div_ceil(BLOCK_SECTORS), limits, monotonic_ns).map_err(|_| Errno::ENOMEM)?,
            newest: None,
            live: Vec::new(),
            origin: Some(origin.clone()),
            frames: Frames::new(limits.pool_blocks)?,
            tokens: Slab::new(),
            held: 0,
            slots: Slots::default(),
            unread: reserved(limits.pool_blocks)?,
            waiting: reserved(limits.stores_in_flight)?,
            storing: kern::alloc::try_vec(limits.stores_in_flight as usize, Storing::default())?,
            times: Times::new(),
            fresh: reserved(limits.store_batch_blocks)?,
        };
        kern::alloc::try_arc(Shard {
            common: common.clone(),
            which,
            alone: common.stripes.engines() == 1,
            start: common.device.start(),
            sectors: common.sectors,
            worker: Worker::new(Queue::Fast)?,
            slow: Worker::new(Queue::Slow)?,
            state: Mutex::new(Class::Cow, state)?,
            jobs: Mutex::new(Class::Jobs, reserved(limits.stores_in_flight)?)?,
            finished: Mutex::new(Class::Jobs, reserved(limits.stores_in_flight)?)?,
            reported: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
            urged: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            idle: Wait::new()?,
            pool: Pool::new((BIOS / common.stripes.engines()).max(BIOS_LEAST))?,
        })
    }

    /// The errno that the chain failed with.
    pub(super) fn failure(&self) -> Option<Errno> {
        self.common.failure()
    }

    /// [`Chain::fail`]. Sleeps.
    pub(super) fn fail(&self, error: Errno) {
        // There is none from the close on, which has failed it.
        if let Some(chain) = self.common.chain.get() {
            chain.fail(error);
        }
    }

    /// This one's part of [`Chain::fail`], for which nobody else may have seen the state in between: what an error has left half done is not to
    /// be read from. [`Shard::fail`] follows.
    pub(super) fn give_up(&self, state: &mut State, error: Errno) {
        // INVARIANT: the failure before the release: whoever sees writes pass also sees the failure.
        self.common.mark_failed(error);
        if let Some((engine, saved)) = state.engine() {
            engine.fail(saved);
        }
    }

    /// The worker looks at everything soon. Atomic.
    pub(super) fn kick(&self) {
        self.urged.store(true, Ordering::SeqCst);
        self.worker.kick();
    }

    /// Runs `f` with the state locked, and without reclaim: writers may wait for it. Sleeps for the lock alone.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        kern::file::without_reclaim(|| f(&mut self.state.lock()))
    }

    pub(super) fn leave(&self, count: u32) {
        if count > 0 && self.outstanding.fetch_sub(count, Ordering::AcqRel) == count && self.failure().is_some() {
            self.idle.wake();
        }
    }

    /// What the engine is told of a held write: of its blocks, cut to the device, those that are this shard's to save now.
    #[inline]
    pub(super) fn part(&self, state: &State, bio: &Bio) -> BlockRange {
        let (first, start) = (bio.disk_sector(), self.start);
        let end = first.saturating_add(bio.sectors()).saturating_sub(start).min(self.sectors);
        let first = first.saturating_sub(start).min(end);
        let range = BlockRange::of_sectors(first, end - first);
        if self.alone {
            return range;
        }
        match &state.newest {
            Some(newest) => self.common.stripes.part_of(self.which, &newest.saved, range),
            None => range,
        }
    }
}
