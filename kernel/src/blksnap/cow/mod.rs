// SPDX-License-Identifier: GPL-2.0-only

//! Copy on write of one device in one snapshot: the shell around [`blksnap_core::cow::Engine`].
//!
//! The engine decides; this folder carries out. A write's way:
//!
//! 1. [`Cow::check`] (atomic, in the submitter): all blocks saved, it passes; else it goes to the worker's list.
//! 2. [`run`]: the worker tells the engine, and carries out its actions: reads of the origin, releases, stores.
//! 3. [`slow`]: a second worker does what may take long: I/O of the difference storage.
//! 4. [`image`]: requests to the image's block device.
//!
//! # States
//!
//! 1. Made by the take, before the gate: nothing reaches it.
//! 2. Live: set in its device's `cow` at the gate; writes are checked.
//! 3. Failed: `failure` is set, then everything passes. Image requests get `EIO`. Never live again.
//! 4. Closed: out of the device, no I/O under way, workers stopped.
//!
//! # Who touches what
//!
//! `state` belongs to the fast worker; others look at it for figures, and the image's submitters never. The order of locks is
//! `state`, then the store's.

pub(crate) mod image;
mod requests;
mod run;
mod slow;
mod stats;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use blksnap_core::cow::{BatchId, CopyId, Engine, LazyCell, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;
use kern::bdev::Open;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::filter::Attachment;
use kern::io::Pool;
use kern::lazy::Once;
use kern::misc::{monotonic_ns, param, Param};
use kern::page::Page;
use kern::sync::{Class, Mutex, RcuArc, Wait};
use kern::vec::TryPush;
use kern::worker::{List, Queue, Worker};

use crate::device::Device;
use crate::events::{Events, What};
use crate::slab::Slab;
use crate::store::Store;
use crate::tracking::Tracking;
use requests::Request;

/// A cell for a page of saved bits.
#[derive(Default)]
pub(crate) struct Lazy(Once<SavedPage>);

impl LazyCell<SavedPage> for Lazy {
    fn get(&self) -> Option<&SavedPage> {
        self.0.get()
    }

    fn set(&self, page: SavedPage) -> core::result::Result<(), SavedPage> {
        self.0.set(page)
    }
}

/// Pages of one copy. Shared with the slow worker while they are written.
type Pages = Arc<Vec<Page>>;

/// Who waits under one of the engine's tokens.
enum Token {
    /// A write to the origin.
    Write(Bio),
    /// A write to the image, by its request's number.
    Image(u32),
}

/// What the fast worker owns.
struct State {
    engine: Engine,
    copies: Vec<Option<Pages>>,
    /// Pages for copies; all there are while nothing is copied.
    spare: Vec<Page>,
    tokens: Slab<Token>,
    requests: Slab<Request>,
    /// Copies whose read waits for a bio; room for all of them is there.
    unread: Vec<(CopyId, BlockRange)>,
    /// Requests whose next pass waits for a bio.
    stalled: Vec<u32>,
    /// Stores that wait for the storage to grow.
    waiting: Vec<(BatchId, u32)>,
    /// When something was last completed, or nothing was held.
    progress_ns: u64,
}

/// One device in one snapshot.
pub(crate) struct Cow {
    worker: Worker<Cow, 0>,
    slow: Worker<Cow, 1>,
    device: Arc<Device>,
    attachment: Attachment,
    /// Gone when closed.
    origin: RcuArc<Open>,
    sectors: u64,
    saved: Saved<Lazy>,
    state: Mutex<State>,
    jobs: Mutex<Vec<slow::Job>>,
    finished: Mutex<Vec<slow::Finished>>,
    /// 0, or the errno of the failure.
    failure: AtomicI32,
    /// The failure was told to the log and the events.
    told: AtomicBool,
    /// Own I/O and jobs under way.
    outstanding: AtomicU32,
    /// Image requests not yet ended.
    requests: AtomicU32,
    image_reads: AtomicU64,
    idle: Wait,
    store: Arc<Store>,
    pool: Pool,
    events: Arc<Events>,
    /// The change tracking that the take switches.
    pub(crate) tracking: Arc<Tracking>,
    /// The take that this is of.
    pub(crate) number: u64,
}

impl Cow {
    /// For a device about to be taken. Sleeps; takes its memory here, so that copying needs none.
    pub(crate) fn new(device: &Arc<Device>, store: &Arc<Store>, events: &Arc<Events>, share: u32) -> Result<Arc<Cow>> {
        let origin = Open::by_number(device.number())?;
        let tracking = device.tracking_for(&origin)?;
        let sectors = tracking.sectors;
        let number = tracking.history.lock().number() + 1;
        let blocks = sectors.div_ceil(blksnap_core::BLOCK_SECTORS);
        let pool_blocks = (param(Param::CopyMemory) / 4 / share.max(1)).clamp(64, 1 << 16);
        let limits = Limits { pool_blocks, ..Limits::default() };
        let mut spare = reserved(pool_blocks)?;
        for _ in 0..pool_blocks {
            let page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
            spare.try_push(page).map_err(|_| Errno::ENOMEM)?;
        }
        let state = State {
            engine: Engine::new(blocks, limits).map_err(|_| Errno::ENOMEM)?,
            copies: kern::alloc::try_vec_with(pool_blocks as usize, || None)?,
            spare,
            tokens: Slab::new(),
            requests: Slab::new(),
            unread: reserved(pool_blocks)?,
            stalled: Vec::new(),
            waiting: Vec::new(),
            progress_ns: monotonic_ns(),
        };
        let cow = kern::alloc::try_arc(Cow {
            worker: Worker::new(Queue::Fast)?,
            slow: Worker::new(Queue::Slow)?,
            device: device.clone(),
            attachment: device.attachment().clone(),
            origin: RcuArc::empty(),
            sectors,
            saved: Saved::new(blocks).map_err(|_| Errno::ENOMEM)?,
            state: Mutex::new(Class::Cow, state)?,
            jobs: Mutex::new(Class::Jobs, Vec::new())?,
            finished: Mutex::new(Class::Jobs, Vec::new())?,
            failure: AtomicI32::new(0),
            told: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            image_reads: AtomicU64::new(0),
            idle: Wait::new()?,
            store: store.clone(),
            pool: Pool::new(64)?,
            events: events.clone(),
            number,
            tracking,
        })?;
        cow.origin.replace(Some(kern::alloc::try_arc(origin)?));
        cow.worker.start(&cow);
        cow.slow.start(&cow);
        Ok(cow)
    }

