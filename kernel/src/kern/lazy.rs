// SPDX-License-Identifier: GPL-2.0-only

//! Cells that are set once and read without a lock: the kernel's answer to `OnceLock`, for `blksnap_core`'s bitmaps.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;

use crate::alloc::try_box;

/// Empty, then set once; never empty again.
pub struct Once<T> {
    ptr: AtomicPtr<T>,
}

// SAFETY: it owns a `Box<T>` and hands out `&T`.
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Once<T> {}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once { ptr: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl<T> Once<T> {
    /// The value, when it is there. Atomic.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: a pointer that is there stays there until the cell is dropped.
        unsafe { self.ptr.load(Ordering::Acquire).as_ref() }
    }

    /// Sets it. Gives the value back when there is one already, or no memory. Sleeps.
    pub fn set(&self, value: T) -> Result<(), T> {
        if !self.ptr.load(Ordering::Acquire).is_null() {
            return Err(value);
        }
        let Ok(mut boxed) = try_box(MaybeUninit::uninit()) else { return Err(value) };
        boxed.write(value);
        // SAFETY: written on the line above.
        let raw = Box::into_raw(unsafe { boxed.assume_init() });
        match self.ptr.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            // SAFETY: `raw` was not stored, so that it is still ours.
            Err(_) => Err(*unsafe { Box::from_raw(raw) }),
        }
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        let old = *self.ptr.get_mut();
        if !old.is_null() {
            // SAFETY: the pointer came from Box::into_raw.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

/// A reference that is set once, without memory, and then stays; read without a lock.
pub struct OnceArc<T> {
    ptr: AtomicPtr<T>,
}

// SAFETY: it owns an `Arc<T>` and hands out `&T`.
unsafe impl<T: Send + Sync> Sync for OnceArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for OnceArc<T> {}

impl<T> OnceArc<T> {
    /// Empty.
    pub const fn new() -> Self {
        OnceArc { ptr: AtomicPtr::new(ptr::null_mut()) }
    }

    /// What was set. Atomic.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: a pointer that is there stays there until the cell is dropped or taken from, which needs it alone.
        unsafe { self.ptr.load(Ordering::Acquire).as_ref() }
    }

    /// Sets it; a second time changes nothing and gives the value back. Atomic.
    pub fn set(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let raw = Arc::into_raw(value).cast_mut();
        match self.ptr.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            // SAFETY: not stored, so that it is still ours.
            Err(_) => Err(unsafe { Arc::from_raw(raw) }),
        }
    }

    /// Takes it out again.
    pub fn take(&mut self) -> Option<Arc<T>> {
        let raw = core::mem::replace(self.ptr.get_mut(), ptr::null_mut());
        // SAFETY: the pointer came from Arc::into_raw and is not in the cell any more.
        (!raw.is_null()).then(|| unsafe { Arc::from_raw(raw) })
    }
}

impl<T> Default for OnceArc<T> {
    fn default() -> Self {
        OnceArc::new()
    }
}

impl<T> Drop for OnceArc<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
