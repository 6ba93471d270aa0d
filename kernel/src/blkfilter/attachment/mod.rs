// SPDX-License-Identifier: GPL-2.0-only

//! A filter on a device: what becomes of a bio, and the gate.
//!
//! # Gate
//!
//! States, which are bits of [`Attachment::state`]: 1 open: bios are shown to the filter. 2 [`CLOSED`]: bios wait in
//! [`Attachment::held`]. 3 [`GONE`]: detached, for good; what still comes here just goes on. 1 and 2 alternate by
//! [`Attachment::gate_close`] and [`Attachment::gate_open`]; 3 is set by [`Attachment::gone`] when no bio is shown any more.
//!
//! # Accounting
//!
//! A bio is counted before the gate is looked at, so that either it sees the gate closed, or who closed the gate sees it counted.
//! It is counted out when it is held, by this gate or by this filter, or when it has ended. A bio that is counted for this
//! attachment already (what is left of one that a driver split; one that a later filter held) passes as it is, even at a closed gate.
//! How it is counted: [`Flight`].

mod route;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::sync::Arc;

use kern::hook::atomic;
use kern::hook::bio::{Answer, Bio, Held};
use kern::hook::control::drain_wait;
use kern::hook::dev::{Device, Disk, Extent};
use kern::hook::flight::{Flight, Wrap};
use kern::hook::ops::{Ops, Private};
use kern::hook::table::{Link, Linked};
use kern::hook::work::Work;
use kern::sync::Atomic;
use kern::{Errno, Result};

use route::route;
pub(crate) use route::{insert, pass, remove};

/// Bits of [`Attachment::state`]. The gate is closed.
const CLOSED: u32 = 1;
/// Detached, for good.
const GONE: u32 = 2;
/// Others are on the same disk, or on one that sends its own bios on to this one.
const CROWDED: u32 = 4;
/// It is a partition's.
const PART: u32 = 8;

/// A filter on a device.
pub(crate) struct Attachment {
    /// None of the bits: a bio of the disk goes the shortest way.
    state: AtomicU32,
    disk: Disk,
    extent: Extent,
    filter: Private,
    flight: Flight,
    held: Held,
    work: Work,
    link: Link<Attachment>,
    /// To a part of an active device, by force: bios come that were counted there.
    is_leg: bool,
    /// Detached, with bios still in flight: the worker waits for them.
    pub(crate) lingers: AtomicBool,
}

impl Linked for Attachment {
    fn link(&self) -> &Link<Self> {
        &self.link
    }

    fn disk(&self) -> Disk {
        self.disk
    }
}

impl Attachment {
    /// Not shown anything yet; `is_leg`: to a part of an active device. Sleeps.
    pub(crate) fn new(device: &Device, ops: Ops, is_leg: bool) -> Result<Arc<Attachment>> {
        let extent = device.extent();
        let attachment = kern::alloc::try_arc(Attachment {
            state: AtomicU32::new(if extent.is_whole() { 0 } else { PART }),
            disk: device.disk(),
            extent,
            filter: ops.private(),
            flight: Flight::new()?,
            held: Held::new(),
            work: Work::new(),
            link: Link::new(),
            is_leg,
            lingers: AtomicBool::new(false),
        })?;
        attachment.work.bind(&attachment)?;
        Ok(attachment)
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        self.extent.device()
    }

    /// The filter, for everything but showing it bios.
    pub(crate) fn filter(&self) -> &Private {
        &self.filter
    }

    /// Whether the device shares sectors with ours.
    pub(crate) fn overlaps(&self, device: &Device) -> bool {
        self.extent.meets(&device.extent())
    }

    /// A bio that concerns nobody else, and whose completion was seen before. It comes back when it is not of that kind, and when there is
    /// something in the way but the bits of `but`, of those that [`Attachment::state`] has; then it is counted.
    #[inline(always)]
    fn usual(&self, at: &Atomic, bio: Bio, part: (u64, u64), but: u32) -> core::result::Result<Answer, (Bio, Option<&Flight>)> {
        let Some(end) = self.flight.usual(&bio) else { return Err((bio, None)) };
        self.flight.start();
        if self.state.load(Ordering::Acquire) & !but == 0 {
            return Ok(bio.show_only(at, &self.filter, part, end));
        }
        Err((bio, Some(&self.flight)))
    }

    /// Whether the bio was shown to it already.
    fn counts(&self, bio: &Bio) -> bool {
        bio.is_counted() && bio.is_counted_in(&self.flight)
    }

    /// Whether it is to be shown this bio.
    fn concerns(&self, bio: &Bio) -> bool {
        !self.counts(bio) && !self.filter.is_own(bio.origin())
    }

    /// What becomes of a bio: it comes back, counted, or it is held.
    fn offer(&self, at: &Atomic, bio: Bio, spare: &mut Option<Wrap>, part: (u64, u64), again: bool) -> Option<Bio> {
        let Some(seat) = self.flight.seat(&bio, spare) else {
            self.hold(bio);
            return None;
        };
        self.flight.start();
        if self.state.load(Ordering::Acquire) & (CLOSED | GONE) != 0 {
            return self.at_gate(bio);
        }
        bio.show(at, &self.filter, part, again, &self.flight, seat)
    }

    /// The gate is not open for a bio that is counted.
    #[cold]
    fn at_gate(&self, bio: Bio) -> Option<Bio> {
        self.flight.finish();
        if self.state.load(Ordering::Acquire) & GONE != 0 {
            return Some(bio);
        }
        self.hold(bio);
        None
    }

    /// The bio waits for the gate, or for memory. Attachments that were shown it before count it meanwhile.
    #[cold]
    fn hold(&self, bio: Bio) {
        self.held.push(bio);
        // Whoever opened the gate meanwhile may have looked at the list before.
        if self.state.load(Ordering::SeqCst) & (CLOSED | GONE) != CLOSED {
            self.work.queue(self);
        }
    }

    /// Sends on what waits. Sleeps.
    pub(crate) fn send_held(&self) {
        for bio in self.held.take() {
            self.send(bio, false);
        }
    }

    /// The filter sends on what it held. Sleeps.
    pub(crate) fn submit(&self, bio: Bio) {
        self.send(bio, true);
    }

    fn send(&self, mut bio: Bio, again: bool) {
        let place = bio.place();
        let mut spare = Wrap::wait();
        if let Some(bio) = atomic(|at| route(at, bio, &place, &mut spare, again.then_some(self))) {
            bio.send();
        }
    }

    /// Bios that arrive from now on wait.
    pub(crate) fn gate_close(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Waits until no bio is in flight, at a closed gate. Sleeps.
    pub(crate) fn gate_drain(&self, timeout_ms: u32) -> Result {
        if drain_wait(&|| self.idle(), timeout_ms) {
            Ok(())
        } else {
            Err(Errno::ETIMEDOUT)
        }
    }

    /// Bios that waited go on.
    pub(crate) fn gate_open(&self) {
        if self.state.fetch_and(!CLOSED, Ordering::SeqCst) & CLOSED != 0 && !self.held.is_empty() {
            self.work.queue(self);
        }
    }

    /// Whether no bio is in flight. None may start meanwhile.
    pub(crate) fn idle(&self) -> bool {
        self.flight.idle()
    }

    /// Detached: no bio is shown to the filter any more, and none will be.
    pub(crate) fn gone(&self) {
        self.state.fetch_or(GONE, Ordering::SeqCst);
    }

    /// Queues the worker, which ends in [`crate::registry::work`].
    pub(crate) fn queue(&self) {
        self.work.queue(self);
    }
}
