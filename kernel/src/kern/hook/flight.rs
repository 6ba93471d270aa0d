// SPDX-License-Identifier: GPL-2.0-only

//! The bios in flight of one attachment: which completion each has meanwhile, and how many there are.
//!
//! # Completions
//!
//! A counted bio's `bi_end_io` is a function of the shim's table ([`sys::bsk_ends`]), which belongs to this attachment and to the
//! completion that the bio had. There are as many entries as an attachment's bios have different completions, half a dozen;
//! an entry is claimed when a completion is seen for the first time, and found by a hash from then on.
//!
//! States of an entry: 1 free, its bit in [`TAKEN`] is clear; 2 claimed by a CPU, which fills it in; 3 in use: found through
//! [`Flight::known`], and never changed; after the flight's drop, 1. A flight is dropped when nothing of it is in flight, so
//! that no bio has an entry's function that is free.
//!
//! # Count
//!
//! A number on each CPU, one up when a bio starts and one down when it ends, on whichever CPU that is; only their sum means
//! something. Counting is one instruction that no interrupt divides, without a barrier. Who closes a gate and then waits makes the
//! barriers for all: see [`super::control::drain_wait`]. When nothing starts any more, a sum of 0 is the truth: numbers that are
//! read too early are only too high.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::bio::Bio;
use super::control::drain_wake;
use crate::errno::{Errno, Result};
use crate::sys::{self, BskEnd, BSK_ENDS};

/// Completions that one attachment finds without memory for each bio; and as many of bios that others count already.
const KNOWN: usize = 16;

/// Which entries of the table are in use.
static TAKEN: [AtomicU64; BSK_ENDS / 64] = [const { AtomicU64::new(0) }; BSK_ENDS / 64];

/// An attachment once found no entry.
static SCARCE: AtomicBool = AtomicBool::new(false);

/// One attachment's bios in flight. To be dropped when there are none.
pub struct Flight {
    count: NonNull<c_void>,
    /// Entries for completions of others, each at its hash or in the next places. So a bio found here is counted by nobody.
    known: [AtomicPtr<BskEnd>; KNOWN],
    /// The same that are at their hash, found without a look at them.
    usual: [Usual; KNOWN],
    /// Entries for our own completions.
    nested: [AtomicPtr<BskEnd>; KNOWN],
}

/// An entry and its completion. INVARIANT: `end` is an entry in use by the flight when `end_io` is not [`NO_END_IO`]; neither changes then.
struct Usual {
    end_io: AtomicPtr<c_void>,
    end: AtomicPtr<BskEnd>,
}

/// No function is there, and a bio without a completion has another one.
const NO_END_IO: *mut c_void = ptr::without_provenance_mut(1);

/// Functions begin at multiples of 16.
#[inline]
fn hash(end_io: *mut c_void) -> usize {
    (end_io as usize >> 4) % KNOWN
}

// SAFETY: the count and the entries are made to be used from all CPUs.
unsafe impl Send for Flight {}
// SAFETY: as above.
unsafe impl Sync for Flight {}

/// An entry of the table, in use by a flight in which the bio concerned is counted.
#[repr(transparent)]
pub struct End(BskEnd);

impl End {
    /// # Safety
    /// The entry is in use, and stays so while the reference does.
    unsafe fn of(raw: &'static BskEnd) -> &'static End {
        // SAFETY: a transparent wrapper.
        unsafe { &*ptr::from_ref(raw).cast() }
    }

    /// Its function.
    #[inline]
    pub(super) fn own(&self) -> *mut c_void {
        self.0.own
    }

    /// Whose it is.
    #[inline]
    pub(super) fn flight(&self) -> &Flight {
        // SAFETY: a flight is there as long as its entries are in use, and an entry's owner does not change.
        unsafe { &*self.0.owner.load(Ordering::Relaxed).cast::<Flight>() }
    }
}

/// How a bio will be counted off.
pub enum Seat {
    /// By an entry of the table.
    End(&'static End),
    /// By memory of its own.
    Wrap(Wrap),
}

impl Flight {
    /// None in flight. Sleeps; `ENOMEM`.
    pub fn new() -> Result<Flight> {
        // SAFETY: process context, as this function demands.
        let count = NonNull::new(unsafe { sys::bsk_count_new() }).ok_or(Errno::ENOMEM)?;
        let none = || AtomicPtr::new(ptr::null_mut());
        let usual = || Usual { end_io: AtomicPtr::new(NO_END_IO), end: none() };
        let known = [(); KNOWN].map(|()| none());
        Ok(Flight { count, known, usual: [(); KNOWN].map(|()| usual()), nested: [(); KNOWN].map(|()| none()) })
    }

