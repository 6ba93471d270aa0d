// SPDX-License-Identifier: GPL-2.0-only

//! Pages that hold copied blocks.

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::bio::Bio;
use crate::sys;

/// Bytes of a page; a copy-on-write block is one page.
pub const PAGE_SIZE: u32 = 4096;

/// A page of our own; freed when dropped. `repr(transparent)`: a slice of them is a `struct page **`.
#[repr(transparent)]
pub struct Page(NonNull<c_void>);

// SAFETY: a page is plain memory.
unsafe impl Send for Page {}
// SAFETY: through `&Page` it is only read by copies.
unsafe impl Sync for Page {}

impl Page {
    /// A page. `wait`: may sleep and reclaim, without I/O; else atomic.
    pub fn alloc(wait: bool) -> Option<Page> {
        // SAFETY: the flag is the caller's word about its context.
        NonNull::new(unsafe { sys::bsk_page_alloc(wait) }).map(Page)
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Copies `len` bytes of the bio's data, from its byte `from`, to byte `at` of the page. Cut at the page's end. Atomic.
    pub fn copy_from(&mut self, at: u32, bio: &Bio, from: u32, len: u32) {
        let len = len.min(PAGE_SIZE.saturating_sub(at));
        // SAFETY: at + len lies in the page; the shim stays within the bio.
        unsafe { sys::bsk_page_from_bio(self.raw(), at, bio.raw(), from, len) };
    }

    /// Copies `len` bytes from byte `at` of the page to the bio's data, to its byte `to`. Cut at the page's end. Atomic.
    pub fn copy_to(&self, at: u32, bio: &Bio, to: u32, len: u32) {
        let len = len.min(PAGE_SIZE.saturating_sub(at));
        // SAFETY: as in `copy_from`.
        unsafe { sys::bsk_page_to_bio(self.raw(), at, bio.raw(), to, len) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page is ours.
        unsafe { sys::bsk_page_free(self.0.as_ptr()) };
    }
}
