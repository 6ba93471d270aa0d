// SPDX-License-Identifier: GPL-2.0-only

//! The worker of an attachment. While it is queued or running it has a reference to its attachment.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::sync::Arc;

use crate::errno::{Errno, Result};
use crate::sys;

/// A work item, to be bound to the `Arc` it is in. Its run is [`super::Hooks::work`].
pub struct Work(AtomicPtr<c_void>);

impl Work {
    /// Not bound: queueing it does nothing.
    pub const fn new() -> Work {
        Work(AtomicPtr::new(ptr::null_mut()))
    }

    /// Binds it to the `Arc` that it is part of. Once; sleeps.
    pub fn bind<T>(&self, owner: &Arc<T>) -> Result {
        // SAFETY: process context, as this function demands.
        let raw = unsafe { sys::bsk_work_new(Arc::as_ptr(owner).cast_mut().cast()) };
        if raw.is_null() {
            return Err(Errno::ENOMEM);
        }
        self.0.store(raw, Ordering::Release);
        Ok(())
    }

    /// Queues it. `owner` is the inside of the `Arc` that it was bound to. Atomic.
    pub fn queue<T>(&self, owner: &T) {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return;
        }
        // SAFETY: the owner is inside of an Arc (see `bind`) that is alive during this call. The reference is the run's; when it is
        // queued already, that one has a reference, and ours goes back.
        unsafe {
            Arc::increment_strong_count(ptr::from_ref(owner));
            if !sys::bsk_work_queue(raw) {
                Arc::decrement_strong_count(ptr::from_ref(owner));
            }
        }
    }
}

impl Default for Work {
    fn default() -> Self {
        Work::new()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let raw = self.0.load(Ordering::Relaxed);
        if !raw.is_null() {
            // SAFETY: it is not queued, or its reference would keep the owner. It may be running its last lines, which is allowed.
            unsafe { sys::bsk_work_free(raw) }
        }
    }
}
