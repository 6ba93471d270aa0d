// SPDX-License-Identifier: GPL-2.0-only

//! When the fast worker comes by itself: for memory, for a storage that grows, for copies that lingered, for writers held too long.
//!
//! The clock is that of the timer tick, as timers are, and read once a round. A timer is dear, so it is set only when none is set that comes
//! early enough; one that comes before its time finds out, and is set again.

use kern::misc::{param, tick_ns, Param};

use super::shard::State;

/// How often a worker that waits looks again.
const GROWTH_MS: u64 = 5;
const MEMORY_MS: u64 = 1;
const WATCH_MS: u64 = 1000;
/// How long copies that are few for a store wait for more.
const LINGER_MS: u64 = 5;

const MS: u64 = 1_000_000;

/// All in nanoseconds of the clock of the timer tick.
pub(super) struct Times {
    /// When the round began.
    now: u64,
    /// When something was last completed, or nothing was held.
    progress: u64,
    /// When the timer comes that was set last.
    timer: u64,
    /// When what lingers is stored; 0 when nothing does.
    linger: u64,
}

/// What a worker that waits for something does about it.
pub(super) enum Watch {
    /// Comes again after so many milliseconds.
    In(u32),
    /// Comes again anyway.
    Soon,
    /// Writers are not held for ever: a storage that stands still costs the snapshots.
    Late,
}

impl Times {
    pub(super) fn new() -> Times {
        let now = tick_ns();
        Times { now, progress: now, timer: 0, linger: 0 }
    }
}

impl State {
    /// A round begins. What has lingered for long enough is stored in it.
    pub(super) fn tick(&mut self) {
        self.times.now = tick_ns();
        if self.times.linger > 0 && self.times.linger <= self.times.now {
            self.engine.store_now();
        }
    }

    /// Something was completed, or the first write is held: from here on writers wait.
    pub(super) fn progressed(&mut self) {
        self.times.progress = self.times.now;
    }

    /// At the end of a round, all that the engine wanted being carried out; nothing is waited for after a failure. `set`: whether the
    /// timer is still to come.
    pub(super) fn watch(&mut self, set: impl FnOnce() -> bool) -> Option<Watch> {
        if self.engine.failed() {
            self.times.linger = 0;
            return None;
        }
        let now = self.times.now;
        self.times.linger = match self.times.linger {
            _ if !self.engine.lingers() => 0,
            due if due > now => due,
            _ => now + LINGER_MS * MS,
        };
        let due = if !self.unread.is_empty() {
            now + MEMORY_MS * MS
        } else if !self.waiting.is_empty() {
            now + GROWTH_MS * MS
        } else if self.times.linger > 0 {
            self.times.linger
        } else if self.held > 0 {
            now + WATCH_MS * MS
        } else {
            return None;
        };
        let stands = now.saturating_sub(self.times.progress);
        // A look at the parameter is for those who have waited for its smallest value.
        if self.held > 0 && stands > 1000 * MS && stands > u64::from(param(Param::StoreTimeout).max(1)) * 1000 * MS {
            return Some(Watch::Late);
        }
        // One whose time has not come by far is still to come.
        if self.times.timer <= due && (self.times.timer > now + MS || set()) {
            return Some(Watch::Soon);
        }
        self.times.timer = due;
        Some(Watch::In((due - now).div_ceil(MS) as u32))
    }
}
