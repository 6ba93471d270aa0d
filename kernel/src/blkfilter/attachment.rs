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
//! It is counted out when it is held, by the gate or by the filter, or when it has ended. A bio that is counted for this
//! attachment already (what is left of one that a driver split) passes as it is, even at a closed gate.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use alloc::sync::Arc;

use kern::hook::bio::{Bio, Held, Place, Wrap};
use kern::hook::control::{drain_wait, drain_wake};
use kern::hook::dev::{Device, Disk};
use kern::hook::ops::{Ops, Private};
use kern::hook::table::{Link, Linked, Table};
use kern::hook::work::Work;
use kern::hook::Atomic;
use kern::{Errno, Result};

use crate::counts::Counts;

/// All attachments that are shown bios.
pub(crate) static TABLE: Table<Attachment> = Table::new();

const OPEN: u32 = 0;
const CLOSED: u32 = 1;
const GONE: u32 = 2;

/// A filter on a device.
pub(crate) struct Attachment {
    gate: AtomicU32,
    disk: Disk,
    first: u64,
    filter: Private,
    counts: Counts,
    held: Held,
    work: Work,
    link: Link<Attachment>,
    device: Device,
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

/// Shows a bio to every attachment whose range it touches, until one holds it. `caller` is the address that submits it; a filter
/// is not shown what comes from its own text. `again` is the attachment that held it before and sends it on; `spare` is memory
/// for counting it, if there is any already.
#[inline]
pub(crate) fn route(
    at: &Atomic,
    mut bio: Bio,
    place: &Place,
    caller: usize,
    again: Option<&Attachment>,
    spare: &mut Option<Wrap>,
) -> Option<Bio> {
    let mut next = TABLE.first(at, place.disk);
    while let Some(attachment) = next {
        if let Some(part) = attachment.part(place).filter(|_| !attachment.filter.is_own(caller)) {
            bio = attachment.offer(at, bio, part, again.is_some_and(|a| ptr::eq(a, attachment)), spare)?;
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
            first: device.first(),
            filter: ops.private(),
            counts: Counts::new()?,
            held: Held::new(),
            work: Work::new(),
            link: Link::new(),
            device: device.clone(),
            lingers: AtomicBool::new(false),
        })?;
        attachment.work.bind(&attachment)?;
        Ok(attachment)
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The filter, for everything but showing it bios.
    pub(crate) fn filter(&self) -> &Private {
        &self.filter
    }

    /// Whether two ranges of one disk meet.
    pub(crate) fn overlaps(&self, device: &Device) -> bool {
        self.disk == device.disk() && self.first < device.end() && device.first() < self.device.end()
    }

    /// The part of a bio that lies on the device, as first sector and end. A partition may grow and shrink while it is in use, so its
    /// end is asked for each time.
    #[inline]
    fn part(&self, place: &Place) -> Option<(u64, u64)> {
        if self.disk != place.disk {
            return None;
        }
        let (from, end) = (place.sector.max(self.first), place.end().min(self.device.end()));
        (from < end).then_some((from, end))
    }

    /// What becomes of a bio: it comes back, counted, or it is held.
    #[inline]
    fn offer(&self, at: &Atomic, bio: Bio, (from, end): (u64, u64), again: bool, spare: &mut Option<Wrap>) -> Option<Bio> {
        if bio.counted_for(self) {
            return Some(bio);
        }
        let Some(wrap) = spare.take().or_else(Wrap::try_new) else {
            self.hold(at, bio);
            return None;
        };
        self.counts.start(at);
        match self.gate.load(Ordering::SeqCst) {
            OPEN => {}
            CLOSED => {
                self.finish(at);
                self.hold(at, bio);
                return None;
            }
            _ => {
                self.finish(at);
                return Some(bio);
            }
        }
        match self.filter.submit(at, bio, from - self.first, end - from, again) {
            Some(bio) => {
                wrap.count(&bio, self);
                Some(bio)
            }
            None => {
                self.finish(at);
                None
            }
        }
    }

    /// A bio that was counted is not in flight any more.
    #[inline]
    pub(crate) fn finish(&self, at: &Atomic) {
        self.counts.finish(at);
        if self.gate.load(Ordering::SeqCst) != OPEN {
            drain_wake();
        }
    }

    /// The bio waits for the gate, or for memory. It must not be in flight for anybody meanwhile: other attachments on this disk
    /// that were shown it before will be shown it again.
    #[cold]
    fn hold(&self, at: &Atomic, mut bio: Bio) {
        while bio.uncount(|other: &Attachment| {
            let undo = other.disk == self.disk;
            if undo {
                other.finish(at);
            }
            undo
        }) {}
        self.held.push(bio);
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

    fn send(&self, bio: Bio, again: bool) {
        let place = bio.place();
        let mut spare = Wrap::wait();
        let passed = Atomic::enter(|at| route(at, bio, &place, 0, again.then_some(self), &mut spare));
        if let Some(bio) = passed {
            bio.send();
        }
    }

    /// Bios that arrive from now on wait.
    pub(crate) fn gate_close(&self) {
        let _ = self.gate.compare_exchange(OPEN, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Waits until no bio is in flight. Sleeps.
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

    /// Whether no bio is in flight.
    pub(crate) fn idle(&self) -> bool {
        self.counts.idle()
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
