// SPDX-License-Identifier: GPL-2.0-only

//! A snapshot's image of one device: what a user of `/dev/blksnap-imageN` gets.
//!
//! Reads of what nobody has written since the take, neither on the origin nor in the image, go straight to the origin and are
//! looked at again when they come back. Reads of what is all in memory, or in one piece on a storage's device, are served at once
//! ([`at_once`]). All else goes to the image's worker: reads of what lies here and there ([`read`]), and writes ([`write`]), which change this
//! image alone.
//!
//! # States
//!
//! 1. Made by the take, before the gate: nothing reaches it. 2. Of an epoch, from the instant on; its disk is added afterwards.
//! 3. Shut: the snapshot ends, or the take failed; each request gets `EIO`. 4. Closed: no request is under way, the epoch has ended.
//!    The disk may keep it alive for as long as somebody has it open.
//!
//! # Who touches what
//!
//! `state` is the worker's. Where a block is, the chain's lock guards; `state` is taken before it.

mod at_once;
mod block;
mod read;
mod space;
mod write;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use blksnap_core::cow::{Epoch, Saved};
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bio::{Bio, BioList, Op};
use kern::disk::Serve;
use kern::errno::{Errno, Result};
use kern::io::{forward, Forward, Kind, Pool};
use kern::sync::{Class, Mutex, RcuArc, Wait};
use kern::worker::{List, Queue, Worker};

use crate::chain::{Chain, Layer, Lazy};
use crate::events::Events;
use crate::slab::Slab;
use crate::store::Stores;
pub(crate) use block::Cut;
use read::Request;

/// Bytes of a block.
const BLOCK: u64 = BLOCK_SECTORS * 512;

/// What the worker owns.
struct State {
    requests: Slab<Request>,
    /// Requests whose next pass waits for a bio.
    stalled: Vec<u32>,
    /// What came and is not a request yet: there are enough under way.
    backlog: BioList,
}

/// One device in one snapshot.
pub(crate) struct Image {
    worker: Worker<Image>,
    pub(crate) chain: Arc<Chain>,
    layer: Arc<Layer>,
    /// What its requests suit: bytes of a logical block, and how memory is aligned, as a mask.
    asks: (u32, u32),
    /// 0 before the instant.
    epoch: AtomicU32,
    /// Blocks that the image may have of its own.
    pub(crate) own: Saved<Lazy>,
    /// Gone when closed.
    stores: RcuArc<Stores>,
    state: Mutex<State>,
    /// Writes whose turn has come; there is room for all.
    granted: Mutex<Vec<u32>>,
    shut: AtomicBool,
    /// Requests not yet ended, and own I/O under way.
    requests: AtomicU32,
    idle: Wait,
    /// For what is sent and comes back to the worker.
    pool: Pool,
    /// For what the worker waits for.
    waited: Pool,
    reads: AtomicU64,
    writes: AtomicU64,
    free_blocks: AtomicU64,
    /// The take that this is of.
    pub(crate) number: u64,
}

impl Image {
    /// For the next take of a chain. Sleeps; `ENOMEM`; `EAGAIN`: the chain is closed.
    pub(crate) fn new(layer: &Arc<Layer>, stores: &Arc<Stores>) -> Result<Arc<Image>> {
        let chain = &layer.chain;
        let asks = stores.asks(&*chain.origin().map_err(|_| Errno::EAGAIN)?);
        let image = kern::alloc::try_arc(Image {
            worker: Worker::new(Queue::Slow)?,
            chain: chain.clone(),
            layer: layer.clone(),
            asks,
            epoch: AtomicU32::new(0),
            own: Saved::own(chain.blocks()).map_err(|_| Errno::ENOMEM)?,
            stores: RcuArc::empty(),
            state: Mutex::new(Class::Image, State { requests: Slab::new(), stalled: Vec::new(), backlog: BioList::new() })?,
            granted: Mutex::new(Class::Jobs, Vec::new())?,
            shut: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            idle: Wait::new()?,
            pool: Pool::new(64)?,
            waited: Pool::new(2)?,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            free_blocks: AtomicU64::new(0),
            number: chain.tracking.history.lock().number() + 1,
        })?;
        image.stores.replace(Some(stores.clone()));
        image.worker.start(&image);
        Ok(image)
    }

