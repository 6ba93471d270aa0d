// SPDX-License-Identifier: GPL-2.0-only

//! Copy on write of one device, for all snapshots of it: the shell around [`blksnap_core::cow::Engine`].
//!
//! A chain has one [`Shard`] or several, for processors that write to different parts of the device: each has an engine, which decides, and carries out
//! what that wants. A write's way:
//!
//! 1. [`Layer::check`] (atomic, in the submitter): all blocks saved, it passes; else it goes to the list of a shard's worker.
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
//! A shard's `state` belongs to its fast worker; images look up blocks in it, and others look at it for figures. Whoever locks it does not reclaim
//! memory meanwhile, as writers wait for it: see [`Shard::with`]. The order of locks is [`Chain::turns`], one `state`, then a storage's.

mod frames;
mod here;
mod images;
mod layer;
mod place;
mod round;
mod run;
mod shard;
mod slots;
mod slow;
mod stats;
mod take;
mod watch;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use blksnap_core::cow::{Limits, Lost, Policy, Saved, Stripes};
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bdev::Open;
use kern::errno::{Errno, Result};
use kern::filter::Attachment;
use kern::sync::{Class, Mutex, RcuArc};
use kern::vec::TryPush;

use crate::device::Device;
use crate::events::What;
use crate::tracking::Tracking;
pub(crate) use layer::{Layer, Lazy};
use shard::Shard;
pub(crate) use slots::{Owner, Place};

/// What all shards of a chain share.
struct Common {
    device: Arc<Device>,
    attachment: Attachment,
    sectors: u64,
    stripes: Stripes,
    /// 0, or the errno of the failure.
    failure: AtomicI32,
    /// From when it is whole until it is closed.
    chain: RcuArc<Chain>,
}

/// All snapshots of one device.
pub(crate) struct Chain {
    common: Arc<Common>,
    first: Arc<Shard>,
    others: Vec<Arc<Shard>>,
    /// Takes and ends, which all shards have to see in the same order.
    turns: Mutex<()>,
    /// The failure was told to the log and the events.
    told: AtomicBool,
    /// For images; gone when closed.
    origin: RcuArc<Open>,
    /// The change tracking that takes switch.
    pub(crate) tracking: Arc<Tracking>,
}

impl Common {
    fn failure(&self) -> Option<Errno> {
        match self.failure.load(Ordering::SeqCst) {
            0 => None,
            e => Some(Errno::from_c(-e)),
        }
    }

    /// Images give `EIO` from here on, and nobody joins any more. The first failure is the one that is told. Atomic.
    fn mark_failed(&self, error: Errno) {
        let code = i32::from(error.number());
        let _ = self.failure.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Chain {
    /// For a device about to be taken. Sleeps; takes its memory here, so that copying needs none.
    pub(crate) fn new(device: &Arc<Device>, pool_blocks: u32, policy: Policy) -> Result<Arc<Chain>> {
        let origin = kern::alloc::try_arc(Open::by_number(device.number())?)?;
        let tracking = device.tracking_for(&origin)?;
        let sectors = tracking.sectors;
        let limits = Limits { pool_blocks, policy, ..Limits::default() };
        let stripes = Stripes::fitting(sectors.div_ceil(BLOCK_SECTORS), kern::misc::processors(), &limits);
        let common = kern::alloc::try_arc(Common {
            device: device.clone(),
            attachment: device.attachment().clone(),
            sectors,
            stripes,
            failure: AtomicI32::new(0),
            chain: RcuArc::empty(),
        })?;
        let limits = stripes.share(limits);
        let mut others = reserved(stripes.engines() - 1)?;
        for which in 1..stripes.engines() as usize {
            others.try_push(Shard::new(&common, which, limits, &origin)?).map_err(|_| Errno::ENOMEM)?;
        }
        let chain = kern::alloc::try_arc(Chain {
            first: Shard::new(&common, 0, limits, &origin)?,
            others,
            turns: Mutex::new(Class::Turns, ())?,
            told: AtomicBool::new(false),
            origin: RcuArc::empty(),
            common,
            tracking,
        })?;
        chain.origin.replace(Some(origin));
        chain.common.chain.replace(Some(chain.clone()));
        for shard in chain.shards() {
            shard.worker.start(shard);
            shard.slow.start(shard);
        }
        Ok(chain)
    }

    fn shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        core::iter::once(&self.first).chain(&self.others)
    }

    /// The shard of a number. Atomic.
    #[inline(always)]
    fn shard(&self, which: usize) -> &Arc<Shard> {
        which.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }

    /// The shard that is to hold a write. Atomic.
    #[inline(always)]
    fn shard_for(&self, saved: &Saved<Lazy>, range: BlockRange) -> &Arc<Shard> {
        if self.others.is_empty() {
            return &self.first;
        }
        self.shard(self.stripes().part(saved, range).0)
    }

    /// The device that is copied.
    pub(crate) fn origin(&self) -> Result<Arc<Open>> {
        self.origin.get().ok_or(Errno::EIO)
    }

    /// Blocks of the device.
    pub(crate) fn blocks(&self) -> u64 {
        self.common.sectors.div_ceil(BLOCK_SECTORS)
    }

    /// Sectors of the device.
    pub(crate) fn sectors(&self) -> u64 {
        self.common.sectors
    }

    /// How its blocks are divided among its shards.
    pub(crate) fn stripes(&self) -> Stripes {
        self.common.stripes
    }

    /// The errno it failed with.
    pub(crate) fn failure(&self) -> Option<Errno> {
        self.common.failure()
    }

    /// Gives all snapshots of this device up: writers go on, images give `EIO`. Sleeps.
    pub(crate) fn fail(&self, error: Errno) {
        self.common.mark_failed(error);
        let error = self.failure().unwrap_or(error);
        let tell = !self.told.swap(true, Ordering::AcqRel) && error != Errno::ESHUTDOWN;
        for shard in self.shards() {
            // Also by who comes second: nobody may go on before the engines have failed.
            shard.with(|state| shard.give_up(state, error));
            shard.kick();
            shard.idle.wake();
        }
        if tell {
            let (major, minor) = self.common.device.number();
            self.first.with(|state| {
                for live in &state.live {
                    live.events.push(What::Corrupted { device: (major, minor), error });
                }
            });
            kern::pr_err!("snapshots of device {major}:{minor} are lost: {error}; the device itself goes on");
        }
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
