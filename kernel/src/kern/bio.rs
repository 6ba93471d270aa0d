// SPDX-License-Identifier: GPL-2.0-only

//! A bio of somebody else that is ours for a while: a write that is held, or a request to an image.
//!
//! Who owns it: between the moment it is held and the moment it is sent on or ended, only we touch it. It may be sent or ended
//! once; both take the [`Bio`] by value. A bio that is dropped instead is ended with `EIO`, so that nobody waits for ever; that
//! is a bug and is said in the log.

use core::ffi::c_void;
use core::mem;
use core::ptr::{self, NonNull};

use crate::errno::{Errno, Result};
use crate::sys;

/// What a bio does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Reads.
    Read,
    /// Writes data.
    Write,
    /// Tells that blocks are not needed any more.
    Discard,
    /// Changes blocks without carrying their data: write-zeroes, secure erase.
    Other,
    /// Flushes a cache; has no blocks.
    Flush,
}

pub(crate) fn op_of(raw: *const c_void) -> Op {
    // SAFETY: the callers give a live bio.
    match unsafe { sys::bsk_bio_op(raw) } {
        0 => Op::Read,
        1 => Op::Write,
        2 => Op::Discard,
        4 => Op::Flush,
        _ => Op::Other,
    }
}

/// A bio that is ours until it is sent on or ended.
pub struct Bio(NonNull<c_void>);

/// Tells a bio from others that are there at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BioId(usize);

// SAFETY: a bio is not tied to a thread.
unsafe impl Send for Bio {}
// SAFETY: through `&Bio` its fields are only read; who moves its data at the same time gets a mixture, as with any I/O.
unsafe impl Sync for Bio {}

impl Bio {
    /// # Safety
    /// `raw` is a live bio that nobody else touches until this value gives it away.
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>) -> Bio {
        Bio(raw)
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Which one it is, as long as it has not ended.
    pub fn id(&self) -> BioId {
        BioId(self.0.as_ptr() as usize)
    }

    /// Gives up the ownership.
    pub(crate) fn into_raw(self) -> *mut c_void {
        let raw = self.0.as_ptr();
        mem::forget(self);
        raw
    }

    /// What it does.
    pub fn op(&self) -> Op {
        op_of(self.0.as_ptr())
    }

    /// First sector, from the start of the device it was sent to.
    pub fn sector(&self) -> u64 {
        // SAFETY: the bio is live.
        unsafe { sys::bsk_bio_sector(self.0.as_ptr()) }
    }

    /// First sector, from the start of the disk.
    pub fn disk_sector(&self) -> u64 {
        // SAFETY: the bio is live.
        unsafe { sys::bsk_bio_disk_sector(self.0.as_ptr()) }
    }

    /// Number of sectors.
    pub fn sectors(&self) -> u64 {
        // SAFETY: the bio is live.
        unsafe { sys::bsk_bio_sectors(self.0.as_ptr()) }
    }

    /// Fills `len` bytes of its data from byte `from` with zeros. Atomic.
    pub fn zero(&self, from: u32, len: u32) {
        // SAFETY: the bio is live; the shim stays within it.
        unsafe { sys::bsk_bio_zero(self.0.as_ptr(), from, len) };
    }

    /// Ends it: done, or failed. Atomic.
    pub fn end(self, result: Result) {
        let code = result.err().map_or(0, Errno::to_c);
        // SAFETY: the bio is ours, and given up here.
        unsafe { sys::bsk_bio_end(self.into_raw(), code) };
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        crate::pr_err!("BUG: a held bio was lost; ended with an error");
        // SAFETY: the bio is ours, and gone after this.
        unsafe { sys::bsk_bio_end(self.0.as_ptr(), Errno::EIO.to_c()) };
    }
}

/// Bios in a row, linked through themselves: growing needs no memory. Those left in it are ended with an error when it is dropped.
pub struct BioList {
    first: *mut c_void,
    last: *mut c_void,
}

// SAFETY: it owns its bios, which are not tied to a thread.
unsafe impl Send for BioList {}

impl BioList {
    /// With nothing in it.
    pub const fn new() -> Self {
        BioList { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Puts one at the end.
    pub fn push(&mut self, bio: Bio) {
        let raw = bio.into_raw();
        // SAFETY: the bio is ours, and so is its link.
        unsafe { sys::bsk_bio_link(raw, ptr::null_mut()) };
        if self.last.is_null() {
            self.first = raw;
        } else {
            // SAFETY: the last one is ours.
            unsafe { sys::bsk_bio_link(self.last, raw) };
        }
        self.last = raw;
    }

    #[cold]
    fn end(&mut self) {
        self.for_each(drop);
    }
}

impl Default for BioList {
    fn default() -> Self {
        BioList::new()
    }
}

impl Iterator for BioList {
    type Item = Bio;

    /// Takes out the first.
    fn next(&mut self) -> Option<Bio> {
        let raw = NonNull::new(self.first)?;
        // SAFETY: the list owns its bios; the first is unlinked here.
        self.first = unsafe { sys::bsk_bio_next(raw.as_ptr()) };
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        // SAFETY: as above.
        Some(unsafe { Bio::from_raw(raw) })
    }
}

impl Drop for BioList {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.end();
        }
    }
}
