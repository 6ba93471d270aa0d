// SPDX-License-Identifier: GPL-2.0-only

//! Our own I/O to block devices: reads of an origin, transfers with a difference storage device.
//!
//! An [`Io`] is built, tagged and sent; when it completes it lies on the list of the worker it was sent with, as a [`Done`].
//! The memory comes from a [`Pool`] with reserves. Who drops the [`Done`]s must not wait for one when
//! building another: with `ENOMEM`, others are under way, and it tries again when one of them has come back.

use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use rust_alloc::sync::Arc;

use crate::bdev::BlockDevice;
use crate::bio::Bio;
use crate::disk::Serve;
use crate::errno::{Errno, Result};
use crate::page::{Page, PAGE_SIZE};
use crate::sys;
use crate::worker::{Work, Worker};

/// Where bios come from. It must outlive them: the owner waits for its I/O before it lets go.
pub struct Pool(NonNull<c_void>);

// SAFETY: a bio_set is made to be used from everywhere.
unsafe impl Sync for Pool {}
// SAFETY: it is a heap object without ties to a thread.
unsafe impl Send for Pool {}

impl Pool {
    /// With `reserve` bios set aside. Sleeps; `ENOMEM`.
    pub fn new(reserve: u32) -> Result<Pool> {
        // SAFETY: process context.
        NonNull::new(unsafe { sys::bsk_bioset_new(reserve) }).map(Pool).ok_or(Errno::ENOMEM)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the owner waited for all I/O (see the type).
        unsafe { sys::bsk_bioset_free(self.0.as_ptr()) };
    }
}

/// Two numbers that come back with the completion.
#[derive(Clone, Copy)]
pub struct Tag(pub u64, pub u64);

/// I/O that is being built.
pub struct Io(NonNull<c_void>);

impl Io {
    /// A read or write of `bytes` bytes from `sector` of the device, to which pages are to be [added](Io::add): as many as the bytes take,
    /// at most 256. With `wait` it sleeps until there is memory for it, else `ENOMEM`.
    pub fn new(pool: &Pool, device: &BlockDevice, write: bool, sector: u64, bytes: u64, wait: bool) -> Result<Io> {
        let n = bytes.div_ceil(u64::from(PAGE_SIZE)) as u32;
        // SAFETY: pool and device are live; process context.
        let raw = unsafe { sys::bsk_io_new(pool.0.as_ptr(), device.raw(), write, sector, n, wait) };
        NonNull::new(raw).map(Io).ok_or(Errno::ENOMEM)
    }

