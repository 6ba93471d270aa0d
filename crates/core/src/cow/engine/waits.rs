// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How long writes wait for room in the pool: where the bound is reached, and the policy is to hold them.
//!
//! The clock is read when a wait begins and when it ends, and for figures; a write that finds room costs no look at it.

use super::Clock;

/// The waits so far.
pub(super) struct Waits {
    clock: Clock,
    pub(super) count: u64,
    /// Nanoseconds of those that are over: all together, and the longest.
    pub(super) total: u64,
    pub(super) longest: u64,
}

impl Waits {
    pub(super) const fn new(clock: Clock) -> Self {
        Self {
            clock,
            count: 0,
            total: 0,
            longest: 0,
        }
    }

    /// A write begins to wait. The time.
    pub(super) fn begin(&mut self) -> u64 {
        self.count += 1;
        (self.clock)()
    }

    /// One that has waited since then does not any more.
    pub(super) fn end(&mut self, since: u64) {
        let now = (self.clock)();
        self.add(now, since);
    }

    fn add(&mut self, now: u64, since: u64) {
        let waited = now.saturating_sub(since);
        self.total += waited;
        self.longest = self.longest.max(waited);
    }

    /// With those who wait now, since these times.
    pub(super) fn with(&self, waiting: impl Iterator<Item = u64>) -> Self {
        let mut all = Self { ..*self };
        let mut now = None;
        for since in waiting {
            let now = *now.get_or_insert_with(|| (self.clock)());
            all.add(now, since);
        }
        all
    }
}
