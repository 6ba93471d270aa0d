// SPDX-License-Identifier: GPL-2.0-only

//! What happened to a snapshot, for those who wait for it.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kern::control;
use kern::errno::{Errno, Result};
use kern::misc::real_ns;
use kern::sync::{Class, SpinLock, Wait};
use kern::vec::TryPush;

/// Events that are kept; when nobody fetches them, the oldest goes.
const KEPT: usize = 64;

/// What happened.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// The snapshot of a device failed.
    Corrupted {
        /// Major and minor number.
        device: (u32, u32),
        /// Why.
        error: Errno,
    },
    /// The difference storage is full.
    NoSpace {
        /// Sectors that were asked for.
        sectors: u64,
    },
    /// The difference storage will soon be full.
    LowSpace {
        /// Bytes in use.
        used: u64,
        /// Bytes at most; 0: no limit.
        limit: u64,
        /// Milliseconds, or `u64::MAX`.
        full_in_ms: u64,
    },
}

/// An event and when it was, in nanoseconds since 1970.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) time_ns: u64,
}

/// A snapshot's events.
pub(crate) struct Events {
    queue: SpinLock<Vec<Event>>,
    wait: Wait,
    closed: AtomicBool,
}

impl Events {
    pub(crate) fn new() -> Result<Events> {
        let mut queue = Vec::new();
        queue.try_reserve_exact(KEPT).map_err(|_| Errno::ENOMEM)?;
        Ok(Events { queue: SpinLock::new(Class::Events, queue)?, wait: Wait::new()?, closed: AtomicBool::new(false) })
    }

    /// Tells. Atomic: the room is there already.
    pub(crate) fn push(&self, what: What) {
        let event = Event { what, time_ns: real_ns() };
        self.queue.with(|q| {
            if q.len() >= KEPT {
                q.remove(0);
            }
            // Never grows: the capacity was reserved.
            let _ = q.try_push(event);
        });
        self.wait.wake();
        control::wake();
    }

    /// Whether an event is there.
    pub(crate) fn any(&self) -> bool {
        self.queue.with(|q| !q.is_empty())
    }

    /// Whether there will be no more of them.
    pub(crate) fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The oldest event; waits for one. `ENOENT` when none came in time, `ESRCH` when the snapshot went away, `EINTR`.
    pub(crate) fn wait(&self, ms: u32) -> Result<Event> {
        let ready = || self.closed() || self.any();
        self.wait.until(ms, true, ready)?;
        match self.queue.with(|q| if q.is_empty() { None } else { Some(q.remove(0)) }) {
            Some(event) => Ok(event),
            None if self.closed() => Err(Errno::ESRCH),
            None => Err(Errno::ENOENT),
        }
    }

    /// Nobody shall wait any longer.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wait.wake();
    }
}
