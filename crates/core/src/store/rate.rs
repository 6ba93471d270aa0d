// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How fast something grows: over the last seconds, from nothing but times that it is told.

/// Notes that are kept.
const NOTES: usize = 16;
/// Time between two of them.
const STEP_MS: u64 = 500;
/// Older ones do not count.
const WINDOW_MS: u64 = 8000;

/// What something was at the last times.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// Times and values, in a ring; at first nothing, at time 0.
    notes: [Option<(u64, u64)>; NOTES],
    /// Where the next one goes.
    next: usize,
    /// The latest, kept or not.
    now: (u64, u64),
}

impl Rate {
    /// It is `value` at `ms`; neither ever falls.
    pub(super) fn note(&mut self, ms: u64, value: u64) {
        self.now = (ms.max(self.now.0), value);
        let last = self.notes[(self.next + NOTES - 1) % NOTES];
        if last.is_none_or(|(then, _)| self.now.0 - then >= STEP_MS) {
            self.notes[self.next] = Some(self.now);
            self.next = (self.next + 1) % NOTES;
        }
    }

    /// By how much it grows in `ms` milliseconds, at most an hour; for values below 2^41.
    pub(super) fn in_ms(&self, ms: u64) -> u64 {
        let (time, growth) = self.slope();
        growth.saturating_mul(ms) / time
    }

    /// Milliseconds until it has grown by `left`, which is below 2^50; `u64::MAX` if it does not grow.
    pub(super) fn ms_for(&self, left: u64) -> u64 {
        let (time, growth) = self.slope();
        left.saturating_mul(time)
            .checked_div(growth)
            .unwrap_or(u64::MAX)
    }

    /// A time, 1 to [`WINDOW_MS`], and the growth in it.
    fn slope(&self) -> (u64, u64) {
        let since = |(then, value): &(u64, u64)| (self.now.0 - then, self.now.1 - value);
        let notes = self.notes.iter().flatten().map(since);
        let recent = notes.filter(|(time, _)| *time <= WINDOW_MS);
        match recent.max_by_key(|(time, _)| *time) {
            // A moment tells nothing.
            Some((time, growth)) if time >= STEP_MS => (time, growth),
            _ => (1, 0),
        }
    }
}
