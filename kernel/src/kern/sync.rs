// SPDX-License-Identifier: GPL-2.0-only

//! Locks, waiting, and a pointer that is read without a lock.
//!
//! | type | taken where | may sleep |
//! |---|---|---|
//! | [`Mutex`] | process context | yes |
//! | [`SpinLock`] | anywhere, interrupts off inside | no |
//! | [`Wait`] | waits in process context, woken from anywhere | the waiter |
//! | [`RcuArc`] | read anywhere, replaced in process context | the replacer |
//!
//! Each lock has a [`Class`], so that lockdep tells them apart. The order in which they nest is the order of the classes.

use core::cell::UnsafeCell;
use core::ffi::{c_ulong, c_void};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use crate::errno::{Errno, Result};
pub use crate::rcu::{drop_retired, Atomic, RcuArc, Retired};
use crate::sys;
/// Those of the language; a model of a part of the kernel puts its own in their place.
pub(crate) use core::sync::atomic;

/// Which kind of lock it is. They nest in the order in which they stand here.
#[derive(Clone, Copy)]
pub enum Class {
    /// File systems that a take has frozen.
    Freezer = 0,
    /// The list of devices and snapshots.
    Registry = 5,
    /// A device's tracking is being replaced.
    Device = 9,
    /// What is bound to an open control file.
    Session = 8,
    /// One snapshot's state and members.
    Snapshot = 7,
    /// One device's change history.
    History = 1,
    /// One image's requests.
    Image = 11,
    /// One device's takes and ends.
    Turns = 12,
    /// A part of one device's copy-on-write state.
    Cow = 2,
    /// The difference storages of a snapshot.
    Stores = 10,
    /// One difference storage.
    Store = 3,
    /// Jobs for the slow worker, and what came of them.
    Jobs = 6,
    /// A queue of events.
    Events = 4,
}

/// A value behind a sleeping lock.
pub struct Mutex<T> {
    raw: NonNull<c_void>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives the value to one thread at a time, so that sending it is all that is asked of T.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: the raw lock is a heap object without ties to a thread.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// Sleeps; `ENOMEM`.
    pub fn new(class: Class, value: T) -> Result<Self> {
        // SAFETY: process context, as this function demands.
        let raw = NonNull::new(unsafe { sys::bsk_mutex_new(class as u32) }).ok_or(Errno::ENOMEM)?;
        Ok(Mutex { raw, value: UnsafeCell::new(value) })
    }

    /// Sleeps until the lock is ours.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // SAFETY: `raw` is a live mutex until `self` is dropped.
        unsafe { sys::bsk_mutex_lock(self.raw.as_ptr()) };
        MutexGuard { lock: self }
    }

    /// Takes the lock if it is free. Does not sleep.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // SAFETY: as in `lock`.
        unsafe { sys::bsk_mutex_trylock(self.raw.as_ptr()) }.then(|| MutexGuard { lock: self })
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: nobody can hold or wait for a lock that is being dropped.
        unsafe { sys::bsk_mutex_free(self.raw.as_ptr()) };
    }
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard holds the lock.
        unsafe { sys::bsk_mutex_unlock(self.lock.raw.as_ptr()) };
    }
}

/// A value behind a spinning lock; interrupts are off inside.
pub struct SpinLock<T> {
    raw: NonNull<c_void>,
    value: UnsafeCell<T>,
}

// SAFETY: as for Mutex.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: as for Mutex.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Sleeps; `ENOMEM`.
    pub fn new(class: Class, value: T) -> Result<Self> {
        // SAFETY: process context, as this function demands.
        let raw = NonNull::new(unsafe { sys::bsk_spin_new(class as u32) }).ok_or(Errno::ENOMEM)?;
        Ok(SpinLock { raw, value: UnsafeCell::new(value) })
    }

    /// Runs `f` under the lock. `f` may not sleep.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        struct Unlock(*mut c_void, c_ulong);
        impl Drop for Unlock {
            fn drop(&mut self) {
                // SAFETY: this value exists only while the lock is held.
                unsafe { sys::bsk_spin_unlock(self.0, self.1) };
            }
        }
        // SAFETY: `raw` is a live spin lock until `self` is dropped.
        let flags = unsafe { sys::bsk_spin_lock(self.raw.as_ptr()) };
        let _unlock = Unlock(self.raw.as_ptr(), flags);
        // SAFETY: the lock is held until `_unlock` is dropped.
        f(unsafe { &mut *self.value.get() })
    }
}

impl<T> Drop for SpinLock<T> {
    fn drop(&mut self) {
        // SAFETY: nobody can hold a lock that is being dropped.
        unsafe { sys::bsk_spin_free(self.raw.as_ptr()) };
    }
}

/// A wait queue.
pub struct Wait {
    raw: NonNull<c_void>,
}

// SAFETY: a wait queue is made to be used from everywhere.
unsafe impl Sync for Wait {}
// SAFETY: it is a heap object without ties to a thread.
unsafe impl Send for Wait {}

impl Wait {
    /// Sleeps; `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: process context, as this function demands.
        let raw = NonNull::new(unsafe { sys::bsk_wait_new() }).ok_or(Errno::ENOMEM)?;
        Ok(Wait { raw })
    }

    /// Wakes all who wait, to look at their condition again. Atomic.
    pub fn wake(&self) {
        // SAFETY: `raw` is a live wait queue until `self` is dropped.
        unsafe { sys::bsk_wait_wake(self.raw.as_ptr()) };
    }

    /// Sleeps until `ready` says true (`Ok(true)`) or `ms` milliseconds are over (`Ok(false)`). `EINTR` after a signal, when
    /// `interruptible`. `ready` may not sleep.
    pub fn until<F: Fn() -> bool>(&self, ms: u32, interruptible: bool, ready: F) -> Result<bool> {
        unsafe extern "C" fn call<F: Fn() -> bool>(ctx: *mut c_void) -> bool {
            // SAFETY: ctx is the `&F` given below, alive during the wait.
            let ready = unsafe { &*ctx.cast_const().cast::<F>() };
            ready()
        }
        // SAFETY: the callback gets the `F` it was made for; `ready` outlives the call.
        let r = unsafe {
            sys::bsk_wait_until(self.raw.as_ptr(), call::<F>, ptr::from_ref(&ready).cast_mut().cast(), ms, interruptible)
        };
        if r < 0 {
            Err(Errno::EINTR)
        } else {
            Ok(r > 0)
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: nobody can wait on a queue that is being dropped.
        unsafe { sys::bsk_wait_free(self.raw.as_ptr()) };
    }
}
