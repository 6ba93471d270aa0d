// SPDX-License-Identifier: GPL-2.0-only

//! A bio on its way, and what is done to it: counted, held, sent on.
//!
//! A [`Bio`] belongs to whoever has the value. It is given back to its submitter, to a filter, to a list of held bios, or to the
//! driver; it is never dropped.
//!
//! # Completion
//!
//! Each filter that lets a bio pass counts it, which gives it another completion ([`super::flight`]) before the next filter is shown it.
//! So a filter that holds a bio holds one that those before it count as in flight, whatever becomes of it.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::dev::Disk;
use super::flight::{End, Flight, Seat};
use super::ops::Private;
use crate::sync::Atomic;
use crate::sys;

/// A bio that is ours for now.
pub struct Bio {
    raw: NonNull<c_void>,
    /// The completion it will go on with.
    end: *mut c_void,
}

// SAFETY: a bio is not tied to a thread.
unsafe impl Send for Bio {}

/// Where a bio goes: sectors of a disk.
pub struct Place {
    /// The disk.
    pub disk: Disk,
    /// Its first sector, from the start of the disk.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
}

impl Place {
    /// The first sector behind it.
    #[inline]
    pub fn end(&self) -> u64 {
        self.sector.saturating_add(self.sectors)
    }
}

/// What the hook is told.
pub struct Answer(*mut c_void);

impl Answer {
    /// The bio goes on, with the completion that it has: `BSK_PASS`.
    pub const PASS: Answer = Answer(ptr::null_mut());
    /// Somebody holds the bio: `BSK_HELD`.
    pub const HELD: Answer = Answer(ptr::without_provenance_mut(1));

    pub(crate) fn raw(self) -> *mut c_void {
        self.0
    }
}

impl Bio {
    /// # Safety
    /// `raw` is a live bio whose completion is `end`, and that nobody else touches until the value is given away.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>, end: *mut c_void) -> Bio {
        Bio { raw, end }
    }

    /// A bio that was held: [`Bio::place`] finds out its completion.
    ///
    /// # Safety
    /// As for [`Bio::from_raw`], but for the completion.
    pub(crate) unsafe fn held(raw: NonNull<c_void>) -> Bio {
        Bio { raw, end: ptr::null_mut() }
    }

    /// Where it goes, for one that was held.
    pub fn place(&mut self) -> Place {
        let (mut disk, mut sector, mut sectors) = (ptr::null_mut(), 0, 0);
        // SAFETY: the bio is ours; the places are written.
        unsafe { sys::bsk_bio_place(self.raw.as_ptr(), &mut disk, &mut sector, &mut sectors, &mut self.end) };
        Place { disk: Disk::of(disk), sector, sectors }
    }

    /// Sends it on. The hook lets it pass, as it is counted for all who were asked. Sleeps.
    pub fn send(self) {
        // SAFETY: the bio is ours and is given up.
        unsafe { sys::bsk_bio_send(self.raw.as_ptr()) }
    }

    /// Shows it to a filter, which may keep it. If it does not, the bio comes back, to be counted off `flight` by `seat` when it ends; else
    /// it is counted off now. `part` is the first sector and the number of sectors, `again` says that the filter held it before.
    pub fn show(self, at: &Atomic, to: &Private, part: (u64, u64), again: bool, flight: &Flight, seat: Seat) -> Option<Bio> {
        let raw = self.raw;
        if to.submit(at, raw, part.0, part.1, again) {
            // It is the filter's: from here on only what is beside the bio may be looked at.
            flight.finish();
            return None;
        }
        let end = match seat {
            Seat::End(end) => end.own(),
            // SAFETY: the bio is ours, and the wrap is fresh and given up.
            Seat::Wrap(wrap) => unsafe {
                sys::bsk_wrap_put(wrap.into_raw(), raw.as_ptr(), self.end, flight.count(), flight.name())
            },
        };
        // SAFETY: the bio is ours.
        unsafe { sys::bsk_bio_count(raw.as_ptr(), end) };
        Some(Bio { raw, end })
    }

    /// [`Bio::show`] where nobody else is concerned.
    #[inline(always)]
    pub fn show_only(self, at: &Atomic, to: &Private, part: (u64, u64), end: &'static End) -> Answer {
        if to.submit(at, self.raw, part.0, part.1, false) {
            end.flight().finish();
            return Answer::HELD;
        }
        Answer(end.own())
    }

    /// The completion it has now.
    #[inline]
    pub(super) fn end(&self) -> *mut c_void {
        self.end
    }

    /// Whether it was counted before: in another flight, or it is what is left of a bio that a driver has split.
    #[inline]
    pub fn is_counted(&self) -> bool {
        // SAFETY: written once, before the first hook.
        unsafe { (self.end as usize).wrapping_sub(sys::bsk_text_start as usize) < sys::bsk_text_len as usize }
    }

    /// Whether it is counted in `flight`.
    #[cold]
    pub fn is_counted_in(&self, flight: &Flight) -> bool {
        self.peel(|owner| owner == flight.name()).1
    }

    /// The completion it was submitted with.
    #[inline]
    pub fn origin(&self) -> usize {
        if self.is_counted() {
            self.peel(|_| false).0
        } else {
            self.end as usize
        }
    }

    /// Looks at the counts that are on the bio, the last first, until `found` says yes: the completion under it, and whether it did.
    #[cold]
    fn peel(&self, found: impl Fn(*const c_void) -> bool) -> (usize, bool) {
        let (mut end, mut owner) = (self.end, ptr::null_mut());
        // SAFETY: the bio is ours.
        let mut private = unsafe { sys::bsk_bio_private(self.raw.as_ptr()) };
        // SAFETY: the places are valid; while the bio is counted the entries that its completions lead to do not change.
        while unsafe { sys::bsk_end_peel(&mut end, &mut private, &mut owner) } {
            if found(owner) {
                return (end as usize, true);
            }
        }
        (end as usize, false)
    }
}

/// Bios that wait. Filled from any context, without a lock.
pub struct Held(AtomicPtr<c_void>);

impl Held {
    /// None.
    pub const fn new() -> Held {
        Held(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds one whose way ends here for now. A full barrier.
    pub fn push(&self, bio: Bio) {
        // SAFETY: the bio is ours and is given up; the list is changed by the shim's atomic operations only.
        unsafe { sys::bsk_held_push(self.0.as_ptr(), bio.raw.as_ptr()) }
    }

    /// Takes all, the oldest first.
    pub fn take(&self) -> impl Iterator<Item = Bio> {
        // SAFETY: as in `push`.
        let mut next = unsafe { sys::bsk_held_take(self.0.as_ptr()) };
        core::iter::from_fn(move || {
            let bio = NonNull::new(next)?;
            // SAFETY: the bio is of the list we took, and is ours, here and below.
            next = unsafe { sys::bsk_held_next(bio.as_ptr()) };
            Some(unsafe { Bio::held(bio) })
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst).is_null()
    }
}

impl Default for Held {
    fn default() -> Self {
        Held::new()
    }
}