    /// Its epoch's bits.
    pub(crate) fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// What its requests suit: bytes of a logical block, and how memory is aligned, as a mask.
    pub(crate) fn asks(&self) -> (u32, u32) {
        self.asks
    }

    /// Makes its chain ready for the take. Sleeps for a lock.
    pub(crate) fn prepare(&self) -> Result {
        self.chain.prepare()
    }

    /// The instant. `EAGAIN`: the chain has failed or ended. At the gate; sleeps for locks alone.
    pub(crate) fn switch(self: &Arc<Self>, stores: &Arc<Stores>, events: &Arc<Events>) -> Result {
        self.chain.switch(&self.layer, self, stores, events)
    }

    /// The instant was: its place among the device's snapshots. Once, before its disk is added. Atomic.
    pub(crate) fn born(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Release);
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// The errno that its device's snapshots failed with.
    pub(crate) fn failure(&self) -> Option<Errno> {
        self.chain.failure()
    }

    /// Reads and writes that came to it.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }

    /// Bytes that read as zeros since nobody needs what was there.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_blocks.load(Ordering::Relaxed) * BLOCK
    }

    /// Bytes of kernel memory that are its own alone.
    pub(crate) fn memory(&self) -> u64 {
        self.own.memory_bytes() as u64 + self.layer.memory()
    }

    /// From now on each request gets `EIO`. Atomic.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.worker.kick();
    }

    /// Ends it; its disk is gone, or was never added. Sleeps until no request is under way, and for the end of its epoch.
    pub(crate) fn close(&self) {
        self.shut();
        while !matches!(self.idle.until(1000, false, || self.requests.load(Ordering::SeqCst) == 0), Ok(true)) {
            self.worker.kick();
        }
        self.worker.stop();
        self.stores.replace(None);
        if self.epoch() != Epoch(0) {
            self.chain.end(self.epoch());
        } else if self.chain.unprepare() {
            self.chain.close();
        }
    }

    fn is_over(&self) -> bool {
        self.shut.load(Ordering::SeqCst) || self.chain.failure().is_some()
    }

    /// Whether the blocks are on the origin as they were at the take, and nothing of them is in the image. Atomic.
    fn untouched(&self, bio: &Bio) -> bool {
        let range = BlockRange::of_sectors(bio.sector(), bio.sectors());
        self.own.untouched(range) && self.layer.untouched(range)
    }

    fn end_request(&self, bio: Bio, result: Result) {
        bio.end(result);
        self.leave();
    }

    fn leave(&self) {
        if self.requests.fetch_sub(1, Ordering::SeqCst) == 1 && self.shut.load(Ordering::SeqCst) {
            self.idle.wake();
        }
    }
}

impl Serve for Image {
    fn serve(self: &Arc<Self>, bio: Bio) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.is_over() {
            return self.end_request(bio, Err(Errno::EIO));
        }
        if bio.sectors() == 0 {
            // A flush: nothing of an image outlives a crash.
            return self.end_request(bio, Ok(()));
        }
        if bio.op() != Op::Read {
            self.writes.fetch_add(1, Ordering::Relaxed);
            return self.worker.push(List::Requests, bio);
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        let back = if self.untouched(&bio) {
            let Ok(origin) = self.chain.origin() else { return self.end_request(bio, Err(Errno::EIO)) };
            let sector = bio.sector();
            forward(&self.pool, &origin, bio, sector, Kind::Origin, self).err()
        } else {
            self.read_at_once(bio)
        };
        if let Some(bio) = back {
            self.worker.push(List::Requests, bio);
        }
    }
}

impl Forward for Image {
    fn forwarded(&self, bio: Bio, result: Result) {
        // Still untouched now, also by takes that came meanwhile: so no write had passed when the data was read. A failure makes everything
        // touched.
        if result.is_ok() && self.untouched(&bio) {
            self.end_request(bio, Ok(()));
        } else {
            self.worker.push(List::Requests, bio);
        }
    }

    fn stored(&self, bio: Bio, result: Result) {
        self.end_request(bio, result.map_err(|_| Errno::EIO));
    }
}
