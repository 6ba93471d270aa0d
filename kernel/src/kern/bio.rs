// SPDX-License-Identifier: GPL-2.0-only

//! A bio of somebody else that is ours for a while: a write that is held, or a request to an image.
//!
//! Who owns it: between the moment it is held and the moment it is sent on or ended, only we touch it. It may be sent or ended
//! once; both take the [`Bio`] by value. A bio that is dropped instead is ended with `EIO`, so that nobody waits for ever; that
//! is a bug and is said in the log.

use core::ffi::c_void;
use core::mem;
use core::ptr::NonNull;

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
