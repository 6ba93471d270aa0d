// SPDX-License-Identifier: GPL-2.0-only

//! A filter on a device: what becomes of a bio, and the gate.
//!
//! # Gate
//!
//! States: 1 open: bios are shown to the filter. 2 closed: bios wait in [`Attachment::held`]. 3 gone: detached, for good; what
//! still comes here just goes on. 1 and 2 alternate by [`Attachment::gate_close`] and [`Attachment::gate_open`]; 3 is set by
//! [`Attachment::gone`] when no bio is shown any more.
//!
//! # Accounting
//!
//! A bio is counted before the gate is looked at, so that either it sees the gate closed, or who closed the gate sees it counted.
//! It is counted out when it is held, by the gate or by a filter, or when it has ended. A bio that is counted for this
//! attachment already (what is left of one that a driver split) passes as it is, even at a closed gate. How it is counted:
//! [`Flight`].

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::sync::Arc;

use kern::hook::atomic;
use kern::hook::bio::{Answer, Bio, Held, Pass, Place};
use kern::hook::control::drain_wait;
use kern::hook::dev::{Device, Disk, Extent};
use kern::hook::flight::{Flight, Wrap};
use kern::hook::ops::{Ops, Private};
use kern::hook::table::{Link, Linked, Table};
use kern::hook::work::Work;
use kern::sync::Atomic;
use kern::{Errno, Result};

/// All attachments that are shown bios.
pub(crate) static TABLE: Table<Attachment> = Table::new();

const OPEN: u32 = 0;
const CLOSED: u32 = 1;
const GONE: u32 = 2;

