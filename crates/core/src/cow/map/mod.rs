// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where the saved blocks are: a sparse map from runs of blocks to copies and slots.
//!
//! The device is divided into groups of 1 GiB; a group is a list of leaves, a leaf a sorted list of packed entries. Two binary
//! searches find a block; their length depends on what is saved in that group alone. An entry takes 8 bytes, with the room that growth
//! leaves free 8 to 16, whatever the size of the device; the list of groups takes 24 bytes per GiB.
//!
//! Runs are entered once, change what they point to in place, and are never split or removed. Entering may allocate; the rest does not.

mod entry;
mod group;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub(super) use entry::{Entry, Place, MAX_RUN};
use group::Group;

use crate::fallible::{bytes, filled};
use crate::units::index;
use crate::{BlockRange, NoMemory};

/// Blocks in a group. No run crosses from one group to the next.
pub(super) const GROUP_BLOCKS: u64 = 1 << entry::START_BITS;

/// The map of one device.
pub(super) struct BlockMap {
    groups: Vec<Group>,
    /// Bytes the groups have allocated.
    memory: usize,
}

impl BlockMap {
    /// For a device of `blocks` blocks, none entered.
    pub(super) fn new(blocks: u64) -> Result<Self, NoMemory> {
        let groups = filled(index(blocks.div_ceil(GROUP_BLOCKS)), Group::default)?;
        Ok(Self { groups, memory: 0 })
    }

    /// Where `block` is, and for how many blocks from it on that goes on: 1 to `max`, at least 1. `None` is nowhere: not saved.
    ///
    /// Not all that could be said of in one: a run may go on in the next.
    pub(super) fn find(&self, block: u64, max: u64) -> (Option<Place>, u64) {
        let at = block % GROUP_BLOCKS;
        let (entry, next) = self
            .groups
            .get(index(block / GROUP_BLOCKS))
            .map_or((None, None), |group| group.find(at));
        match entry {
            Some(entry) => (
                Some(entry.place_at(at)),
                (entry.end() - at).clamp(1, max.max(1)),
            ),
            None => {
                let end = next.map_or(GROUP_BLOCKS, Entry::start);
                (None, (end - at).clamp(1, max.max(1)))
            }
        }
    }

    /// Enters a run of at most [`MAX_RUN`] blocks of one group, none of which has an entry. Nothing changes without memory.
    pub(super) fn insert(&mut self, range: BlockRange, place: Place) -> Result<(), NoMemory> {
        let Some(group) = self.groups.get_mut(index(range.start / GROUP_BLOCKS)) else {
            return Ok(());
        };
        let before = group.memory_bytes();
        let result = group.insert(Entry::new(range.start % GROUP_BLOCKS, range.count, place));
        self.memory = self.memory + group.memory_bytes() - before;
        result
    }

    /// Gives the run that starts at `start` another start and length. It stays between its neighbours, and its place is not a slot.
    pub(super) fn resize(&mut self, start: u64, to: BlockRange) {
        self.change(start, |entry| {
            Entry::new(to.start % GROUP_BLOCKS, to.count, entry.place())
        });
    }

    /// Lets the run that starts at `start` point to another place.
    pub(super) fn replace(&mut self, start: u64, place: Place) {
        self.change(start, |entry| Entry::new(entry.start(), entry.len(), place));
    }

    /// Joins the run at `start` with its neighbours where they lie behind each other in the store.
    pub(super) fn join(&mut self, start: u64) {
        if let Some(group) = self.groups.get_mut(index(start / GROUP_BLOCKS)) {
            group.join(start % GROUP_BLOCKS);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.groups) + self.memory
    }

    fn change(&mut self, start: u64, to: impl FnOnce(Entry) -> Entry) {
        if let Some(group) = self.groups.get_mut(index(start / GROUP_BLOCKS)) {
            group.change(start % GROUP_BLOCKS, to);
        }
    }
}
