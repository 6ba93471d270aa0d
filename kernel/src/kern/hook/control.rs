// SPDX-License-Identifier: GPL-2.0-only

//! The control plane's one lock, waiting for bios, and grace periods.
//!
//! The lock is held for moments only, and never while a filter is called: callbacks take locks of their own and wait for I/O.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};
use core::ptr;

use crate::sys;

/// A value under the control plane's lock. There is one in the module.
pub struct Control<T>(UnsafeCell<T>);

// SAFETY: the lock gives the value to one thread at a time.
unsafe impl<T: Send> Sync for Control<T> {}

impl<T> Control<T> {
    /// For a static. INVARIANT: a module has one `Control`, since all share the shim's one lock.
    pub const fn new(value: T) -> Self {
        Control(UnsafeCell::new(value))
    }

    /// Sleeps until the lock is ours.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: process context, as this function demands.
        unsafe { sys::bsk_hook_lock() };
        Guard(self)
    }
}

/// Holds the lock.
pub struct Guard<'a, T>(&'a Control<T>);

impl<T> Guard<'_, T> {
    /// Lets go of the lock, sleeps until somebody calls [`Guard::changed`], and takes it again.
    pub fn wait(&mut self) {
        // SAFETY: the lock is ours.
        unsafe { sys::bsk_hook_wait() }
    }

    /// Wakes who waits.
    pub fn changed(&self) {
        // SAFETY: the lock is ours.
        unsafe { sys::bsk_hook_wake() }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is ours.
        unsafe { &*self.0 .0.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is ours, and so is the guard.
        unsafe { &mut *self.0 .0.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the lock is ours.
        unsafe { sys::bsk_hook_unlock() }
    }
}

/// Sleeps until `ready` says yes, which [`drain_wake`] makes it ask again, or until the time is over: whether it was ready.
pub fn drain_wait<F: Fn() -> bool>(ready: &F, timeout_ms: u32) -> bool {
    unsafe extern "C" fn call<F: Fn() -> bool>(ctx: *mut c_void) -> bool {
        // SAFETY: `ctx` is the reference below, which lives during the wait.
        unsafe { (*ctx.cast::<F>())() }
    }
    // SAFETY: process context, as this function demands; `ready` outlives the call.
    unsafe { sys::bsk_drain_wait(call::<F>, ptr::from_ref(ready).cast_mut().cast(), timeout_ms) }
}

/// Makes who is in [`drain_wait`] look again. Atomic.
pub fn drain_wake() {
    // SAFETY: allowed in any context.
    unsafe { sys::bsk_drain_wake() }
}

/// Sleeps until everybody who had preemption off, or was in an RCU read side, has left it.
pub fn grace() {
    // SAFETY: process context, as this function demands.
    unsafe { sys::bsk_grace() }
}

/// Sleeps until everybody who runs what a filter asked for with `blkfilter_after()` has left it.
pub fn grace_after() {
    // SAFETY: process context, as this function demands.
    unsafe { sys::bsk_after_grace() }
}

/// Sleeps until every task has slept, or has left the kernel: whoever was running at the call has come to a stop since.
pub fn grace_tasks() {
    // SAFETY: process context, as this function demands.
    unsafe { sys::bsk_grace_tasks() }
}
