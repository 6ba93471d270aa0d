// SPDX-License-Identifier: GPL-2.0-only

//! Pages that hold copied blocks.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rust_alloc::vec::Vec;

use crate::bio::Bio;
use crate::sys;

/// Bytes of a page; a copy-on-write block is one page.
pub const PAGE_SIZE: u32 = 4096;

/// A page of our own; freed when the last handle is dropped. `repr(transparent)`: a slice of them is a `struct page **`.
#[repr(transparent)]
pub struct Page(NonNull<c_void>);

// SAFETY: a page is plain memory.
unsafe impl Send for Page {}
// SAFETY: what two of its users do at the same time mixes bytes, as with any I/O, and nothing else.
unsafe impl Sync for Page {}

impl Page {
    /// A page. `wait`: may sleep and reclaim, without I/O; else atomic.
    pub fn alloc(wait: bool) -> Option<Page> {
        // SAFETY: the flag is the caller's word about its context.
        NonNull::new(unsafe { sys::bsk_page_alloc(wait) }).map(Page)
    }

    /// Adds pages to `pages` until there are `count` of them, or as many as its capacity allows, or as can be had at the moment. Many at
    /// once cost less than one by one. `wait` as for [`Page::alloc`].
    pub fn fill(pages: &mut Vec<Page>, count: usize, wait: bool) {
        loop {
            let len = pages.len();
            let spare = pages.spare_capacity_mut();
            let wanted = spare.len().min(count.saturating_sub(len)).min(Page::AT_ONCE);
            if wanted == 0 {
                return;
            }
            // SAFETY: a page is a pointer, and there is room for so many; the flag is the caller's word about its context.
            let got = unsafe { sys::bsk_pages_alloc(spare.as_mut_ptr().cast::<*mut c_void>(), wanted as u32, wait) };
            if got == 0 {
                return;
            }
            // SAFETY: the first `got`, at most `wanted`, have been written, and are pages of ours now.
            unsafe { pages.set_len(len + (got as usize).min(wanted)) };
        }
    }

    /// As [`Page::fill`], from memory in one piece as far as it can be had: each 64 or 16 pages, from the first on, lie behind each other then.
    pub fn fill_rows(pages: &mut Vec<Page>, count: usize, wait: bool) {
        for order in [6, 4] {
            while pages.len() + (1 << order) <= count {
                let (len, spare) = (pages.len(), pages.spare_capacity_mut());
                // SAFETY: a page is a pointer; there is room for so many by the first condition.
                let there =
                    spare.len() >= 1 << order && unsafe { sys::bsk_pages_row(spare.as_mut_ptr().cast::<*mut c_void>(), order) };
                if !there {
                    break;
                }
                // SAFETY: so many have been written, and are pages of ours now.
                unsafe { pages.set_len(len + (1 << order)) };
            }
        }
        Page::fill(pages, count, wait);
    }

    /// What is asked of the allocator at once, which may keep interrupts off meanwhile.
    const AT_ONCE: usize = 64;

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Another handle on the same page, which lives as long as one of them. Atomic.
    pub fn share(&self) -> Page {
        // SAFETY: the page is live; the reference is the new handle's.
        unsafe { sys::bsk_page_get(self.0.as_ptr()) };
        Page(self.0)
    }

    /// Fills `len` bytes from byte `at` with zeros. Cut at the page's end. Atomic.
    pub fn zero(&mut self, at: u32, len: u32) {
        let at = at.min(PAGE_SIZE);
        // SAFETY: the range lies in the page.
        unsafe { sys::bsk_page_zero(self.raw(), at, len.min(PAGE_SIZE - at)) };
    }

    /// Takes the content of another page. Atomic.
    pub fn copy_of(&mut self, other: &Page) {
        // SAFETY: both are live.
        unsafe { sys::bsk_page_copy(self.raw(), other.raw()) };
    }

    /// Copies `len` bytes of the bio's data, from its byte `from`, to byte `at` of the page. Cut at the page's end. Atomic.
    pub fn copy_from(&mut self, at: u32, bio: &Bio, from: u32, len: u32) {
        let len = len.min(PAGE_SIZE.saturating_sub(at));
        // SAFETY: at + len lies in the page; the shim stays within the bio.
        unsafe { sys::bsk_page_from_bio(self.raw(), at, bio.raw(), from, len) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page is ours.
        unsafe { sys::bsk_page_free(self.0.as_ptr()) };
    }
}

/// Pages behind each other, each with a handle of its own.
pub struct Row {
    pages: [*mut c_void; Row::MOST],
    len: usize,
}

impl Row {
    /// Pages in a row at most.
    pub const MOST: usize = 64;

    /// Of as many of these as fit.
    pub fn of<'a>(pages: impl Iterator<Item = &'a Page>) -> Row {
        let mut row = Row { pages: [ptr::null_mut(); Row::MOST], len: 0 };
        for (place, page) in row.pages.iter_mut().zip(pages) {
            *place = core::mem::ManuallyDrop::new(page.share()).raw();
            row.len += 1;
        }
        row
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.len as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `len` bytes from byte `at` of the first page on to the bio's data, to its byte `to`, in one walk. Cut at the last page's end. Atomic.
    pub fn copy_to(&self, at: u32, bio: &Bio, to: u32, len: u32) {
        let len = len.min((self.len() * PAGE_SIZE).saturating_sub(at));
        // SAFETY: the range lies in the pages, which are live by our handles; the shim stays within the bio.
        unsafe { sys::bsk_pages_to_bio(self.pages.as_ptr(), at, bio.raw(), to, len) };
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        for page in self.pages.iter().take(self.len) {
            // SAFETY: the handle is ours.
            unsafe { sys::bsk_page_free(*page) };
        }
    }
}
