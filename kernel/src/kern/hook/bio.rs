// SPDX-License-Identifier: GPL-2.0-only

//! A bio on its way, and what is done to it: counted, held, sent on.
//!
//! A [`Bio`] belongs to whoever has the value. It is given back to its submitter, to a filter, to a list of held bios, or to the
//! driver; it is never dropped.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::dev::Disk;
use crate::sys;

/// A bio that is ours for now.
pub struct Bio(NonNull<c_void>);

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
    pub fn end(&self) -> u64 {
        self.sector.saturating_add(self.sectors)
    }
}

impl Bio {
    /// # Safety
    /// `raw` is a live bio that nobody else touches until the value is given away.
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>) -> Bio {
        Bio(raw)
    }

    pub(crate) fn into_raw(self) -> *mut c_void {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Where it goes.
    pub fn place(&self) -> Place {
        let (mut disk, mut sector, mut sectors) = (ptr::null_mut(), 0, 0);
        // SAFETY: the bio is ours; the places are written.
        unsafe { sys::bsk_bio_place(self.0.as_ptr(), &mut disk, &mut sector, &mut sectors) };
        Place { disk: Disk::of(disk), sector, sectors }
    }

    /// Sends it on, unseen by the hook. Sleeps.
    pub fn send(self) {
        // SAFETY: the bio is ours and is given up.
        unsafe { sys::bsk_bio_send(self.into_raw()) }
    }

    /// Whether its completion is counted for `owner` already.
    pub fn counted_for<T>(&self, owner: &T) -> bool {
        // SAFETY: the bio is ours; the owner's address is compared only.
        unsafe { sys::bsk_wrapped(self.0.as_ptr(), ptr::from_ref(owner).cast()) }
    }

    /// Takes the outermost count off when it is for an owner that `undo` says yes to, and returns whether it did. The owner is to
    /// be told that the bio is not in flight for it any more.
    pub fn uncount<T>(&mut self, undo: impl FnOnce(&T) -> bool) -> bool {
        // SAFETY: the bio is ours. An owner stays until what is counted for it has been counted out.
        let Some(owner) = (unsafe { sys::bsk_wrap_owner(self.0.as_ptr()).cast::<T>().as_ref() }) else { return false };
        if !undo(owner) {
            return false;
        }
        // SAFETY: it has a wrap, as was just seen.
        unsafe { sys::bsk_wrap_undo(self.0.as_ptr()) };
        true
    }
}

/// The memory that counting one bio takes.
pub struct Wrap(NonNull<c_void>);

impl Wrap {
    /// At once, or not at all.
    pub fn try_new() -> Option<Wrap> {
        // SAFETY: allowed in any context.
        NonNull::new(unsafe { sys::bsk_wrap_new(false) }).map(Wrap)
    }

    /// Sleeps until there is memory; from a reserve, so that there will be.
    pub fn wait() -> Option<Wrap> {
        // SAFETY: process context, as this function demands.
        NonNull::new(unsafe { sys::bsk_wrap_new(true) }).map(Wrap)
    }

    /// Counts the bio for `owner`: [`super::Hooks::done`] will be called once, when it has ended. `owner` is the inside of an
    /// `Arc` and must not go before that, which its own count of bios in flight says.
    pub fn count<T>(self, bio: &Bio, owner: &T) {
        let wrap = ManuallyDrop::new(self).0.as_ptr();
        // SAFETY: the bio is ours, the wrap is fresh.
        unsafe { sys::bsk_wrap_put(wrap, bio.0.as_ptr(), ptr::from_ref(owner).cast_mut().cast()) }
    }
}

impl Drop for Wrap {
    fn drop(&mut self) {
        // SAFETY: not used for a bio.
        unsafe { sys::bsk_wrap_free(self.0.as_ptr()) }
    }
}

/// Bios that wait. Filled from any context, without a lock.
pub struct Held(AtomicPtr<c_void>);

impl Held {
    /// None.
    pub const fn new() -> Held {
        Held(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds one. A full barrier.
    pub fn push(&self, bio: Bio) {
        // SAFETY: the bio is ours and is given up; the list is changed by the shim's atomic operations only.
        unsafe { sys::bsk_held_push(self.0.as_ptr(), bio.into_raw()) }
    }

    /// Takes all, the oldest first.
    pub fn take(&self) -> impl Iterator<Item = Bio> {
        // SAFETY: as in `push`.
        let mut next = unsafe { sys::bsk_held_take(self.0.as_ptr()) };
        core::iter::from_fn(move || {
            let bio = NonNull::new(next)?;
            // SAFETY: the bio is of the list we took, and is ours.
            next = unsafe { sys::bsk_held_next(bio.as_ptr()) };
            Some(Bio(bio))
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
