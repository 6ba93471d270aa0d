// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The entries of one GiB: a sorted list of leaves.

use alloc::vec::Vec;

use super::entry::{Entry, Place};
use crate::fallible::{bytes, insert_at, place, place_at, reserve};
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

    /// Joins the entry in `slot` with its neighbours, where they follow each other.
    fn join(&mut self, slot: usize) {
        for first in [slot, slot.wrapping_sub(1)] {
            let second = first.wrapping_add(1);
            let pair = self.entries.get(first).zip(self.entries.get(second));
            // Nearly always, where writes are scattered.
            if pair.is_none_or(|(a, b)| a.end() != b.start()) {
                continue;
            }
            let joined = pair.and_then(|(a, b)| a.joined(*b));
            if let (Some(joined), Some(entry)) = (joined, self.entries.get_mut(first)) {
                *entry = joined;
                self.entries.remove(second);
            }
        }
    }

    /// The first entry may have changed.
    fn settle(&mut self) {
        self.first = self.entries.first().map_or(0, |entry| entry.start());
    }
}

/// Where a block is in a group, and its surroundings: good until the group changes.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    leaf: usize,
    /// Of `before`, or of `after` if there is none before.
    slot: usize,
    /// The last entry that starts at or before the block.
    pub(super) before: Option<Entry>,
    /// The entry behind that, or the first.
    pub(super) after: Option<Entry>,
}

/// The entries of a group, none at first.
#[derive(Default)]
pub(super) struct Group {
    leaves: Vec<Leaf>,
    /// Bytes that were allocated.
    memory: usize,
}

impl Group {
    /// Looks for block `at`: two binary searches.
    pub(super) fn spot(&self, at: u64) -> Spot {
        let leaf = self.leaf(at);
        let entries = self.leaves.get(leaf).map_or(&[][..], |leaf| &leaf.entries);
        let behind = behind(entries, at);
        let slot = behind.saturating_sub(1);
        let next = || self.leaves.get(leaf + 1)?.entries.first();
        Spot {
            leaf,
            slot,
            before: entries.get(behind.wrapping_sub(1)).copied(),
            after: entries.get(behind).or_else(next).copied(),
        }
    }

    /// The leaf that the last entry at or before block `at` is in; the first if there is none.
    #[inline]
    fn leaf(&self, at: u64) -> usize {
        match self.leaves.len() {
            0 | 1 => 0,
            _ => self
                .leaves
                .partition_point(|leaf| leaf.first <= at)
                .saturating_sub(1),
        }
    }

    /// Adds an entry that overlaps none, at the spot of its start. All memory is reserved first: without it nothing changes.
    pub(super) fn insert(&mut self, spot: &Spot, entry: Entry) -> Result<(), NoMemory> {
        let (mut leaf, mut slot) = (spot.leaf, spot.slot + usize::from(spot.before.is_some()));
        if self.leaves.get(leaf).is_none_or(Leaf::full) {
            (leaf, slot) = self.make_room(leaf, slot)?;
        }
        if let Some(leaf) = self.leaves.get_mut(leaf) {
            if leaf.entries.len() == leaf.entries.capacity() {
                let before = bytes(&leaf.entries);
                reserve(&mut leaf.entries, 1)?;
                self.memory += bytes(&leaf.entries) - before;
            }
            insert_at(&mut leaf.entries, slot, entry);
            leaf.settle();
        }
        Ok(())
    }

    /// Replaces the entry before the spot; it stays between its neighbours.
    pub(super) fn set_before(&mut self, spot: &Spot, to: Entry) {
        self.put(spot.leaf, spot.slot, to);
    }

    /// Replaces the entry behind the spot; it stays between its neighbours.
    pub(super) fn set_after(&mut self, spot: &Spot, to: Entry) {
        let slot = spot.slot + usize::from(spot.before.is_some());
        let here = self
            .leaves
            .get(spot.leaf)
            .is_some_and(|leaf| slot < leaf.entries.len());
        if here {
            self.put(spot.leaf, slot, to);
        } else {
            self.put(spot.leaf + 1, 0, to);
        }
    }

    /// The run that starts at `at` lies in the store, from slot `to` on. It is joined with those that it follows there.
    pub(super) fn stored(&mut self, at: u64, to: u64) {
        let leaf = self.leaf(at);
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        let slot = behind(&leaf.entries, at).wrapping_sub(1);
        if let Some(entry) = leaf.entries.get_mut(slot) {
            debug_assert_eq!(entry.start(), at, "no run starts at {at}");
            *entry = Entry::new(entry.start(), entry.len(), Place::Stored(to));
            leaf.join(slot);
        }
    }

    /// Joins the run that block `at` is in with its neighbours in the same leaf, where they follow each other.
    pub(super) fn join(&mut self, at: u64) {
        let leaf = self.leaf(at);
        if let Some(leaf) = self.leaves.get_mut(leaf) {
            leaf.join(behind(&leaf.entries, at).wrapping_sub(1));
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory
    }

    fn put(&mut self, leaf: usize, slot: usize, to: Entry) {
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        if let Some(entry) = leaf.entries.get_mut(slot) {
            *entry = to;
            leaf.settle();
        }
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
        let before = bytes(&self.leaves);
        reserve(&mut self.leaves, 1)?;
        self.memory += bytes(&self.leaves) - before;
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

/// How many of the sorted `entries` start at or before block `at`. They sort by their start, so that a comparison needs no unpacking.
#[inline]
fn behind(entries: &[Entry], at: u64) -> usize {
    let limit = Entry::first_behind(at);
    entries.partition_point(|entry| *entry < limit)
}
