// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The copies: runs of old data on their way from the original device to the store.

use alloc::vec::Vec;

use super::queue::{Linked, Links, Queue, UNLINKED};
use super::Epoch;
use crate::fallible::{bytes, filled};
use crate::{BlockRange, NoMemory};

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No copy.
    Free,
    /// To be read; not asked for yet, and may still grow.
    Planned,
    /// Being read.
    Reading,
    /// In memory, to be stored.
    Ready,
    /// Being written to the store.
    Storing,
}

/// A run of old data on its way.
pub(super) struct Copy {
    pub(super) start: u64,
    pub(super) count: u32,
    pub(super) state: State,
    pub(super) epoch: Epoch,
    /// Held writes that wait for the data to be in memory.
    pub(super) readers: Queue<0>,
    /// Link 0: queue of the copy's state, or its batch. Link 1: queue of copies whose pages go, which may be a former life of this entry.
    links: Links,
}

impl Copy {
    pub(super) fn range(&self) -> BlockRange {
        BlockRange {
            start: self.start,
            count: u64::from(self.count),
        }
    }

    /// The data is in the copy's pages.
    pub(super) fn in_memory(&self) -> bool {
        matches!(self.state, State::Ready | State::Storing)
    }
}

impl Linked for Copy {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn link(&self, link: usize) -> u32 {
        self.links[link]
    }
}

/// All copies; as many as there may ever be.
pub(super) struct Copies {
    pub(super) slab: Vec<Copy>,
    free: Queue<0>,
    planned: Queue<0>,
    ready: Queue<0>,
    freed: Queue<1>,
    ready_blocks: u32,
    /// Copies that are planned or being read.
    unread: u32,
}

impl Copies {
    pub(super) fn new(count: u32) -> Result<Self, NoMemory> {
        let copy = || Copy {
            start: 0,
            count: 0,
            state: State::Free,
            epoch: Epoch(0),
            readers: Queue::new(),
            links: UNLINKED,
        };
        let mut slab = filled(count as usize, copy)?;
        let mut free = Queue::new();
        (0..count).for_each(|id| free.push(&mut slab, id));
        Ok(Self {
            slab,
            free,
            planned: Queue::new(),
            ready: Queue::new(),
            freed: Queue::new(),
            ready_blocks: 0,
            unread: 0,
        })
    }

    pub(super) fn get(&mut self, id: u32) -> &mut Copy {
        &mut self.slab[id as usize]
    }

    /// The entry that [`Copies::plan`] would use. There is one while the pool has room: a copy has at least a block.
    pub(super) fn next_free(&self) -> Option<u32> {
        self.free.first()
    }

    /// A copy of `range`, for `epoch`, is to be read.
    pub(super) fn plan(&mut self, epoch: Epoch, range: BlockRange) {
        if let Some(id) = self.free.pop(&mut self.slab) {
            let copy = self.get(id);
            (copy.start, copy.state, copy.epoch) = (range.start, State::Planned, epoch);
            copy.count = u32::try_from(range.count).unwrap_or(u32::MAX);
            self.planned.push(&mut self.slab, id);
            self.unread += 1;
        }
    }

    /// The next copy to ask for; from now on it is being read.
    pub(super) fn pop_planned(&mut self) -> Option<u32> {
        let id = self.planned.pop(&mut self.slab)?;
        self.get(id).state = State::Reading;
        Some(id)
    }

    /// The copy is in memory.
    pub(super) fn ready(&mut self, id: u32) {
        self.get(id).state = State::Ready;
        self.ready.push(&mut self.slab, id);
        self.ready_blocks += self.get(id).count;
        self.unread -= 1;
    }

    /// Blocks that could be stored.
    pub(super) fn ready_blocks(&self) -> u32 {
        self.ready_blocks
    }

    /// Whether no copy is planned or being read.
    pub(super) fn all_read(&self) -> bool {
        self.unread == 0
    }

    /// Copies of one epoch to be stored together, of up to `limit` blocks but at least one copy, and the sum of their blocks.
    pub(super) fn gather(&mut self, limit: u32) -> (Queue<0>, Epoch, u32) {
        let (mut batch, mut blocks, mut epoch) = (Queue::new(), 0, Epoch(0));
        while let Some(id) = self.ready.first() {
            let copy = self.get(id);
            let count = copy.count;
            if blocks > 0 && (blocks + count > limit || copy.epoch != epoch) {
                break;
            }
            epoch = copy.epoch;
            copy.state = State::Storing;
            self.ready.pop(&mut self.slab);
            batch.push(&mut self.slab, id);
            blocks += count;
        }
        self.ready_blocks -= blocks;
        (batch, epoch, blocks)
    }

    /// Frees copies of epochs before `first` that wait to be stored. The sum of their blocks.
    pub(super) fn drop_before(&mut self, first: Epoch) -> u32 {
        let mut dropped = 0;
        let mut ready = core::mem::take(&mut self.ready);
        while let Some(id) = ready.pop(&mut self.slab) {
            let copy = self.get(id);
            if copy.epoch < first {
                dropped += copy.count;
                self.free(id);
            } else {
                self.ready.push(&mut self.slab, id);
            }
        }
        self.ready_blocks -= dropped;
        dropped
    }

    /// The copy has been stored: its entry is free, and [`Copies::pop_freed`] will tell to free its pages.
    pub(super) fn free(&mut self, id: u32) {
        self.get(id).state = State::Free;
        self.free.push(&mut self.slab, id);
        self.freed.push(&mut self.slab, id);
    }

    /// The next copy whose pages go.
    pub(super) fn pop_freed(&mut self) -> Option<u32> {
        self.freed.pop(&mut self.slab)
    }

    /// All bits, if none is to be read and no pages go.
    #[inline]
    pub(super) fn heads(&self) -> u32 {
        self.freed.head() & self.planned.head()
    }

    /// Whether [`Copies::pop_freed`] has something to tell.
    pub(super) fn any_freed(&self) -> bool {
        !self.freed.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.slab)
    }
}
