// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an image has of its own: blocks written to it, and blocks that read as zeros.

use super::entry::Entry;
use super::{one_run, BlockMap, Near, Place};
use crate::{BlockRange, NoMemory};

/// A map of slots and zeros, empty and without memory at first. Slots replace zeros, never the other way round.
#[derive(Default)]
pub(crate) struct Overlay {
    map: BlockMap,
}

impl Overlay {
    /// Nothing was entered.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.map.groups.is_empty()
    }

    /// What is at `block`, and for how many blocks from it on: 1 to `max`, at least 1.
    pub(crate) fn find(&self, block: u64, max: u64) -> (Option<Place>, u64) {
        if self.is_empty() {
            return (None, max.max(1));
        }
        self.map.find(block, max)
    }

    /// Makes room for the first entry, for a device of `blocks` blocks.
    pub(crate) fn open(&mut self, blocks: u64) -> Result<(), NoMemory> {
        if self.is_empty() {
            self.map = BlockMap::new(blocks)?;
        }
        Ok(())
    }

    /// The blocks of `range`, of an open overlay, that have nothing yet read as zeros from now on. How many these were; without memory some
    /// may have been entered.
    pub(crate) fn zero(&mut self, range: BlockRange) -> Result<u64, NoMemory> {
        let (mut at, mut zeroed) = (range.start, 0);
        while at < range.end() {
            let near = self.map.near(at);
            at += match near.place() {
                Some((_, run)) => run,
                None => {
                    let run = one_run(at, near.gap().min(range.end() - at)).count;
                    self.map.insert(&near, 0, run, Place::Zero)?;
                    self.map.join(at);
                    zeroed += run;
                    run
                }
            };
        }
        Ok(zeroed)
    }

    /// The blocks of `range`, of an open overlay, lie in the slots from `slot` on; those that have slots keep them. Without memory some may
    /// have been entered.
    pub(crate) fn store(&mut self, range: BlockRange, slot: u64) -> Result<(), NoMemory> {
        let mut at = range.start;
        while at < range.end() {
            let (near, left) = (self.map.near(at), range.end() - at);
            let to = Place::Stored(slot + (at - range.start));
            at += match near.place() {
                Some((Place::Zero, run)) => {
                    let run = run.min(left);
                    self.replace(&near, run, to)?;
                    self.map.join(at);
                    run
                }
                Some((_, run)) => run,
                None => {
                    let run = one_run(at, near.gap().min(left)).count;
                    self.map.insert(&near, 0, run, to)?;
                    self.map.join(at);
                    run
                }
            };
        }
        Ok(())
    }

    /// Replaces `count` blocks from the one of `near`, which are part of its run. Without memory nothing changes but that the run may be split.
    fn replace(&mut self, near: &Near, count: u64, to: Place) -> Result<(), NoMemory> {
        let Some(old) = near.spot.before else {
            return Ok(());
        };
        let (at, end) = (near.at, near.at + count);
        let part = |start: u64, end: u64| Entry::new(start, end - start, old.place_at(start));
        if end < old.end() {
            // A run for what lies behind.
            self.set(near, part(old.start(), end));
            let behind = self.near(near, end);
            let rest = part(end, old.end());
            self.insert(&behind, rest)
                .inspect_err(|_| self.set(near, old))?;
        }
        // Entering may have moved the entries.
        let near = &self.near(near, at);
        if old.start() == at {
            self.set(near, Entry::new(at, count, to));
            return Ok(());
        }
        self.set(near, part(old.start(), at));
        let here = self.near(near, at);
        self.insert(&here, Entry::new(at, count, to))
            .inspect_err(|_| {
                let head = self.near(near, old.start());
                self.set(&head, part(old.start(), end));
            })
    }

    /// What is near block `at` of the same group.
    fn near(&self, near: &Near, at: u64) -> Near {
        let groups = self.map.groups.get(near.group);
        let spot = groups.map_or(near.spot, |group| group.spot(at));
        Near { at, spot, ..*near }
    }

    fn insert(&mut self, near: &Near, entry: Entry) -> Result<(), NoMemory> {
        self.map.insert(near, 0, entry.len(), entry.place())
    }

    fn set(&mut self, near: &Near, entry: Entry) {
        if let Some(group) = self.map.groups.get_mut(near.group) {
            group.set_before(&near.spot, entry);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.map.memory_bytes()
    }
}