    /// Adds the first `len` bytes of a page, which must stay untouched until the completion: the caller keeps it. `EINVAL`: it is one too
    /// many.
    #[inline]
    pub fn add(&mut self, page: &Page, len: u32) -> Result {
        // SAFETY: the io is ours and not sent; the page is live.
        if unsafe { sys::bsk_io_add_page(self.0.as_ptr(), page.raw(), len) } {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// One of the first `bytes` bytes of all these pages, in their order.
    pub fn pages<'a>(
        pool: &Pool,
        device: &BlockDevice,
        write: bool,
        sector: u64,
        bytes: u64,
        wait: bool,
        pages: impl Iterator<Item = &'a Page>,
    ) -> Result<Io> {
        let mut io = Io::new(pool, device, write, sector, bytes, wait)?;
        let mut left = bytes;
        for page in pages {
            let len = left.min(u64::from(PAGE_SIZE));
            left -= len;
            io.add(page, len as u32)?;
        }
        Ok(io)
    }

    /// A part of another's bio, its `len` bytes from byte `from`, to or from `sector` of the device. `wait` as above.
    pub fn part(
        pool: &Pool,
        device: &BlockDevice,
        bio: &Bio,
        (from, len): (u32, u32),
        write: bool,
        sector: u64,
        wait: bool,
    ) -> Result<Io> {
        // SAFETY: all are live; process context.
        let raw = unsafe { sys::bsk_io_clone(pool.0.as_ptr(), device.raw(), bio.raw(), from, len, write, sector, wait) };
        NonNull::new(raw).map(Io).ok_or(Errno::ENOMEM)
    }

    /// Sends it and waits for its end. Sleeps.
    pub fn run(self) -> Result {
        // SAFETY: the io is ours; afterwards it is dropped as one that is not sent.
        Errno::check(unsafe { sys::bsk_io_run(self.0.as_ptr()) }).map(|_| ())
    }

    /// Sends it; the completion comes to `worker`. May sleep as any submission.
    pub fn submit<T: Work<N>, const N: u8>(self, tag: Tag, worker: &Worker<T, N>) {
        let raw = self.0.as_ptr();
        core::mem::forget(self);
        // SAFETY: the io is ours and given away here; the worker outlives its I/O, as its owner counts it.
        unsafe {
            sys::bsk_io_tag(raw, tag.0, tag.1);
            sys::bsk_io_submit(raw, worker.raw());
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // SAFETY: never sent, so still ours.
        unsafe { sys::bsk_io_free(self.0.as_ptr()) };
    }
}

/// I/O to be sent together, linked through itself: growing needs no memory.
pub struct IoList {
    first: *mut c_void,
    last: *mut c_void,
}

// SAFETY: it owns its members, which are not tied to a thread.
unsafe impl Send for IoList {}

impl IoList {
    /// With nothing in it.
    pub const fn new() -> Self {
        IoList { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Puts one at the end.
    pub fn push(&mut self, io: Io, tag: Tag) {
        let raw = io.0.as_ptr();
        core::mem::forget(io);
        // SAFETY: the io is ours and not sent, and so is the last one.
        unsafe {
            sys::bsk_io_tag(raw, tag.0, tag.1);
            if self.last.is_null() {
                self.first = raw;
            } else {
                sys::bsk_io_link(self.last, raw);
            }
        }
        self.last = raw;
    }

    /// Sends all of it, so that the device may merge; the completions come to `worker`. May sleep as any submission.
    pub fn submit<T: Work<N>, const N: u8>(self, worker: &Worker<T, N>) {
        let first = self.first;
        core::mem::forget(self);
        // SAFETY: the members are ours and given away here; the worker outlives its I/O, as its owner counts it.
        unsafe { sys::bsk_io_submit_all(first, worker.raw()) };
    }
}

impl IoList {
    #[cold]
    fn free(&mut self) {
        while let Some(raw) = NonNull::new(self.first) {
            // SAFETY: the list owns its members, which were never sent.
            self.first = unsafe { sys::bsk_io_linked(raw.as_ptr()) };
            drop(Io(raw));
        }
    }
}

impl Default for IoList {
    fn default() -> Self {
        IoList::new()
    }
}

impl Drop for IoList {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.free();
        }
    }
}

/// I/O that completed.
pub struct Done(NonNull<c_void>);

impl Done {
    /// # Safety
    /// `raw` is a completed io that nobody else holds.
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>) -> Done {
        Done(raw)
    }

    /// What it was sent with.
    pub fn tag(&self) -> Tag {
        // SAFETY: ours.
        unsafe { Tag(sys::bsk_io_tag_a(self.0.as_ptr()), sys::bsk_io_tag_b(self.0.as_ptr())) }
    }

    /// How it went.
    pub fn result(&self) -> Result {
        // SAFETY: ours.
        Errno::check(unsafe { sys::bsk_io_status(self.0.as_ptr()) }).map(|_| ())
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::bsk_io_free(self.0.as_ptr()) };
    }
}

/// Who hears that a forwarded image read came back: the owner of an image's [`Disk`](crate::disk::Disk).
pub trait Forward: Serve {
    /// The request, with its data read from the origin, or an error. Atomic, inside an RCU read side.
    fn forwarded(&self, bio: Bio, result: Result);

    /// The same from a storage.
    fn stored(&self, bio: Bio, result: Result);
}

/// Where a request is sent on to, and so who hears of its end.
#[derive(Clone, Copy)]
pub enum Kind {
    /// [`Forward::forwarded`].
    Origin,
    /// [`Forward::stored`].
    Stored,
}

unsafe extern "C" fn forwarded<T: Forward, const STORED: bool>(cookie: *mut c_void, req: *mut c_void, err: c_int) {
    // SAFETY: the owner lives: the disk that the request came from holds it until a grace period after its last request ended
    // (kern/disk.rs, `release`), and this runs inside a read side that began before the request is ended.
    let owner = unsafe { &*cookie.cast_const().cast::<T>() };
    let Some(req) = NonNull::new(req) else { return };
    // SAFETY: the request was given away to `forward` and comes back here.
    let (bio, result) = (unsafe { Bio::from_raw(req) }, Errno::check(err).map(|_| ()));
    if STORED {
        owner.stored(bio, result);
    } else {
        owner.forwarded(bio, result);
    }
}

/// Sends a whole read request of the owner's disk on to `sector` of the device, with the data going to the request's own pages. The device
/// stays open until the request has ended. May sleep as any submission. `Err` gives the request back: no memory.
pub fn forward<T: Forward>(
    pool: &Pool,
    device: &BlockDevice,
    bio: Bio,
    sector: u64,
    kind: Kind,
    owner: &Arc<T>,
) -> core::result::Result<(), Bio> {
    let raw = bio.into_raw();
    let done = match kind {
        Kind::Origin => forwarded::<T, false>,
        Kind::Stored => forwarded::<T, true>,
    };
    let owner = Arc::as_ptr(owner).cast_mut().cast();
    // SAFETY: all are live; the request is given away, or taken back below.
    if unsafe { sys::bsk_io_forward(pool.0.as_ptr(), device.raw(), raw, sector, done, owner) } {
        return Ok(());
    }
    match NonNull::new(raw) {
        // SAFETY: refused, so that it is still ours.
        Some(raw) => Err(unsafe { Bio::from_raw(raw) }),
        None => Ok(()),
    }
}
