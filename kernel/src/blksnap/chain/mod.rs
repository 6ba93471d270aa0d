// SPDX-License-Identifier: GPL-2.0-only

//! Copy on write of one device, for all snapshots of it: the shell around [`blksnap_core::cow::Engine`].
//!
//! The engine decides; this folder carries out. A write's way:
//!
//! 1. [`Layer::check`] (atomic, in the submitter): all blocks saved, it passes; else it goes to the worker's list.
//! 2. [`run`]: the worker, or the submitter himself ([`here`]), tells the engine, and carries out its actions ([`round`]): reads of the origin, releases, stores.
//! 3. [`slow`]: a second worker does what may take long: stores.
//!
//! [`take`] adds and ends the snapshots. What a snapshot has of its own is its [`Image`](crate::image::Image).
//!
//! # States
//!
//! 1. Made for a device that has no snapshot, or whose chain has failed; before the gate: nothing reaches it.
//! 2. Live: its newest [`Layer`] is in its device's `live`; writes are checked. Takes add epochs, ends take them away.
//! 3. Failed: `failure` is set, then everything passes. Image requests get `EIO`. Never live again; the next take makes another chain.
//! 4. Closed, by whoever ended the last snapshot: out of the device, no I/O under way, workers stopped.
//!
//! # Who touches what
//!
//! `state` belongs to the fast worker; images look up blocks in it, and others look at it for figures. Whoever locks it does not reclaim
//! memory meanwhile, as writers wait for it: see [`Chain::with`]. The order of locks is `state`, then a storage's.

mod frames;
mod here;
mod images;
mod layer;
mod place;
mod round;
mod run;
mod slots;
mod slow;
mod stats;
mod take;
mod watch;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use blksnap_core::cow::{BatchId, CopyId, Engine, Epoch, Limits, Lost, Policy, Saved};
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bdev::Open;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::filter::Attachment;
use kern::io::Pool;
use kern::page::Page;
use kern::sync::{Class, Mutex, RcuArc, Wait};
use kern::worker::{Queue, Worker};

use crate::device::Device;
use crate::events::{Events, What};
use crate::image::Image;
use crate::slab::Slab;
use crate::store::Stores;
use crate::tracking::Tracking;
use frames::Frames;
pub(crate) use layer::{Layer, Lazy};
use slots::Slots;
pub(crate) use slots::{Owner, Place};
use watch::Times;

/// Who waits under one of the engine's tokens.
enum Token {
    /// A write to the origin.
    Write(Bio),
    /// A write to an epoch's image, by its request's number.
    Image(Epoch, u32),
}

/// A snapshot that is alive.
struct Live {
    epoch: Epoch,
    image: Arc<Image>,
    stores: Arc<Stores>,
    /// The first storage is in memory.
    in_memory: bool,
    events: Arc<Events>,
}

/// A store under way.
#[derive(Clone, Copy, Default)]
struct Storing {
    /// The engine's number of its first slot.
    slot: u64,
    /// I/O not yet ended.
    left: u32,
}

/// A store that waits for a storage to grow.
#[derive(Clone, Copy)]
struct Waiting {
    batch: BatchId,
    epoch: Epoch,
    blocks: u32,
}

/// What the lock guards.
struct State {
    engine: Engine,
    /// The newest taken epoch's; none before the first take and after the close.
    newest: Option<Arc<Layer>>,
    /// Oldest first.
    live: Vec<Live>,
    /// What copies are read from; gone when closed.
    origin: Option<Arc<Open>>,
    frames: Frames,
    tokens: Slab<Token>,
    /// Of these, writes to the origin.
    held: u32,
    slots: Slots,
    /// Copies whose read waits for a bio; room for all of them is there.
    unread: Vec<(CopyId, BlockRange)>,
    waiting: Vec<Waiting>,
    /// By batch.
    storing: Vec<Storing>,
    times: Times,
    /// Pages on their way into a storage in memory; room for the largest batch.
    fresh: Vec<Page>,
}

impl State {
    /// The engine, and the bits that it is to be told of.
    fn engine(&mut self) -> Option<(&mut Engine, &Saved<Lazy>)> {
        let newest = self.newest.as_ref()?;
        Some((&mut self.engine, &newest.saved))
    }
}

/// All snapshots of one device.
pub(crate) struct Chain {
    worker: Worker<Chain, 0>,
    slow: Worker<Chain, 1>,
    device: Arc<Device>,
    attachment: Attachment,
    /// For images; gone when closed.
    origin: RcuArc<Open>,
    sectors: u64,
    state: Mutex<State>,
    jobs: Mutex<Vec<slow::Job>>,
    finished: Mutex<Vec<slow::Finished>>,
    /// Something was put into `finished`.
    reported: AtomicBool,
    /// 0, or the errno of the failure.
    failure: AtomicI32,
    /// The failure was told to the log and the events.
    told: AtomicBool,
    /// Own I/O and jobs under way.
    outstanding: AtomicU32,
    /// Somebody wants the worker to look, without having put anything on its lists.
    urged: AtomicBool,
    /// Something waits for a time.
    watching: AtomicBool,
    /// How often somebody asked the worker whether all is quiet, and its answer: to which question, and in bit 0 whether it is.
    asked: AtomicU32,
    answered: AtomicU64,
    idle: Wait,
    pool: Pool,
    /// The change tracking that takes switch.
    pub(crate) tracking: Arc<Tracking>,
}

