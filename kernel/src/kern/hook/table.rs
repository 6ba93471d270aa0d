// SPDX-License-Identifier: GPL-2.0-only

//! Attachments by disk, read without a lock and changed under one.
//!
//! 256 lists, chosen by eight bits of the disk's address: the hook on bios looks at the list's head itself, and goes no further
//! when it is empty. An element is linked through itself, so that neither adding nor removing needs memory.
//!
//! States of an element: 1 not in the table; 2 in it, seen by readers; 3 removed, may still be seen by readers that were there
//! before; after a grace period ([`super::control::grace`]), 1. The table has a reference in 2 and 3.
//!
//! `crates/models` has this very file run in all interleavings.

use core::marker::PhantomData;
use core::ptr;

use rust_alloc::sync::Arc;

use super::dev::Disk;
use super::heads::head;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::Atomic;

/// The place in an element through which it is linked.
pub struct Link<T>(AtomicPtr<T>);

impl<T> Link<T> {
    /// Not linked.
    pub fn new() -> Self {
        Link(AtomicPtr::new(ptr::null_mut()))
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Link::new()
    }
}

/// What can be in a [`Table`].
pub trait Linked: Sized {
    /// The element's link.
    fn link(&self) -> &Link<Self>;
    /// Its disk; it never changes.
    fn disk(&self) -> Disk;
}

/// The table. Its changes are made under one lock, that of the control plane. INVARIANT: a module has one `Table`, which alone
/// uses the heads of the lists.
pub struct Table<T> {
    owns: PhantomData<Arc<T>>,
}

/// A removed element; to be dropped after a grace period.
pub struct Removed<T>(Arc<T>);

impl<T: Linked> Table<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Table { owns: PhantomData }
    }

    #[inline]
    fn list(&self, disk: Disk) -> &AtomicPtr<T> {
        // SAFETY: the same memory as a pointer to another type; INVARIANT: all that is stored there is of this type.
        unsafe { &*head(disk).cast() }
    }

    /// The first element that may be of `disk`.
    #[inline]
    pub fn first<'a>(&'a self, _at: &'a Atomic, disk: Disk) -> Option<&'a T> {
        // SAFETY: an element stays for a grace period after its removal, and preemption is off.
        unsafe { self.list(disk).load(Ordering::Acquire).as_ref() }
    }

    /// The one after it.
    #[inline]
    pub fn next<'a>(_at: &'a Atomic, element: &'a T) -> Option<&'a T> {
        // SAFETY: as in `first`.
        unsafe { element.link().0.load(Ordering::Acquire).as_ref() }
    }

    /// Adds an element behind all others of its list. Under the lock.
    pub fn insert(&self, element: Arc<T>) {
        element.link().0.store(ptr::null_mut(), Ordering::Relaxed);
        let mut place = self.list(element.disk());
        // SAFETY: elements of the list are alive; the lock keeps it from changing.
        while let Some(other) = unsafe { place.load(Ordering::Relaxed).as_ref() } {
            place = &other.link().0;
        }
        place.store(Arc::into_raw(element).cast_mut(), Ordering::Release);
    }

    /// Removes an element, if it is there. Under the lock.
    pub fn remove(&self, element: &Arc<T>) -> Option<Removed<T>> {
        let this = Arc::as_ptr(element).cast_mut();
        let mut place = self.list(element.disk());
        loop {
            let found = place.load(Ordering::Relaxed);
            if found == this {
                place.store(element.link().0.load(Ordering::Relaxed), Ordering::Release);
                // SAFETY: the pointer came from `Arc::into_raw` in `insert`, and has left the list.
                return Some(Removed(unsafe { Arc::from_raw(this) }));
            }
            // SAFETY: elements of the list are alive; the lock keeps it from changing.
            place = &unsafe { found.as_ref() }?.link().0;
        }
    }
}

impl<T: Linked> Default for Table<T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<T> Removed<T> {
    /// Gives up the table's reference. After a grace period.
    pub fn release(self) -> Arc<T> {
        self.0
    }
}
