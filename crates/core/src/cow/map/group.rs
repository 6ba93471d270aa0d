// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The entries of one GiB: a sorted list of leaves.

use alloc::vec::Vec;

use super::entry::Entry;
use crate::fallible::{bytes, place, place_at, reserve};
use crate::NoMemory;

/// Entries in a full leaf: 1 KiB.
const LEAF: usize = 128;

/// A sorted list of entries.
///
/// # Invariants
///
/// Not empty, not longer than [`LEAF`]; the leaves of a group are sorted, and so are all their entries.
#[derive(Default)]
struct Leaf {
    /// Start of the first entry, so that the search for a leaf looks into none.
    first: u64,
    entries: Vec<Entry>,
}

impl Leaf {
    fn full(&self) -> bool {
        self.entries.len() == LEAF
    }

    /// The first entry may have changed.
    fn settle(&mut self) {
        self.first = self.entries.first().map_or(0, |entry| entry.start());
    }
}

/// The entries of a group, none at first.
#[derive(Default)]
pub(super) struct Group {
    leaves: Vec<Leaf>,
    /// Bytes the leaves have allocated.
    memory: usize,
}

impl Group {
    /// The entry that block `at` is in, or `None` and the next entry of the group, if there is one.
    pub(super) fn find(&self, at: u64) -> (Option<Entry>, Option<Entry>) {
        let (leaf, slot) = self.position(at);
        let entry = self
            .leaves
            .get(leaf)
            .and_then(|leaf| leaf.entries.get(slot))
            .copied();
        match entry {
            Some(entry) if entry.start() <= at && at < entry.end() => (Some(entry), None),
            Some(entry) if at < entry.start() => (None, Some(entry)),
            _ => (None, self.after(leaf, slot)),
        }
    }

    /// Adds an entry that overlaps none. All memory is reserved first: without it nothing changes.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<(), NoMemory> {
        let (mut leaf, mut slot) = self.position(entry.start());
        if let Some(before) = self.entry(leaf, slot) {
            slot += usize::from(before.start() < entry.start());
        }
        if self.leaves.get(leaf).is_none_or(Leaf::full) {
            (leaf, slot) = self.make_room(leaf, slot)?;
        }
        if let Some(leaf) = self.leaves.get_mut(leaf) {
            let before = bytes(&leaf.entries);
            reserve(&mut leaf.entries, 1)?;
            self.memory += bytes(&leaf.entries) - before;
            place_at(&mut leaf.entries, slot, entry);
            leaf.settle();
        }
        Ok(())
    }

    /// Changes the entry that starts at `start`; it stays between its neighbours.
    pub(super) fn change(&mut self, start: u64, to: impl FnOnce(Entry) -> Entry) {
        let (leaf, slot) = self.position(start);
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        if let Some(entry) = leaf
            .entries
            .get_mut(slot)
            .filter(|entry| entry.start() == start)
        {
            *entry = to(*entry);
            leaf.settle();
        }
    }

    /// Joins the entry at `start` with the ones before and behind it in the same leaf, where they follow each other.
    pub(super) fn join(&mut self, start: u64) {
        let (leaf, slot) = self.position(start);
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        let entries = &mut leaf.entries;
        for first in [slot, slot.wrapping_sub(1)] {
            let second = first.wrapping_add(1);
            let pair = entries.get(first).zip(entries.get(second));
            let joined = pair.and_then(|(a, b)| a.joined(*b));
            if let (Some(joined), Some(entry)) = (joined, entries.get_mut(first)) {
                *entry = joined;
                entries.remove(second);
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.leaves) + self.memory
    }

    /// Leaf and slot of the last entry that starts at or before `at`; of the first entry, if none does; where it would be, if there is none.
    fn position(&self, at: u64) -> (usize, usize) {
        let leaf = self
            .leaves
            .partition_point(|leaf| leaf.first <= at)
            .saturating_sub(1);
        let slot = self.leaves.get(leaf).map_or(0, |leaf| {
            let behind = leaf.entries.partition_point(|entry| entry.start() <= at);
            behind.saturating_sub(1)
        });
        (leaf, slot)
    }

    fn entry(&self, leaf: usize, slot: usize) -> Option<Entry> {
        self.leaves.get(leaf)?.entries.get(slot).copied()
    }

    /// The entry behind that of `leaf` and `slot`.
    fn after(&self, leaf: usize, slot: usize) -> Option<Entry> {
        self.entry(leaf, slot + 1)
            .or_else(|| self.entry(leaf + 1, 0))
    }

    /// Makes room at `slot` of the full, or not existing, leaf: where the entry then goes.
    ///
    /// Behind a full leaf it may go to the next one. A list that grows at its end gets a new leaf and leaves a full one behind;
    /// otherwise the leaf is halved.
    fn make_room(&mut self, leaf: usize, slot: usize) -> Result<(usize, usize), NoMemory> {
        let behind = slot == LEAF;
        let next = self.leaves.get(leaf + 1);
        if behind && next.is_some_and(|next| !next.full()) {
            return Ok((leaf + 1, 0));
        }
        let keep = if behind && next.is_none() {
            LEAF
        } else {
            LEAF / 2
        };
        reserve(&mut self.leaves, 1)?;
        let mut new = Leaf::default();
        let Some(old) = self.leaves.get_mut(leaf) else {
            reserve(&mut new.entries, 1)?;
            self.memory += bytes(&new.entries);
            place(&mut self.leaves, new);
            return Ok((leaf, 0));
        };
        // One more than is moved: the entry may go there, and then must not fail.
        new.entries
            .try_reserve_exact(LEAF - keep + 1)
            .map_err(|_| NoMemory)?;
        self.memory += bytes(&new.entries);
        for entry in old.entries.drain(keep..) {
            place(&mut new.entries, entry);
        }
        new.settle();
        place_at(&mut self.leaves, leaf + 1, new);
        Ok(if slot >= keep {
            (leaf + 1, slot - keep)
        } else {
            (leaf, slot)
        })
    }
}