    /// Counts one that starts.
    #[inline]
    pub fn start(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the count is a per-CPU number of 8 bytes, found by the segment of the CPU we are on.
        unsafe {
            core::arch::asm!("inc qword ptr gs:[{0}]", in(reg) self.count.as_ptr())
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: a live count.
        unsafe {
            sys::bsk_count_add(self.count.as_ptr(), 1)
        }
    }

    /// Counts off one that has started and does not go on.
    pub fn finish(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `start`.
        unsafe {
            core::arch::asm!("dec qword ptr gs:[{0}]", in(reg) self.count.as_ptr())
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: a live count.
        unsafe {
            sys::bsk_count_add(self.count.as_ptr(), -1)
        }
        drain_wake();
    }

    /// Whether none is in flight. Nothing may start meanwhile.
    pub fn idle(&self) -> bool {
        // SAFETY: a live count.
        unsafe { sys::bsk_count_sum(self.count.as_ptr()) == 0 }
    }

    /// The entry for a bio, when it was used before and nobody else counts the bio. The bio is to be counted in this flight only.
    #[inline(always)]
    pub fn usual(&self, bio: &Bio) -> Option<&'static End> {
        let usual = &self.usual[hash(bio.end())];
        if usual.end_io.load(Ordering::Acquire) != bio.end() {
            return None;
        }
        let end = usual.end.load(Ordering::Relaxed);
        // SAFETY: INVARIANT, and a bio's completion is not `NO_END_IO`.
        unsafe { core::hint::assert_unchecked(!end.is_null()) };
        // SAFETY: as above; the entry is in use as long as we are.
        Some(unsafe { End::of(&*end) })
    }

    /// From now on [`Flight::usual`] finds an entry of `known`, if it is at its hash.
    fn remember(&self, end: &BskEnd, end_io: *mut c_void) {
        let at = hash(end_io);
        let usual = &self.usual[at];
        if usual.end_io.load(Ordering::Relaxed) == NO_END_IO && ptr::eq(self.known[at].load(Ordering::Relaxed), end) {
            // Whoever else does it at the same time stores the same.
            usual.end.store(ptr::from_ref(end).cast_mut(), Ordering::Relaxed);
            usual.end_io.store(end_io, Ordering::Release);
        }
    }

    /// How a bio will be counted off. `spare` is memory for that, if there is any already. `None`: there is no memory.
    pub fn seat(&self, bio: &Bio, spare: &mut Option<Wrap>) -> Option<Seat> {
        let end_io = bio.end();
        let end = if bio.is_counted() {
            self.find(&self.nested, hash(end_io), end_io)
        } else if end_io.is_null() {
            // For memory, which looks whether there is one to call.
            None
        } else {
            self.find(&self.known, hash(end_io), end_io).inspect(|end| self.remember(&end.0, end_io))
        };
        if end.is_some() {
            return end.map(Seat::End);
        }
        SCARCE.store(true, Ordering::Relaxed);
        spare.take().or_else(Wrap::try_new).map(Seat::Wrap)
    }

    /// The entry for a completion, claimed if there is none yet, in a list that is searched from `from` on.
    fn find(&self, list: &[AtomicPtr<BskEnd>], from: usize, end_io: *mut c_void) -> Option<&'static End> {
        let mut fresh = None;
        for i in 0..list.len() {
            let place = &list[(from + i) % list.len()];
            let mut end = place.load(Ordering::Acquire);
            if end.is_null() {
                let new = fresh.take().or_else(|| Claim::new(self, end_io))?;
                match place.compare_exchange(ptr::null_mut(), new.raw(), Ordering::AcqRel, Ordering::Acquire) {
                    // SAFETY: in use from now on, as long as we are.
                    Ok(_) => return Some(unsafe { End::of(new.keep()) }),
                    Err(other) => (end, fresh) = (other, Some(new)),
                }
            }
            // SAFETY: what is in a list is an entry of the table, in use as long as we are.
            if let Some(end) = unsafe { end.as_ref() }.filter(|end| end.end_io.load(Ordering::Relaxed) == end_io) {
                // SAFETY: as above.
                return Some(unsafe { End::of(end) });
            }
        }
        None
    }

