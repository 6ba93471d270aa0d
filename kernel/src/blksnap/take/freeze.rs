// SPDX-License-Identifier: GPL-2.0-only

//! Freezing the file systems of a take, for a bounded time.
//!
//! A freeze waits for its device, and so may a thaw; neither can be given up. So each is done by a worker of its own: a device that stands still
//! keeps neither the take nor the other devices' file systems waiting for longer than `store_timeout_seconds`, the time that writers are kept
//! waiting for a snapshot at most.
//!
//! # States of a freezer
//!
//! 1. Wanted: its worker freezes. 2. Frozen, or failed. 3. Unwanted: its worker thaws what is frozen, or will be. 4. Over: nothing is frozen, the
//!    worker is to be stopped. Who is not over when the take ends is kept in the registry's [`Freezers`] until it is.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::bdev::{Frozen, Open};
use kern::errno::{Errno, Result};
use kern::misc::{monotonic_ns, param, Param};
use kern::pr_warn;
use kern::sync::{Class, Mutex, SpinLock, Wait};
use kern::vec::TryPush;
use kern::worker::{Queue, Work, Worker};

use super::part::Part;

/// What the lock guards.
struct State {
    wanted: bool,
    /// The freeze has ended, so or so.
    result: Option<Result>,
    frozen: Option<Frozen>,
    over: bool,
}

/// One device's file systems.
pub(crate) struct Freezer {
    worker: Worker<Freezer>,
    origin: Arc<Open>,
    state: SpinLock<State>,
    changed: Wait,
}

/// Those whose device stood still when their take ended.
pub(crate) type Freezers = Mutex<Vec<Arc<Freezer>>>;

impl Freezer {
    fn start(origin: Arc<Open>) -> Result<Arc<Freezer>> {
        let state = State { wanted: true, result: None, frozen: None, over: false };
        let freezer = kern::alloc::try_arc(Freezer {
            worker: Worker::new(Queue::Take)?,
            origin,
            state: SpinLock::new(Class::Freezer, state)?,
            changed: Wait::new()?,
        })?;
        freezer.worker.start(&freezer);
        Ok(freezer)
    }

    /// Waits for the freeze. Sleeps; `ETIMEDOUT`.
    fn frozen(&self, ms: u32) -> Result {
        let result = || self.state.with(|state| state.result);
        let _ = self.changed.until(ms, false, || result().is_some());
        result().unwrap_or(Err(Errno::ETIMEDOUT))
    }

    fn thaw(&self) {
        self.state.with(|state| state.wanted = false);
        self.worker.kick();
    }

    fn is_over(&self) -> bool {
        self.state.with(|state| state.over)
    }

    /// Waits until nothing is frozen any more. Sleeps.
    fn over(&self, ms: u32) -> bool {
        matches!(self.changed.until(ms, false, || self.is_over()), Ok(true))
    }
}

impl Work for Freezer {
    fn run(&self) {
        if self.state.with(|state| state.wanted && state.result.is_none()) {
            let frozen = self.origin.freeze();
            self.state.with(|state| match frozen {
                Ok(frozen) => (state.result, state.frozen) = (Some(Ok(())), Some(frozen)),
                Err(e) => state.result = Some(Err(e)),
            });
        }
        if !self.state.with(|state| state.wanted) {
            drop(self.state.with(|state| state.frozen.take()));
            self.state.with(|state| state.over = true);
        }
        self.changed.wake();
    }
}

/// File systems that are frozen; they thaw when it is dropped.
pub(super) struct AllFrozen<'a> {
    /// In the order in which they were frozen.
    list: Vec<Arc<Freezer>>,
    late: &'a Freezers,
    ms: u32,
}

impl Drop for AllFrozen<'_> {
    fn drop(&mut self) {
        // The last one first: thawing the one on a loop device writes to the one below.
        self.list.iter().rev().for_each(|freezer| freezer.thaw());
        let left = deadline(self.ms);
        while let Some(freezer) = self.list.pop() {
            if freezer.over(left()) {
                freezer.worker.stop_own();
            } else {
                // Never grows: there is room for all.
                let _ = self.late.lock().try_push(freezer);
            }
        }
    }
}

/// Milliseconds that are left of `ms`, as of now; 1 when the time is over.
fn deadline(ms: u32) -> impl Fn() -> u32 {
    let begin = monotonic_ns();
    move || ms.saturating_sub((monotonic_ns().saturating_sub(begin) / 1_000_000) as u32).max(1)
}

/// Freezes all parts, one after the other. In the take's turn. Sleeps; `ETIMEDOUT`, or what a file system says.
pub(super) fn freeze<'a>(late: &'a Freezers, parts: &[Part]) -> Result<AllFrozen<'a>> {
    collect(late, |freezer| freezer.is_over());
    late.lock().try_reserve(parts.len()).map_err(|_| Errno::ENOMEM)?;
    let ms = param(Param::StoreTimeout).max(1).saturating_mul(1000);
    let left = deadline(ms);
    let mut frozen = AllFrozen { list: Vec::new(), late, ms };
    frozen.list.try_reserve_exact(parts.len()).map_err(|_| Errno::ENOMEM)?;
    for part in parts {
        let freezer = Freezer::start(part.origin()?)?;
        // Never grows.
        let _ = frozen.list.try_push(freezer.clone());
        freezer.frozen(left()).inspect_err(|e| {
            let (major, minor) = part.device.number();
            pr_warn!("cannot freeze the file system on device {major}:{minor}: {e}; no snapshot is taken");
        })?;
    }
    Ok(frozen)
}

/// Lets go of those that were late and of which `which` says yes; the others' workers are waited for. Sleeps.
fn collect(late: &Freezers, which: impl Fn(&Freezer) -> bool) {
    loop {
        let next = {
            let mut late = late.lock();
            late.iter().position(|freezer| which(freezer)).map(|at| late.swap_remove(at))
        };
        match next {
            Some(freezer) => freezer.worker.stop_own(),
            None => return,
        }
    }
}

/// At module unload: waits for all. Sleeps.
pub(crate) fn end(late: &Freezers) {
    collect(late, |freezer| {
        freezer.over(u32::MAX);
        true
    });
}