/// A filter on a device.
pub(crate) struct Attachment {
    gate: AtomicU32,
    disk: Disk,
    extent: Extent,
    filter: Private,
    flight: Flight,
    held: Held,
    work: Work,
    link: Link<Attachment>,
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

/// A bio from the hook. One attachment to a whole disk, which has seen the bio's completion before, is the shortest way.
#[inline(always)]
pub(crate) fn pass(at: &Atomic, bio: Bio, place: &Place) -> Answer {
    let (disk, sector, sectors) = (place.disk, place.sector, place.sectors);
    let Some(attachment) = TABLE.first(at, disk) else { return Answer::PASS };
    if attachment.disk == disk && Table::next(at, attachment).is_none() && attachment.extent.is_whole() {
        match attachment.usual(at, bio, (sector, sectors)) {
            Ok(answer) => answer,
            Err((bio, counted)) => pass_all(at, bio, disk, sector, sectors, counted),
        }
    } else {
        pass_some(at, bio, disk, sector, sectors)
    }
}

/// [`pass`], for one attachment to a partition.
#[inline(never)]
fn pass_some(at: &Atomic, mut bio: Bio, disk: Disk, sector: u64, sectors: u64) -> Answer {
    let Some(attachment) = TABLE.first(at, disk) else { return Answer::PASS };
    let mut counted = None;
    if Table::next(at, attachment).is_none() {
        let part = attachment.extent.part(sector, sectors).filter(|_| attachment.disk == disk);
        let Some(part) = part else { return Answer::PASS };
        match attachment.usual(at, bio, part) {
            Ok(answer) => return answer,
            Err(back) => (bio, counted) = back,
        }
    }
    pass_all(at, bio, disk, sector, sectors, counted)
}

/// [`pass`], for all that is not usual: several attachments, a completion that is seen for the first time, a gate that is not open; then
/// `counted` has counted the bio already.
#[inline(never)]
fn pass_all(at: &Atomic, bio: Bio, disk: Disk, sector: u64, sectors: u64, counted: Option<&Flight>) -> Answer {
    if let Some(flight) = counted {
        flight.finish();
    }
    let mut pass = Pass::new(&bio, None);
    let bio = route(at, bio, &Place { disk, sector, sectors }, &mut pass, None);
    pass.answer(bio)
}

/// Shows a bio to every attachment whose range it touches, until one holds it; not to one that counts it already, nor to a filter
/// whose completion it has. `again` is the attachment that held it before and sends it on.
fn route(at: &Atomic, mut bio: Bio, place: &Place, pass: &mut Pass, again: Option<&Attachment>) -> Option<Bio> {
    let mut next = TABLE.first(at, place.disk);
    while let Some(attachment) = next {
        if let Some(part) = attachment.extent.part(place.sector, place.sectors).filter(|_| attachment.concerns(&bio, place)) {
            bio = attachment.offer(at, bio, pass, part, again.is_some_and(|a| ptr::eq(a, attachment)))?;
        }
        next = Table::next(at, attachment);
    }
    Some(bio)
}

impl Attachment {
    /// Not shown anything yet. Sleeps.
    pub(crate) fn new(device: &Device, ops: Ops) -> Result<Arc<Attachment>> {
        let attachment = kern::alloc::try_arc(Attachment {
            gate: AtomicU32::new(OPEN),
            disk: device.disk(),
            extent: device.extent(),
            filter: ops.private(),
            flight: Flight::new()?,
            held: Held::new(),
            work: Work::new(),
            link: Link::new(),
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

    /// A bio that concerns nobody else, and whose completion was seen before. It comes back when it is not of that kind, and when the
    /// gate is not open; then it is counted.
    #[inline(always)]
    fn usual(&self, at: &Atomic, bio: Bio, part: (u64, u64)) -> core::result::Result<Answer, (Bio, Option<&Flight>)> {
        let Some(end) = self.flight.usual(&bio) else { return Err((bio, None)) };
        self.flight.start();
        if self.gate.load(Ordering::Acquire) == OPEN {
            return Ok(bio.show_only(at, &self.filter, part, end));
        }
        Err((bio, Some(&self.flight)))
    }

    fn concerns(&self, bio: &Bio, place: &Place) -> bool {
        self.disk == place.disk && !(bio.is_counted() && bio.is_counted_in(&self.flight)) && !self.filter.is_own(bio.origin())
    }

    /// What becomes of a bio: it comes back, counted, or it is held.
    fn offer(&self, at: &Atomic, bio: Bio, pass: &mut Pass, part: (u64, u64), again: bool) -> Option<Bio> {
        let Some(seat) = self.flight.seat(&bio, pass) else {
            self.hold(bio, pass);
            return None;
        };
        self.flight.start();
        if self.gate.load(Ordering::Acquire) != OPEN {
            return self.at_gate(bio, pass);
        }
        bio.show(at, pass, &self.filter, part, again, &self.flight, seat)
    }

    /// The gate is not open for a bio that is counted.
    #[cold]
    fn at_gate(&self, bio: Bio, pass: &mut Pass) -> Option<Bio> {
        self.flight.finish();
        if self.gate.load(Ordering::Acquire) == GONE {
            return Some(bio);
        }
        self.hold(bio, pass);
        None
    }

    /// The bio waits for the gate, or for memory. Other attachments on this disk that were shown it before will be shown it again.
    #[cold]
    fn hold(&self, bio: Bio, pass: &mut Pass) {
        self.held.push(bio, pass);
        // Whoever opened the gate meanwhile may have looked at the list before.
        if self.gate.load(Ordering::SeqCst) != CLOSED {
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
        let mut pass = Pass::new(&bio, Wrap::wait());
        if let Some(bio) = atomic(|at| route(at, bio, &place, &mut pass, again.then_some(self))) {
            pass.close(bio).send();
        }
    }

    /// Bios that arrive from now on wait.
    pub(crate) fn gate_close(&self) {
        let _ = self.gate.compare_exchange(OPEN, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
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
        if self.gate.compare_exchange(CLOSED, OPEN, Ordering::SeqCst, Ordering::SeqCst).is_ok() && !self.held.is_empty() {
            self.work.queue(self);
        }
    }

    /// Whether no bio is in flight. None may start meanwhile.
    pub(crate) fn idle(&self) -> bool {
        self.flight.idle()
    }

    /// Detached: no bio is shown to the filter any more, and none will be.
    pub(crate) fn gone(&self) {
        self.gate.store(GONE, Ordering::SeqCst);
    }

    /// Queues the worker, which ends in [`crate::registry::work`].
    pub(crate) fn queue(&self) {
        self.work.queue(self);
    }
}
