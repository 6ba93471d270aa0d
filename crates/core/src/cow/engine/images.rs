// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Writes to images, and what images have of their own: written blocks, free space, zeros.
//!
//! A write to an image needs no copy. It waits until no earlier write to the same image has a block in common, is carried out by the caller into
//! slots that it took, and its blocks are entered in the image's overlay. Partial blocks are filled from the image before; that is why writes to one
//! block exclude each other.

use alloc::vec::Vec;

use super::{Engine, Epoch, Lost, Over, Token};
use crate::cow::lazy::LazyCell;
use crate::cow::map::Place;
use crate::cow::saved::{Saved, SavedPage};
use crate::fallible::{bytes, push};
use crate::store::MAX_SLOTS;
use crate::{BlockRange, NoMemory};

/// A write to an image.
struct ImageWrite {
    token: Token,
    epoch: Epoch,
    range: BlockRange,
    /// Earlier writes with a block in common.
    behind: u32,
    /// The caller has been told to carry it out.
    told: bool,
}

impl ImageWrite {
    fn meets(&self, epoch: Epoch, range: BlockRange) -> bool {
        let apart = self.range.end() <= range.start || range.end() <= self.range.start;
        self.epoch == epoch && !apart
    }
}

/// All writes to images, in the order of their arrival.
#[derive(Default)]
pub(super) struct ImageWrites {
    writes: Vec<ImageWrite>,
    /// How many of them are behind no other, and the caller has not been told.
    granted: u32,
}

impl ImageWrites {
    fn add(&mut self, epoch: Epoch, token: Token, range: BlockRange) -> Result<(), NoMemory> {
        let meets = |write: &&ImageWrite| write.meets(epoch, range);
        let behind = self.writes.iter().filter(meets).count();
        let behind = u32::try_from(behind).map_err(|_| NoMemory)?;
        let write = ImageWrite {
            token,
            epoch,
            range,
            behind,
            told: false,
        };
        push(&mut self.writes, write)?;
        self.granted += u32::from(behind == 0);
        Ok(())
    }

    /// Whether one is to be carried out.
    pub(super) fn any(&self) -> bool {
        self.granted > 0
    }

    /// The next write to be carried out.
    pub(super) fn pop_granted(&mut self) -> Option<Token> {
        if self.granted == 0 {
            return None;
        }
        let next = |write: &&mut ImageWrite| write.behind == 0 && !write.told;
        let write = self.writes.iter_mut().find(next)?;
        write.told = true;
        self.granted -= 1;
        Some(write.token)
    }

    fn done(&mut self, token: Token) {
        let told = |write: &ImageWrite| write.told && write.token == token;
        let Some(at) = self.writes.iter().position(told) else {
            return;
        };
        let ImageWrite { epoch, range, .. } = self.writes.remove(at);
        for write in self.writes.iter_mut().skip(at) {
            if write.behind > 0 && write.meets(epoch, range) {
                write.behind -= 1;
                self.granted += u32::from(write.behind == 0);
            }
        }
    }

    /// Writes to the image of `epoch`, or to all, need not wait any more.
    pub(super) fn release(&mut self, epoch: Option<Epoch>) {
        for write in &mut self.writes {
            if write.behind > 0 && epoch.is_none_or(|epoch| epoch == write.epoch) {
                write.behind = 0;
                self.granted += 1;
            }
        }
    }

    /// Whether no write waits, or is to be told.
    pub(super) fn idle(&self) -> bool {
        self.writes.iter().all(|write| write.told)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.writes)
    }
}

impl Engine {
    /// What the image of `epoch` has of its own at `block`, and for how many blocks from it on: 1 to `max`, at least 1.
    pub fn over(&self, epoch: Epoch, block: u64, max: u64) -> (Over, u64) {
        let level = self.levels_from(epoch).next();
        match level.map_or((None, max.max(1)), |level| level.over.find(block, max)) {
            (Some(Place::Stored(slot)), run) => (Over::Slot(slot), run),
            (Some(_), run) => (Over::Zero, run),
            (None, run) => (Over::None, run),
        }
    }

    /// A write, discard or write-zeroes to blocks of an image begins. When no earlier one of the same image has a block in common,
    /// [`Action::ImageWrite`](super::Action::ImageWrite) tells to carry it out.
    ///
    /// # Errors
    ///
    /// [`NoMemory`], also after [`Engine::fail`]: the engine does not know of it, and the caller ends it with an error. The snapshot need not suffer.
    pub fn image_write(
        &mut self,
        epoch: Epoch,
        token: Token,
        range: BlockRange,
    ) -> Result<(), NoMemory> {
        if self.failed {
            return Err(NoMemory);
        }
        self.images.add(epoch, token, range.clip(self.blocks))?;
        self.stats.image_writes += 1;
        Ok(())
    }

    /// Blocks of an image lie in slots of the store from now on, from `slot` on one behind the other; the data is there. Blocks that have slots keep
    /// them: those are written in place. `own` is the image's.
    ///
    /// # Errors
    ///
    /// No memory, or a slot beyond [`MAX_SLOTS`]: some blocks may have been entered, the others are as before, and the caller ends its request with an error.
    pub fn image_enter<C: LazyCell<SavedPage>>(
        &mut self,
        own: &Saved<C>,
        epoch: Epoch,
        range: BlockRange,
        slot: u64,
    ) -> Result<(), Lost> {
        let (blocks, range) = (self.blocks, range.clip(self.blocks));
        if slot.saturating_add(range.count) > MAX_SLOTS {
            return Err(Lost::Slot);
        }
        let Some(level) = self.level_mut(epoch) else {
            return Ok(());
        };
        level.over.open(blocks)?;
        own.give_up(range)?;
        Ok(level.over.store(range, slot)?)
    }

    /// Whole blocks of an image read as zeros from now on, but those that have slots: those the caller overwrites. How many began to. `own` is the
    /// image's.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]: some may read as zeros, the others are as before, and the caller ends its request with an error.
    pub fn image_zero<C: LazyCell<SavedPage>>(
        &mut self,
        own: &Saved<C>,
        epoch: Epoch,
        range: BlockRange,
    ) -> Result<u64, NoMemory> {
        let (blocks, range) = (self.blocks, range.clip(self.blocks));
        let Some(level) = self.level_mut(epoch) else {
            return Ok(0);
        };
        level.over.open(blocks)?;
        own.give_up(range)?;
        level.over.zero(range)
    }

    /// The image write is over, well or badly.
    pub fn image_done(&mut self, token: Token) {
        self.images.done(token);
    }

    /// The file system had nothing in the whole blocks `range` at the take of `epoch`, and nobody wants to know what was there. They read as zeros, but
    /// for those that were written in the image; and if no other snapshot is alive, writes pass there without a copy. `own` is the image's.
    ///
    /// How many blocks began to read as zeros. Takes a step for 2 MiB.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]: some of it may be done; the snapshot need not suffer.
    pub fn free<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        own: &Saved<C>,
        epoch: Epoch,
        range: BlockRange,
    ) -> Result<u64, NoMemory> {
        if self.failed {
            return Ok(0);
        }
        let zeroed = self.image_zero(own, epoch, range)?;
        let alone = self.top.id == epoch && self.live().eq([epoch]);
        if alone {
            saved.give_up(range)?;
        }
        Ok(zeroed)
    }
}