    /// The device that is copied.
    pub(crate) fn origin(&self) -> Result<Arc<Open>> {
        self.origin.get().ok_or(Errno::EIO)
    }

    /// A write of `sectors` sectors from `sector` of the device: gives it back to pass, or keeps it. Atomic.
    pub(crate) fn check(&self, bio: Bio, sector: u64, sectors: u64) -> Option<Bio> {
        if self.saved.covers(BlockRange::of_sectors(sector, sectors)) {
            return Some(bio);
        }
        self.worker.push(List::Held, bio);
        None
    }

    /// The errno it failed with.
    pub(crate) fn failure(&self) -> Option<Errno> {
        match self.failure.load(Ordering::Acquire) {
            0 => None,
            e => Some(Errno::from_c(-e)),
        }
    }

    /// Gives the snapshot of this device up: writers go on, the image gives `EIO`. Sleeps.
    pub(crate) fn fail(&self, error: Errno) {
        self.blind(error);
        // Also by who comes second: nobody may go on before the engine has failed.
        self.state.lock().engine.fail(&self.saved);
        self.worker.kick();
        if self.told.swap(true, Ordering::AcqRel) {
            return;
        }
        let error = self.failure().unwrap_or(error);
        if error != Errno::ESHUTDOWN {
            let (major, minor) = self.device.number();
            kern::pr_err!("snapshot of device {major}:{minor} is lost: {error}; the device itself goes on");
            self.events.push(What::Corrupted { device: (major, minor), error });
        }
    }

    /// The first part of [`Cow::fail`], for atomic context: the image gives `EIO`, writes pass. Those held wait for the rest.
    pub(crate) fn blind(&self, error: Errno) {
        // INVARIANT: `failure` before `release_all`: whoever sees writes pass also sees the failure.
        let _ = self.failure.compare_exchange(0, i32::from(error.number()), Ordering::AcqRel, Ordering::Acquire);
        self.saved.release_all();
    }

    /// Ends it; the device must not show it to writers any more, and its image must be gone. Sleeps until all I/O has ended.
    pub(crate) fn close(&self) {
        self.fail(Errno::ESHUTDOWN);
        let quiet = || self.outstanding.load(Ordering::Acquire) == 0 && self.requests.load(Ordering::Acquire) == 0;
        while !matches!(self.idle.until(1000, false, quiet), Ok(true)) {
            self.worker.kick();
        }
        self.worker.stop();
        self.slow.stop();
        // Whatever came in before the device let go of us.
        self.flush_held();
        // Somebody may keep the image open for long: what it needed is free now.
        self.origin.replace(None);
        let (copies, spare) = {
            let mut state = self.state.lock();
            (core::mem::take(&mut state.copies), core::mem::take(&mut state.spare))
        };
        drop((copies, spare));
    }

    /// Waits until no write is held any more, after a failure. Sleeps.
    pub(crate) fn flush_held(&self) {
        kern::file::without_reclaim(|| while self.held() | self.act() {});
    }

    fn leave(&self, counter: &AtomicU32) {
        if counter.fetch_sub(1, Ordering::AcqRel) == 1 && self.failure.load(Ordering::Acquire) != 0 {
            self.idle.wake();
        }
    }

    fn range(&self, bio: &Bio) -> BlockRange {
        BlockRange::of_sectors(bio.sector(), bio.sectors())
    }

    /// The sectors of a held write, from the start of the device, cut to the device.
    fn held_range(&self, bio: &Bio) -> (u64, u64) {
        let first = bio.disk_sector();
        let end = first.saturating_add(bio.sectors()).saturating_sub(self.device.start()).min(self.sectors);
        let first = first.saturating_sub(self.device.start()).min(end);
        (first, end - first)
    }
}

fn reserved<T>(len: u32) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len as usize).map_err(|_| Errno::ENOMEM)?;
    Ok(v)
}

fn copy_index(copy: CopyId) -> usize {
    copy.0 as usize
}
