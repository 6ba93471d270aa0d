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
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::sys;

/// Which kind of lock it is. They nest in the order in which they stand here.
#[derive(Clone, Copy)]
pub enum Class {
    /// Takes pass their gate one at a time.
    Gate = 0,
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
    /// One device's copy-on-write state.
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

/// The proof that preemption is off, which is a read side of RCU: what is found by it stays while it lives, and nothing may sleep.
pub struct Atomic(PhantomData<*const ()>);

impl Atomic {
    /// # Safety
    /// Preemption is off as long as the value is used.
    pub(crate) unsafe fn assume() -> Atomic {
        Atomic(PhantomData)
    }
}

/// An optional `Arc` that any context reads without a lock.
pub struct RcuArc<T> {
    ptr: AtomicPtr<T>,
}

// SAFETY: it hands out `&T` and owns an `Arc<T>`, as `Arc` itself does.
unsafe impl<T: Send + Sync> Sync for RcuArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for RcuArc<T> {}

impl<T> RcuArc<T> {
    /// Holds nothing.
    pub const fn empty() -> Self {
        RcuArc { ptr: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Runs `f` with what is held. `f` may not sleep. Atomic.
    pub fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        if self.ptr.load(Ordering::Relaxed).is_null() {
            return f(None);
        }
        // SAFETY: a read side may begin in any context; it ends below.
        unsafe { sys::bsk_rcu_lock() };
        // SAFETY: what the pointer shows inside a read side is freed only after a grace period (see `replace`).
        let r = f(unsafe { self.ptr.load(Ordering::Acquire).as_ref() });
        // SAFETY: ends the read side begun above.
        unsafe { sys::bsk_rcu_unlock() };
        r
    }

    /// What is held, for as long as preemption is off. Atomic.
    #[inline]
    pub fn read<'a>(&'a self, _at: &'a Atomic) -> Option<&'a T> {
        // SAFETY: preemption is off, so that the grace period of `replace` waits for us.
        unsafe { self.ptr.load(Ordering::Acquire).as_ref() }
    }

    /// Another reference to what is held. Atomic.
    pub fn get(&self) -> Option<Arc<T>> {
        self.with(|held| {
            // SAFETY: the pointer came from Arc::into_raw, and the read side keeps the cell's own reference alive meanwhile.
            held.map(|t| unsafe {
                Arc::increment_strong_count(ptr::from_ref(t));
                Arc::from_raw(ptr::from_ref(t))
            })
        })
    }

    /// Replaces what is held, at once; what was there is to be dropped later. Atomic.
    pub fn exchange(&self, new: Option<Arc<T>>) -> Option<Retired<T>> {
        let new = new.map_or(ptr::null_mut(), |a| Arc::into_raw(a).cast_mut());
        let old = self.ptr.swap(new, Ordering::AcqRel);
        // SAFETY: the pointer came from Arc::into_raw, and the swap took it out of the cell.
        (!old.is_null()).then(|| Retired(ManuallyDrop::new(unsafe { Arc::from_raw(old) })))
    }

    /// Replaces what is held and gives back what was there, once no reader sees it any more. Sleeps when something was there.
    pub fn replace(&self, new: Option<Arc<T>>) -> Option<Arc<T>> {
        let new = new.map_or(ptr::null_mut(), |a| Arc::into_raw(a).cast_mut());
        let old = self.ptr.swap(new, Ordering::AcqRel);
        if old.is_null() {
            return None;
        }
        // SAFETY: process context, as this function demands.
        unsafe { sys::bsk_synchronize_rcu() };
        // SAFETY: the pointer came from Arc::into_raw above, and the swap took it out of the cell.
        Some(unsafe { Arc::from_raw(old) })
    }
}

/// What an [`RcuArc`] held: readers may still see it. Dropping it waits for them; sleeps.
pub struct Retired<T>(ManuallyDrop<Arc<T>>);

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        // SAFETY: process context, as dropping this demands.
        unsafe { sys::bsk_synchronize_rcu() };
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

/// Drops all of them after one wait. Sleeps.
pub fn drop_retired<T>(all: Vec<Retired<T>>) {
    if all.is_empty() {
        return;
    }
    // SAFETY: process context, as this function demands.
    unsafe { sys::bsk_synchronize_rcu() };
    for one in all {
        let mut one = ManuallyDrop::new(one);
        // SAFETY: nobody sees it any more; dropped once, here, as the value around it is not.
        unsafe { ManuallyDrop::drop(&mut one.0) };
    }
}

impl<T> Drop for RcuArc<T> {
    fn drop(&mut self) {
        let old = *self.ptr.get_mut();
        if !old.is_null() {
            // SAFETY: as in `replace`; nobody reads through a cell that is being dropped.
            drop(unsafe { Arc::from_raw(old) });
        }
    }
}
