// SPDX-License-Identifier: GPL-2.0-only

//! A file as difference storage.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::bdev::BlockDevice;
use crate::bio::Bio;
use crate::errno::{Errno, Result};
use crate::page::Page;
use crate::sys;

/// What a path turned out to be.
pub enum Opened {
    /// A file, or an unnamed one in the directory that the path names.
    File(File),
    /// A block device; open it with [`Open::exclusive`](crate::bdev::Open::exclusive).
    BlockDevice,
}

/// An open file.
pub struct File(NonNull<c_void>);

// SAFETY: a struct file is made to be used from everywhere.
unsafe impl Sync for File {}
// SAFETY: as above.
unsafe impl Send for File {}

impl File {
    /// Opens a path, a string that ends in NUL, for reading and writing, past the page cache where that is possible. Sleeps.
    pub fn open(path: &[u8]) -> Result<Opened> {
        if path.last() != Some(&0) {
            return Err(Errno::EINVAL);
        }
        let (mut is_bdev, mut raw) = (false, ptr::null_mut());
        // SAFETY: the path ends in NUL; process context.
        Errno::check(unsafe { sys::bsk_file_open(path.as_ptr(), &mut is_bdev, &mut raw) } as i32)?;
        if is_bdev {
            return Ok(Opened::BlockDevice);
        }
        NonNull::new(raw).map(|raw| Opened::File(File(raw))).ok_or(Errno::EIO)
    }

    /// Runs `f` with the block device under the file's system, when there is one.
    pub fn on_device<R>(&self, f: impl FnOnce(&BlockDevice) -> R) -> Option<R> {
        // SAFETY: the file is open, so that its file system and its device are live during the call.
        let device = NonNull::new(unsafe { sys::bsk_file_bdev(self.0.as_ptr()) })?;
        // SAFETY: as above.
        Some(f(&unsafe { BlockDevice::from_raw(device) }))
    }

    /// Whether its I/O goes past the page cache, and so must suit the device below.
    pub fn is_direct(&self) -> bool {
        // SAFETY: open.
        unsafe { sys::bsk_file_direct(self.0.as_ptr()) }
    }

    /// Whether both are the same file.
    pub fn same(&self, other: &File) -> bool {
        // SAFETY: both open.
        unsafe { sys::bsk_file_same(self.0.as_ptr(), other.0.as_ptr()) }
    }

    /// Sets space aside. Sleeps, with I/O.
    pub fn allocate(&self, from: u64, len: u64) -> Result {
        // SAFETY: open; process context.
        Errno::check(unsafe { sys::bsk_file_allocate(self.0.as_ptr(), from, len) } as i32).map(|_| ())
    }

    /// Writes whole pages to byte `pos`. Sleeps, with I/O.
    pub fn write(&self, pos: u64, pages: &[Page]) -> Result {
        // C wants an array of `struct page *`; a `&Page` is a pointer to one of these.
        let mut raw = [ptr::null_mut(); 256];
        let n = pages.len().min(raw.len());
        for (slot, page) in raw.iter_mut().zip(pages) {
            *slot = page.raw();
        }
        if n != pages.len() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: n live pages; process context.
        Errno::check(unsafe { sys::bsk_file_write_pages(self.0.as_ptr(), pos, raw.as_ptr(), n as u32) } as i32).map(|_| ())
    }

    /// Reads a page at byte `pos`. Sleeps, with I/O.
    pub fn read_page(&self, pos: u64, page: &mut Page) -> Result {
        // SAFETY: both live; process context.
        Errno::check(unsafe { sys::bsk_file_page(self.0.as_ptr(), false, pos, page.raw()) } as i32).map(|_| ())
    }

    /// Writes a page at byte `pos`. Sleeps, with I/O.
    pub fn write_page(&self, pos: u64, page: &Page) -> Result {
        // SAFETY: both live; process context.
        Errno::check(unsafe { sys::bsk_file_page(self.0.as_ptr(), true, pos, page.raw()) } as i32).map(|_| ())
    }

    /// Moves `len` bytes between byte `pos` of the file and byte `from` of the bio's data. Sleeps, with I/O.
    pub fn transfer(&self, write: bool, pos: u64, bio: &Bio, from: u32, len: u32) -> Result {
        // SAFETY: both live; the shim stays within the bio.
        Errno::check(unsafe { sys::bsk_file_rw_bio(self.0.as_ptr(), write, pos, bio.raw(), from, len) } as i32).map(|_| ())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once.
        unsafe { sys::bsk_file_close(self.0.as_ptr()) };
    }
}

/// Runs `f` with reclaim that never starts I/O: for work that writers wait for.
pub fn without_io<R>(f: impl FnOnce() -> R) -> R {
    let mut saved = 0;
    // SAFETY: process context; undone below, by the same task.
    unsafe { sys::bsk_noio_begin(&mut saved) };
    let r = f();
    // SAFETY: as above.
    unsafe { sys::bsk_noio_end(saved) };
    r
}

/// Runs `f` without any reclaim, and with access to the kernel's reserves: for work that frees memory soon and that reclaim itself
/// waits for, as the writes it holds may be pages on their way out.
pub fn without_reclaim<R>(f: impl FnOnce() -> R) -> R {
    let mut saved = 0;
    // SAFETY: process context; undone below, by the same task.
    unsafe { sys::bsk_noreclaim_begin(&mut saved) };
    let r = f();
    // SAFETY: as above.
    unsafe { sys::bsk_noreclaim_end(saved) };
    r
}
