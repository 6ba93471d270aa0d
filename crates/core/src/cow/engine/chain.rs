// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The epochs of a device: takes, ends, and which of them are still needed.
//!
//! ```text
//!   oldest                        newest
//!   e1 ───────► e2 ───────► e3 ───────► origin      where the image of e1 looks for a block
//!   map, own    map         map
//! ```
//!
//! # Invariants
//!
//! - A block is on the origin alone, for all epochs, or is in the map of the newest one, or was not written since the newest take.
//! - Copies that are planned or being read belong to the newest epoch: a take waits for them.
//! - Before the oldest live epoch there is none.

use crate::cow::lazy::LazyCell;
use crate::cow::map::{BlockMap, Overlay};
use crate::cow::saved::{Saved, SavedPage};
use crate::fallible::{place, reserve};
use crate::NoMemory;

use super::{Engine, Epoch, Lost};

/// What there is for one epoch.
#[derive(Default)]
pub(super) struct Level {
    pub(super) id: Epoch,
    /// Its snapshot has not ended.
    pub(super) live: bool,
    /// Blocks that were copied while it was the newest.
    pub(super) map: BlockMap,
    /// What its image has of its own.
    pub(super) over: Overlay,
}

impl Level {
    pub(super) fn memory_bytes(&self) -> usize {
        self.map.memory_bytes() + self.over.memory_bytes()
    }
}

impl Engine {
    /// Makes ready for a take.
    ///
    /// Before the gate is closed; the engine may be at work. One that is not followed by a take is replaced by the next.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]: the take should fail. Nothing is lost.
    pub fn prepare(&mut self) -> Result<(), NoMemory> {
        self.fresh = None;
        reserve(&mut self.below, 1)?;
        self.fresh = Some(Level {
            id: Epoch(0),
            live: true,
            map: BlockMap::new(self.blocks)?,
            over: Overlay::default(),
        });
        Ok(())
    }

    /// The prepared take does not come.
    pub fn unprepare(&mut self) {
        self.fresh = None;
    }

    /// Whether no write is held and no copy is planned or being read.
    ///
    /// The drain at the gate waits for this. It comes by itself when no new writes do and all actions are carried out; where the pool is full, it may have
    /// to be stored before. After [`Engine::fail`] only held writes count.
    pub fn quiet(&self) -> bool {
        self.held.count() == 0 && (self.failed || self.copies.all_read())
    }

    /// The instant of a take: what is written from now on is copied for the new epoch. `None`, and nothing changes, if it is not prepared, or the
    /// engine is not quiet, or has failed.
    ///
    /// At the gate, after the drain. A few instructions; allocates nothing. From here on the engine is given the bits of the new epoch: fresh, and of the
    /// device's size.
    #[must_use]
    pub fn take(&mut self) -> Option<Epoch> {
        if self.failed || !self.quiet() {
            return None;
        }
        let mut fresh = self.fresh.take()?;
        self.takes += 1;
        fresh.id = Epoch(self.takes);
        let old = core::mem::replace(&mut self.top, fresh);
        if old.id != Epoch(0) {
            place(&mut self.below, old);
        }
        self.ahead.next_epoch();
        Some(self.top.id)
    }

    /// The snapshot of `epoch` ends. Its image writes that wait come out; those that were told have to be done before.
    ///
    /// True if it was the last one: the engine then has failed as by [`Engine::fail`]. Otherwise what the epoch has stays as long as an older
    /// snapshot needs it, see [`Action::FreeEpoch`](super::Action::FreeEpoch). Never allocates.
    #[must_use]
    pub fn end<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>, epoch: Epoch) -> bool {
        self.images.release(Some(epoch));
        let found = self.level_mut(epoch);
        if let Some(level) = found {
            level.live = false;
            level.over = Overlay::default();
        }
        let Some(oldest) = self.live().next() else {
            self.fail(saved);
            return true;
        };
        let dropped = self.copies.drop_before(oldest);
        self.pool_used -= dropped;
        self.resume |= dropped > 0 && self.held.most_starved().is_some();
        false
    }

    /// Plans for held writes that waited for room which the end of a snapshot has made: [`Action::Resume`](super::Action::Resume).
    ///
    /// # Errors
    ///
    /// No memory: the caller calls [`Engine::fail`].
    pub fn resume<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>) -> Result<(), Lost> {
        if self.failed {
            return Ok(());
        }
        self.plan(saved)
    }

    /// The snapshots' epochs, oldest first.
    pub fn live(&self) -> impl Iterator<Item = Epoch> + '_ {
        let live = |level: &&Level| level.live;
        self.levels_from(Epoch(0))
            .filter(live)
            .map(|level| level.id)
    }

    /// The epoch that copies are made for, whose snapshot may have ended.
    pub fn newest(&self) -> Option<Epoch> {
        (self.top.id != Epoch(0)).then_some(self.top.id)
    }

    /// The next epoch that nobody needs any more, and has no store under way; it is forgotten.
    pub(super) fn pop_needless(&mut self) -> Option<Epoch> {
        let first = self.below.first().filter(|level| !level.live)?.id;
        let storing = |batch: &super::Batch| batch.blocks > 0 && batch.epoch == first;
        if self.batches_in_flight > 0 && self.batches.iter().any(storing) {
            return None;
        }
        Some(self.below.remove(0).id)
    }

    /// The epochs from `epoch` on, oldest first.
    pub(super) fn levels_from(&self, epoch: Epoch) -> impl Iterator<Item = &Level> {
        let first = self.below.partition_point(|level| level.id < epoch);
        let top = Some(&self.top).filter(|top| top.id != Epoch(0));
        self.below.iter().skip(first).chain(top)
    }

    pub(super) fn level_mut(&mut self, epoch: Epoch) -> Option<&mut Level> {
        if self.top.id == epoch {
            return Some(&mut self.top);
        }
        self.below.iter_mut().find(|level| level.id == epoch)
    }
}
