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
//!
//! # Order
//!
//! Several filters may be on a disk and its partitions. A bio is shown to them in the order in which they were attached. One that holds
//! it and sends it on is asked again, and then the next ones are: those before it have let it pass, and count it until it has ended.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::sync::Arc;

use kern::hook::atomic;
use kern::hook::bio::{Answer, Bio, Held, Place};
use kern::hook::control::drain_wait;
use kern::hook::dev::{Device, Disk, Extent};
use kern::hook::flight::{Flight, Wrap};
use kern::hook::ops::{Ops, Private};
use kern::hook::table::{Link, Linked, Removed, Table};
use kern::hook::work::Work;
use kern::sync::Atomic;
use kern::{Errno, Result};

/// All attachments that are shown bios.
static TABLE: Table<Attachment> = Table::new();

/// Bits of [`Attachment::state`]. The gate is closed.
const CLOSED: u32 = 1;
/// Detached, for good.
const GONE: u32 = 2;
/// Others are on the same disk.
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
    let Some(attachment) = TABLE.first(at, disk).filter(|a| a.disk == disk) else {
        return pass_some(at, bio, sector, sectors, disk);
    };
    match attachment.usual(at, bio, (sector, sectors), 0) {
        Ok(answer) => answer,
        Err((bio, counted)) => pass_all(at, bio, sector, sectors, disk, counted),
    }
}

/// [`pass`], where a list has attachments of several disks.
#[inline(never)]
fn pass_some(at: &Atomic, bio: Bio, sector: u64, sectors: u64, disk: Disk) -> Answer {
    if of_disk(at, disk).next().is_some() {
        pass_all(at, bio, sector, sectors, disk, None)
    } else {
        Answer::PASS
    }
}

/// [`pass`], for all that is not usual: a partition, several attachments, a completion that is seen for the first time, a gate that is
/// not open; `counted` has counted the bio already.
#[inline(never)]
fn pass_all(at: &Atomic, mut bio: Bio, sector: u64, sectors: u64, disk: Disk, counted: Option<&Flight>) -> Answer {
    if let Some(flight) = counted {
        flight.finish();
    }
    if let Some(attachment) = of_disk(at, disk).next().filter(|a| a.state.load(Ordering::Relaxed) & CROWDED == 0) {
        let Some(part) = attachment.extent.part(sector, sectors) else { return Answer::PASS };
        match attachment.usual(at, bio, part, PART) {
            Ok(answer) => return answer,
            Err((back, counted)) => {
                bio = back;
                counted.inspect(|flight| flight.finish());
            }
        }
    }
    match route(at, bio, &Place { disk, sector, sectors }, &mut None, None) {
        Some(_) => Answer::PASS,
        None => Answer::HELD,
    }
}

/// A disk's attachments, in the order in which they were attached.
fn of_disk(at: &Atomic, disk: Disk) -> impl Iterator<Item = &Attachment> {
    core::iter::successors(TABLE.first(at, disk), |a| Table::next(at, *a)).filter(move |a| a.disk == disk)
}

/// Shows a bio to every attachment whose range it touches, until one holds it; not to one that counts it already, nor to a filter
/// whose completion it has. `again` is the attachment that held it before and sends it on: those before it count the bio, so that it
/// goes on with the next one.
fn route(at: &Atomic, mut bio: Bio, place: &Place, spare: &mut Option<Wrap>, again: Option<&Attachment>) -> Option<Bio> {
    for attachment in of_disk(at, place.disk) {
        if let Some(part) = attachment.extent.part(place.sector, place.sectors).filter(|_| attachment.concerns(&bio)) {
            bio = attachment.offer(at, bio, spare, part, again.is_some_and(|a| ptr::eq(a, attachment)))?;
        }
    }
    Some(bio)
}

/// Adds an attachment behind those that are there. Under the lock of the control plane, as [`remove`].
pub(crate) fn insert(attachment: &Arc<Attachment>) {
    TABLE.insert(attachment.clone());
    count(attachment.disk);
}

/// Takes an attachment off the table, if it is there. Under the lock of the control plane.
pub(crate) fn remove(attachment: &Arc<Attachment>) -> Option<Removed<Attachment>> {
    let removed = TABLE.remove(attachment);
    count(attachment.disk);
    removed
}

/// Tells the attachments of a disk whether there are several. A bio that is on its way past one that was just added is like one begun
/// before: whoever attaches waits for those.
fn count(disk: Disk) {
    atomic(|at| {
        let alone = of_disk(at, disk).count() == 1;
        for attachment in of_disk(at, disk) {
            if alone {
                attachment.state.fetch_and(!CROWDED, Ordering::SeqCst);
            } else {
                attachment.state.fetch_or(CROWDED, Ordering::SeqCst);
            }
        }
    });
}

impl Attachment {
    /// Not shown anything yet. Sleeps.
    pub(crate) fn new(device: &Device, ops: Ops) -> Result<Arc<Attachment>> {
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

    /// Whether it is to be shown this bio.
    fn concerns(&self, bio: &Bio) -> bool {
        !(bio.is_counted() && bio.is_counted_in(&self.flight)) && !self.filter.is_own(bio.origin())
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
