// SPDX-License-Identifier: GPL-2.0-only

//! How many bios of an attachment are in flight: two numbers for each CPU that only grow.
//!
//! A bio may start on one CPU and finish on another; only the sums mean something. [`Counts::idle`] reads all `finished` before
//! any `started`: when the sums are equal, then at the moment between the two readings everything that had started had
//! finished. Both are full barriers, so that whoever closes a gate and then sees the sums equal knows that every later start
//! sees the gate closed.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;

use kern::hook::Atomic;
use kern::{Errno, Result};

/// One CPU's, on a cache line of its own.
#[repr(align(64))]
struct Slot {
    started: AtomicU64,
    finished: AtomicU64,
}

/// An attachment's counts.
pub(crate) struct Counts(Vec<Slot>);

impl Counts {
    /// Sleeps.
    pub(crate) fn new() -> Result<Counts> {
        let mut slots = Vec::new();
        let cpus = kern::hook::cpus();
        slots.try_reserve_exact(cpus).map_err(|_| Errno::ENOMEM)?;
        for _ in 0..cpus {
            let slot = Slot { started: AtomicU64::new(0), finished: AtomicU64::new(0) };
            kern::vec::TryPush::try_push(&mut slots, slot).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(Counts(slots))
    }

    /// A bio starts.
    #[inline]
    pub(crate) fn start(&self, at: &Atomic) {
        if let Some(slot) = self.0.get(at.cpu()) {
            slot.started.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A bio has finished.
    #[inline]
    pub(crate) fn finish(&self, at: &Atomic) {
        if let Some(slot) = self.0.get(at.cpu()) {
            slot.finished.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether none was in flight at some moment of the call.
    pub(crate) fn idle(&self) -> bool {
        let sum =
            |of: fn(&Slot) -> &AtomicU64| self.0.iter().fold(0u64, |n, slot| n.wrapping_add(of(slot).load(Ordering::SeqCst)));
        let finished = sum(|slot| &slot.finished);
        finished == sum(|slot| &slot.started)
    }
}
