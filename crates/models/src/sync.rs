// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's `crate::sync` is for `table.rs`, and a grace period.

use loom::sync::{Mutex, RwLock, RwLockReadGuard};

pub(crate) use loom::sync::atomic;

/// Preemption is off, or whatever else keeps a grace period from ending.
pub(crate) struct Atomic<'a>(
    #[allow(dead_code, reason = "what counts is that it is there")] RwLockReadGuard<'a, ()>,
);

/// RCU: who reads, and who waits for those.
pub(crate) struct Rcu(RwLock<()>);

impl Rcu {
    pub(crate) fn new() -> Self {
        Rcu(RwLock::new(()))
    }

    /// A read side, until what is returned goes.
    pub(crate) fn read(&self) -> Atomic<'_> {
        Atomic(self.0.read().unwrap())
    }

    /// A grace period. It keeps new readers out, which the kernel's does not; those have nothing to do with it.
    pub(crate) fn grace(&self) {
        drop(self.0.write().unwrap());
    }
}

/// A processor. An instruction of it is done with the lock held; who takes the lock beside it is an interrupt there, with the
/// barriers that an interrupt has.
pub(crate) type Cpu = Mutex<()>;