    fn entries(&self) -> impl Iterator<Item = &AtomicPtr<BskEnd>> {
        self.known.iter().chain(&self.nested)
    }

    /// The address by which entries name us.
    pub(super) fn name(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }

    pub(super) fn count(&self) -> *mut c_void {
        self.count.as_ptr()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        for place in self.entries() {
            // SAFETY: what is known is an entry of the table, and was claimed by us.
            if let Some(end) = unsafe { place.load(Ordering::Acquire).as_ref() } {
                drop(Claim(end));
            }
        }
        // SAFETY: none is in flight, so that nobody counts any more.
        unsafe { sys::bsk_count_free(self.count.as_ptr()) }
    }
}

/// An entry of the table that is ours.
struct Claim(&'static BskEnd);

impl Claim {
    fn new(flight: &Flight, end_io: *mut c_void) -> Option<Claim> {
        // SAFETY: a constant of the module.
        let used = unsafe { sys::bsk_ends_used() } as usize;
        for (i, word) in TAKEN.iter().enumerate() {
            let mut taken = word.load(Ordering::Relaxed);
            while taken != u64::MAX {
                let at = i * 64 + taken.trailing_ones() as usize;
                if at >= used {
                    return None;
                }
                let before = word.fetch_or(1 << (at % 64), Ordering::AcqRel);
                if before & 1 << (at % 64) == 0 {
                    // SAFETY: `at` is less than 1024: the table's size. The entry is ours.
                    let end = unsafe { &sys::bsk_ends[at] };
                    // SAFETY: nobody else uses the entry.
                    unsafe { sys::bsk_end_set(end, end_io, flight.count(), flight.name()) };
                    return Some(Claim(end));
                }
                taken = before;
            }
        }
        None
    }

    fn raw(&self) -> *mut BskEnd {
        ptr::from_ref(self.0).cast_mut()
    }

    fn keep(self) -> &'static BskEnd {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: both are addresses in the one table.
        let at = (ptr::from_ref(self.0) as usize - &raw const sys::bsk_ends as usize) / size_of::<BskEnd>();
        if let Some(word) = TAKEN.get(at / 64) {
            word.fetch_and(!(1 << (at % 64)), Ordering::AcqRel);
        }
    }
}

/// The memory that counting one bio takes when the table is full.
pub struct Wrap(NonNull<c_void>);

impl Wrap {
    /// At once, or not at all.
    fn try_new() -> Option<Wrap> {
        // SAFETY: allowed in any context.
        NonNull::new(unsafe { sys::bsk_wrap_new(false) }).map(Wrap)
    }

    /// For a bio that may need one: sleeps until there is memory, from a reserve, so that there will be. `None`: it needs none.
    pub fn wait() -> Option<Wrap> {
        if !SCARCE.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: process context, as this function demands.
        NonNull::new(unsafe { sys::bsk_wrap_new(true) }).map(Wrap)
    }

    pub(super) fn into_raw(self) -> *mut c_void {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Wrap {
    fn drop(&mut self) {
        // SAFETY: not used for a bio.
        unsafe { sys::bsk_wrap_free(self.0.as_ptr()) }
    }
}
