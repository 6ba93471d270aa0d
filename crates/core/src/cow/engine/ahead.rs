// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Copying ahead of writes where they fill a neighbourhood, so that dense loads cost few large copies.
//!
//! A copy that is planned for a held write may take in blocks beside it that nobody has written yet, within the aligned [`WINDOW`] of 64 blocks (256 KiB):
//!
//! - **dense**: of an aligned neighbourhood of 8 to 64 blocks a quarter was written, and four blocks at least. The copy takes in the gap that it lies in,
//!   so that the copies of a stream have 1, 1, 1, 1, 12, 48 blocks;
//! - **stream**: it begins a window, and at least four blocks just before were all written. The copy becomes as long as they are.
//!
//! Which blocks were written is told by two bits of each: saved, and copied ahead but not written since; a look at one or two words.
//!
//! # The bound
//!
//! At every moment, for any load: `copied <= 1.25 * needed + 64`, where *needed* are the blocks that were copied for a held write, and those that
//! were copied ahead and written since. For `copied = needed + idle`, and blocks are copied ahead only while `idle`, with them, stays within
//! `needed / 4 + 64`; afterwards `idle` only falls and `needed` only rises.

use super::Engine;
use crate::cow::lazy::LazyCell;
use crate::cow::map::{Near, Place};
use crate::cow::saved::{Saved, SavedPage};
use crate::units::bits;
use crate::BlockRange;

/// Blocks that may be idle at any time.
const FREE: u64 = 64;
/// Of needed blocks, one idle one is allowed for so many.
const SHARE: u64 = 4;
/// Blocks in a row that are a stream.
const STREAM: u64 = 4;
/// Blocks of a word, the largest neighbourhood.
const WINDOW: u64 = 64;

/// What was copied ahead, and how much of it was of use.
#[derive(Default)]
pub(super) struct Ahead {
    /// Blocks copied for held writes.
    demanded: u64,
    /// Blocks copied ahead.
    planned: u64,
    /// Those of them that were written in former epochs, as far as is known.
    used_before: u64,
    /// Those that were written in the newest epoch, when it was looked at last.
    used: u64,
}

impl Ahead {
    pub(super) fn count(&mut self, demanded: u64, ahead: u64) {
        self.demanded += demanded;
        self.planned += ahead;
    }

    pub(super) fn planned(&self) -> u64 {
        self.planned
    }

    pub(super) fn used(&self) -> u64 {
        self.used_before + self.used
    }

    /// A take. What is written from now on to blocks that were copied before does not count any more.
    pub(super) fn next_epoch(&mut self) {
        self.used_before += core::mem::take(&mut self.used);
    }

    /// How many blocks may be copied ahead now, together with `demanded` blocks for a held write.
    fn allowance(&self, demanded: u64) -> u64 {
        let (used, idle) = (self.used(), self.planned - self.used());
        let needed = self.demanded + demanded + used;
        (FREE + needed / SHARE).saturating_sub(idle)
    }
}

impl Engine {
    /// How many blocks before and behind `range`, which will be copied for a held write, are to be copied with it; `near` is of its first block.
    /// The pages for the bits of both are there.
    pub(super) fn look_ahead<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        near: &Near,
        range: BlockRange,
    ) -> (u64, u64) {
        let (window, at, count) = (range.start / WINDOW, range.start % WINDOW, range.count);
        if at + count >= WINDOW {
            return (0, 0);
        }
        let here = saved.word(window);
        let before = if at == 0 && window > 0 {
            saved.word(window - 1)
        } else {
            0
        };
        // Nearly always, where writes are sparse.
        if few(here | before) {
            return (0, 0);
        }
        let Some((from, to)) = self.neighbourhood(saved, window, at, count) else {
            return (0, 0);
        };
        self.ahead.used = saved.used(range.start);
        // Writers that wait for room need it more.
        let room = (self.limits.pool_blocks / 2).saturating_sub(self.pool_used);
        let most = u64::from(room.min(self.limits.copy_blocks)).saturating_sub(count);
        let most = most.min(self.ahead.allowance(count));
        let limit = (window * WINDOW + to).min(self.blocks) - range.end();
        let gap = limit.min(near.gap() - count).min(most);
        let right = saved.clear_run(range.end(), gap);
        let left = (at - from).min(near.gap_before()).min(most - right);
        let left = left.min(clear_before(here, at));
        let whole = BlockRange {
            start: range.start - left,
            count: left + count + right,
        };
        let made =
            left + right > 0 && saved.prepare(whole).is_ok() && saved.prepare_ahead(whole).is_ok();
        if made {
            (left, right)
        } else {
            (0, 0)
        }
    }

    /// The part of the window that is being filled, which the `count` blocks from `at` on are in: first block and end.
    fn neighbourhood<C: LazyCell<SavedPage>>(
        &self,
        saved: &Saved<C>,
        window: u64,
        at: u64,
        count: u64,
    ) -> Option<(u64, u64)> {
        let written = self.written(saved, window);
        for size in [64, 32, 16, 8] {
            let from = at / size * size;
            let part = written & bits(from, from + size);
            let dense = u64::from(part.count_ones()) >= STREAM.max(size / 4);
            if dense && at + count <= from + size {
                return Some((from, from + size));
            }
        }
        // A stream of at least four blocks in this window is dense as well.
        let row = if at == 0 && window > 0 {
            self.written(saved, window - 1).leading_ones()
        } else {
            0
        };
        let length = u64::from(row).max(count);
        (u64::from(row) >= STREAM).then(|| (at, (at + length).min(WINDOW)))
    }

    /// The blocks of a window that were written in the newest epoch.
    fn written<C: LazyCell<SavedPage>>(&self, saved: &Saved<C>, window: u64) -> u64 {
        let mut written = saved.word(window) & !saved.ahead_word(window);
        let (mut at, first) = (0, window * WINDOW);
        // What was free passes as well, and tells nothing.
        while at < WINDOW && written != 0 && !self.top.over.is_empty() {
            let (place, run) = self.top.over.find(first + at, WINDOW - at);
            if place == Some(Place::Zero) {
                written &= !bits(at, at + run);
            }
            at += run;
        }
        written
    }
}

/// Whether fewer than [`STREAM`] bits are set. A count takes longer where the processor is not known to have an instruction for it.
fn few(word: u64) -> bool {
    let one_less = |word: u64| word & word.wrapping_sub(1);
    (1..STREAM).fold(word, |word, _| one_less(word)) == 0
}

/// How many bits of `word` right below bit `at` are clear.
fn clear_before(word: u64, at: u64) -> u64 {
    match at {
        0 => 0,
        _ => u64::from((word << (64 - at)).leading_zeros()).min(at),
    }
}