impl Chain {
    /// For a device about to be taken. Sleeps; takes its memory here, so that copying needs none.
    pub(crate) fn new(device: &Arc<Device>, pool_blocks: u32, policy: Policy) -> Result<Arc<Chain>> {
        let origin = Open::by_number(device.number())?;
        let tracking = device.tracking_for(&origin)?;
        let sectors = tracking.sectors;
        let limits = Limits { pool_blocks, policy, ..Limits::default() };
        let state = State {
            engine: Engine::new(sectors.div_ceil(BLOCK_SECTORS), limits).map_err(|_| Errno::ENOMEM)?,
            newest: None,
            live: Vec::new(),
            origin: None,
            frames: Frames::new(pool_blocks)?,
            tokens: Slab::new(),
            held: 0,
            slots: Slots::default(),
            unread: reserved(pool_blocks)?,
            waiting: reserved(limits.stores_in_flight)?,
            storing: kern::alloc::try_vec(limits.stores_in_flight as usize, Storing::default())?,
            times: Times::new(),
            fresh: reserved(limits.store_batch_blocks)?,
        };
        let chain = kern::alloc::try_arc(Chain {
            worker: Worker::new(Queue::Fast)?,
            slow: Worker::new(Queue::Slow)?,
            device: device.clone(),
            attachment: device.attachment().clone(),
            origin: RcuArc::empty(),
            sectors,
            state: Mutex::new(Class::Cow, state)?,
            jobs: Mutex::new(Class::Jobs, reserved(limits.stores_in_flight)?)?,
            finished: Mutex::new(Class::Jobs, reserved(limits.stores_in_flight)?)?,
            reported: AtomicBool::new(false),
            failure: AtomicI32::new(0),
            told: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
            urged: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            idle: Wait::new()?,
            pool: Pool::new(64)?,
            tracking,
        })?;
        let origin = kern::alloc::try_arc(origin)?;
        chain.state.lock().origin = Some(origin.clone());
        chain.origin.replace(Some(origin));
        chain.worker.start(&chain);
        chain.slow.start(&chain);
        Ok(chain)
    }

    /// The device that is copied.
    pub(crate) fn origin(&self) -> Result<Arc<Open>> {
        self.origin.get().ok_or(Errno::EIO)
    }

    /// Blocks of the device.
    pub(crate) fn blocks(&self) -> u64 {
        self.sectors.div_ceil(BLOCK_SECTORS)
    }

    /// Sectors of the device.
    pub(crate) fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The errno it failed with.
    pub(crate) fn failure(&self) -> Option<Errno> {
        match self.failure.load(Ordering::SeqCst) {
            0 => None,
            e => Some(Errno::from_c(-e)),
        }
    }

    /// Gives all snapshots of this device up: writers go on, images give `EIO`. Sleeps.
    pub(crate) fn fail(&self, error: Errno) {
        self.mark_failed(error);
        let error = self.failure().unwrap_or(error);
        let tell = !self.told.swap(true, Ordering::AcqRel) && error != Errno::ESHUTDOWN;
        self.with(|state| {
            // Also by who comes second: nobody may go on before the engine has failed.
            self.give_up(state, error);
            for live in state.live.iter().filter(|_| tell) {
                live.events.push(What::Corrupted { device: self.device.number(), error });
            }
        });
        self.kick();
        self.idle.wake();
        if tell {
            let (major, minor) = self.device.number();
            kern::pr_err!("snapshots of device {major}:{minor} are lost: {error}; the device itself goes on");
        }
    }

    /// Images give `EIO` from here on, and nobody joins any more. The first failure is the one that is told. Atomic.
    fn mark_failed(&self, error: Errno) {
        let code = i32::from(error.number());
        let _ = self.failure.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The part of [`Chain::fail`] for which nobody else may have seen the state in between: what an error has left half done is not to be
    /// read from. [`Chain::fail`] follows.
    fn give_up(&self, state: &mut State, error: Errno) {
        // INVARIANT: the failure before the release: whoever sees writes pass also sees the failure.
        self.mark_failed(error);
        if let Some((engine, saved)) = state.engine() {
            engine.fail(saved);
        }
    }

    /// The worker looks at everything soon. Atomic.
    fn kick(&self) {
        self.urged.store(true, Ordering::SeqCst);
        self.worker.kick();
    }

    /// Runs `f` with the state locked, and without reclaim: writers may wait for it. Sleeps for the lock alone.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        kern::file::without_reclaim(|| f(&mut self.state.lock()))
    }

    fn leave(&self, count: u32) {
        if count > 0 && self.outstanding.fetch_sub(count, Ordering::AcqRel) == count && self.failure().is_some() {
            self.idle.wake();
        }
    }

    /// The sectors of a held write, from the start of the device, cut to the device.
    fn held_range(&self, bio: &Bio) -> BlockRange {
        let first = bio.disk_sector();
        let end = first.saturating_add(bio.sectors()).saturating_sub(self.device.start()).min(self.sectors);
        let first = first.saturating_sub(self.device.start()).min(end);
        BlockRange::of_sectors(first, end - first)
    }
}

/// What the loss of a chain is to its user.
pub(crate) fn errno(lost: Lost) -> Errno {
    match lost {
        Lost::Memory => Errno::ENOMEM,
        Lost::Pool => Errno::ENOSPC,
        Lost::Read => Errno::EIO,
        Lost::Slot => Errno::EFBIG,
    }
}

fn reserved<T>(len: u32) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len as usize).map_err(|_| Errno::ENOMEM)?;
    Ok(v)
}
