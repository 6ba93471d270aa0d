// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where blocks are: a sparse map from runs of blocks to copies, slots and zeros.
//!
//! The device is divided into groups of 1 GiB; a group is a list of leaves, a leaf a sorted list of packed entries. Two binary
//! searches find a block; their length depends on what is saved in that group alone. An entry takes 8 bytes, with the room that growth
//! leaves free 8 to 16, whatever the size of the device; the list of groups takes 32 bytes per GiB.
//!
//! An epoch's map: runs are entered once, change what they point to in place, and are never split or removed. Entering may allocate; the rest
//! does not. An image's overlay is one as well, see [`Overlay`].

mod entry;
mod group;
mod overlay;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub(super) use entry::{Place, MAX_RUN};
pub(super) use overlay::Overlay;

use entry::Entry;
use group::{Group, Spot};

use crate::fallible::{bytes, filled};
use crate::units::index;
use crate::{BlockRange, NoMemory};

/// Blocks in a group. No run crosses from one group to the next.
pub(super) const GROUP_BLOCKS: u64 = 1 << entry::START_BITS;

/// The map of one device.
#[derive(Default)]
pub(super) struct BlockMap {
    groups: Vec<Group>,
    /// Bytes the groups have allocated.
    memory: usize,
}

/// What is at a block and on both sides of it. Good until the map changes.
pub(super) struct Near {
    group: usize,
    /// The block within the group.
    at: u64,
    spot: Spot,
}

impl Near {
    /// Where the block is, and for how many blocks from it on that goes on; `None`: it has no entry.
    pub(super) fn place(&self) -> Option<(Place, u64)> {
        let entry = self.spot.before.filter(|entry| self.at < entry.end())?;
        Some((entry.place_at(self.at), entry.end() - self.at))
    }

    /// How many blocks from this one on have no entry, to the end of the group. The block itself has none.
    pub(super) fn gap(&self) -> u64 {
        self.spot.after.map_or(GROUP_BLOCKS, Entry::start) - self.at
    }

    /// How many blocks before this one have no entry, from the start of the group. The block itself has none.
    pub(super) fn gap_before(&self) -> u64 {
        self.at - self.spot.before.map_or(0, Entry::end)
    }

    /// The place of the run that ends where this block starts.
    pub(super) fn before(&self) -> Option<Place> {
        let entry = self.spot.before.filter(|entry| entry.end() == self.at)?;
        Some(entry.place())
    }

    /// The place of the run that starts `count` blocks from this one, with none between.
    pub(super) fn after(&self, count: u64) -> Option<Place> {
        let entry = self
            .spot
            .after
            .filter(|entry| entry.start() == self.at + count)?;
        Some(entry.place())
    }
}

impl BlockMap {
    /// For a device of `blocks` blocks, none entered.
    pub(super) fn new(blocks: u64) -> Result<Self, NoMemory> {
        let groups = filled(index(blocks.div_ceil(GROUP_BLOCKS)), Group::default)?;
        Ok(Self { groups, memory: 0 })
    }

    /// Where `block` is, and for how many blocks from it on that goes on: 1 to `max`, at least 1. `None` is nowhere: no entry.
    ///
    /// Not all that could be said of in one: a run may go on in the next.
    pub(super) fn find(&self, block: u64, max: u64) -> (Option<Place>, u64) {
        let near = self.near(block);
        let (place, run) = match near.place() {
            Some((place, run)) => (Some(place), run),
            None => (None, near.gap()),
        };
        (place, run.clamp(1, max.max(1)))
    }

    /// Looks for `block`.
    pub(super) fn near(&self, block: u64) -> Near {
        let (group, at) = (index(block / GROUP_BLOCKS), block % GROUP_BLOCKS);
        let nothing = Group::default();
        let spot = self.groups.get(group).unwrap_or(&nothing).spot(at);
        Near { group, at, spot }
    }

    /// Enters `count` blocks, at most [`MAX_RUN`] and of one group, none of which has an entry; `near` is of the block `before` blocks
    /// behind the first. Nothing changes without memory.
    pub(super) fn insert(
        &mut self,
        near: &Near,
        before: u64,
        count: u64,
        place: Place,
    ) -> Result<(), NoMemory> {
        let Some(group) = self.groups.get_mut(near.group) else {
            return Ok(());
        };
        let memory = group.memory_bytes();
        let result = group.insert(&near.spot, Entry::new(near.at - before, count, place));
        self.memory = self.memory + group.memory_bytes() - memory;
        result
    }

    /// The run that ends where the block of `near` starts takes in the `count` blocks from there on.
    pub(super) fn grow_before(&mut self, near: &Near, count: u64) {
        if let (Some(group), Some(entry)) = (self.groups.get_mut(near.group), near.spot.before) {
            let grown = Entry::new(entry.start(), entry.len() + count, entry.place());
            group.set_before(&near.spot, grown);
        }
    }

    /// The run behind the block of `near` takes in the blocks from that one on.
    pub(super) fn grow_after(&mut self, near: &Near) {
        if let (Some(group), Some(entry)) = (self.groups.get_mut(near.group), near.spot.after) {
            let grown = Entry::new(near.at, entry.end() - near.at, entry.place());
            group.set_after(&near.spot, grown);
        }
    }

    /// The run that starts at `start` lies in the store, from `slot` on. It is joined with those that it follows there.
    pub(super) fn stored(&mut self, start: u64, slot: u64) {
        if let Some(group) = self.groups.get_mut(index(start / GROUP_BLOCKS)) {
            group.stored(start % GROUP_BLOCKS, slot);
        }
    }

    /// Joins the run that `block` is in with its neighbours, where they follow each other.
    fn join(&mut self, block: u64) {
        if let Some(group) = self.groups.get_mut(index(block / GROUP_BLOCKS)) {
            group.join(block % GROUP_BLOCKS);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.groups) + self.memory
    }
}

/// The part of `count` blocks from `start` that one entry can have.
pub(super) fn one_run(start: u64, count: u64) -> BlockRange {
    let count = count.min(MAX_RUN).min(GROUP_BLOCKS - start % GROUP_BLOCKS);
    BlockRange { start, count }
}
