// SPDX-License-Identifier: GPL-2.0-only

//! A pointer that any context reads without a lock, and the proof that it may do so for a while.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use crate::sys;

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
