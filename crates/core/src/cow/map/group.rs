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
type Leaf = Vec<Entry>;

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
            .and_then(|leaf| leaf.get(slot))
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
        if let Some(before) = self.leaves.get(leaf).and_then(|leaf| leaf.get(slot)) {
            slot += usize::from(before.start() < entry.start());
        }
        if self.leaves.get(leaf).is_none_or(|leaf| leaf.len() == LEAF) {
            (leaf, slot) = self.split(leaf, slot)?;
        }
        if let Some(leaf) = self.leaves.get_mut(leaf) {
            let before = bytes(leaf);
            reserve(leaf, 1)?;
            self.memory += bytes(leaf) - before;
            place_at(leaf, slot, entry);
        }
        Ok(())
    }

    /// Changes the entry that starts at `start`; it stays between its neighbours.
    pub(super) fn change(&mut self, start: u64, to: impl FnOnce(Entry) -> Entry) {
        let (leaf, slot) = self.position(start);
        let entry = self
            .leaves
            .get_mut(leaf)
            .and_then(|leaf| leaf.get_mut(slot));
        if let Some(entry) = entry.filter(|entry| entry.start() == start) {
            *entry = to(*entry);
        }
    }

    /// Joins the entry at `start` with the ones before and behind it in the same leaf, where they follow each other.
    pub(super) fn join(&mut self, start: u64) {
        let (leaf, slot) = self.position(start);
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        for first in [slot, slot.wrapping_sub(1)] {
            let second = first.wrapping_add(1);
            let joined = leaf
                .get(first)
                .zip(leaf.get(second))
                .and_then(|(a, b)| a.joined(*b));
            if let (Some(joined), Some(entry)) = (joined, leaf.get_mut(first)) {
                *entry = joined;
                leaf.remove(second);
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.leaves) + self.memory
    }

    /// Leaf and slot of the last entry that starts at or before `at`; of the first entry, if none does; where it would be, if there is none.
    fn position(&self, at: u64) -> (usize, usize) {
        let starts = |entry: &Entry| entry.start() <= at;
        let leaf = self
            .leaves
            .partition_point(|leaf| leaf.first().is_some_and(starts))
            .saturating_sub(1);
        let slot = self
            .leaves
            .get(leaf)
            .map_or(0, |leaf| leaf.partition_point(starts).saturating_sub(1));
        (leaf, slot)
    }

    /// The entry behind that of `leaf` and `slot`.
    fn after(&self, leaf: usize, slot: usize) -> Option<Entry> {
        let behind = self.leaves.get(leaf)?.get(slot + 1);
        behind
            .or_else(|| self.leaves.get(leaf + 1)?.first())
            .copied()
    }

    /// Makes room at `slot` of the full, or not existing, leaf: where the entry then goes.
    ///
    /// A list that grows at its end gets a new leaf and leaves a full one behind; otherwise the leaf is halved.
    fn split(&mut self, leaf: usize, slot: usize) -> Result<(usize, usize), NoMemory> {
        reserve(&mut self.leaves, 1)?;
        let mut new = Leaf::new();
        let Some(old) = self.leaves.get_mut(leaf) else {
            reserve(&mut new, 1)?;
            self.memory += bytes(&new);
            place(&mut self.leaves, new);
            return Ok((leaf, 0));
        };
        let keep = if slot == LEAF { LEAF } else { LEAF / 2 };
        // One more than is moved: the entry may go there, and then must not fail.
        new.try_reserve_exact(LEAF - keep + 1)
            .map_err(|_| NoMemory)?;
        self.memory += bytes(&new);
        for entry in old.drain(keep..) {
            place(&mut new, entry);
        }
        place_at(&mut self.leaves, leaf + 1, new);
        Ok(if slot >= keep {
            (leaf + 1, slot - keep)
        } else {
            (leaf, slot)
        })
    }
}
