// SPDX-License-Identifier: GPL-2.0-only

//! Which attachments a bio is shown to.
//!
//! Several filters may be on a disk and its partitions. A bio is shown to them in the order in which they were attached. One that holds
//! it and sends it on is asked again, and then the next ones are: those before it have let it pass, and count it until it has ended.

use core::ptr;
use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use kern::hook::bio::{Answer, Bio, Place};
use kern::hook::dev::Disk;
use kern::hook::flight::{Flight, Wrap};
use kern::hook::table::{Removed, Table};
use kern::hook::{atomic, crowd};
use kern::sync::Atomic;

use super::{Attachment, CROWDED, PART};

/// All attachments that are shown bios.
static TABLE: Table<Attachment> = Table::new();

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
        // One that was held, and is sent on.
        if attachment.counts(&bio) {
            return Answer::PASS;
        }
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
pub(super) fn route(
    at: &Atomic,
    mut bio: Bio,
    place: &Place,
    spare: &mut Option<Wrap>,
    again: Option<&Attachment>,
) -> Option<Bio> {
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
    // Its bit stays: somebody may still be asking it, and what is next to it after it.
    if removed.is_some() && attachment.state.load(Ordering::SeqCst) & CROWDED != 0 {
        crowd(false);
    }
    count(attachment.disk);
    removed
}

/// Tells the attachments of a disk whether bios come that another one has counted alone. A bio that is on its way past one that was just
/// added is like one begun before: whoever attaches waits for those.
fn count(disk: Disk) {
    atomic(|at| {
        let one = of_disk(at, disk).count() == 1;
        for attachment in of_disk(at, disk) {
            let alone = one && !attachment.is_leg;
            let before = if alone {
                attachment.state.fetch_and(!CROWDED, Ordering::SeqCst)
            } else {
                attachment.state.fetch_or(CROWDED, Ordering::SeqCst)
            };
            if (before & CROWDED == 0) != alone {
                crowd(!alone);
            }
        }
    });
}
