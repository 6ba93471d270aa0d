// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What happens to an engine, and what it wants done.

use super::copies::State;
use super::{Action, Batch, BatchId, CopyId, Engine, Epoch, Limits, Lost, Token};
use crate::cow::lazy::LazyCell;
use crate::cow::saved::{Saved, SavedPage};
use crate::store::MAX_SLOTS;
use crate::BlockRange;

/// Blocks that are stored without waiting for more: 128 KiB, or a quarter of the pool if that is less.
const WORTH_A_STORE: u32 = 32;

impl Engine {
    /// A write to `range` of the original device is held: it is released once all of the range is saved, in memory at least.
    ///
    /// Nothing is lost by telling of a write that may pass: it is released at once. Blocks outside of the device do not count.
    ///
    /// # Errors
    ///
    /// The engine does not hold this write; the caller calls [`Engine::fail`] and sends it on. Also before the first take, and after `fail`.
    pub fn write<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        token: Token,
        range: BlockRange,
    ) -> Result<(), Lost> {
        if self.failed || self.top.id == Epoch(0) {
            return Err(Lost::Memory);
        }
        let id = self.held.add(token, range.clip(self.blocks))?;
        self.stats.held += 1;
        self.begin(saved, id).inspect_err(|_| self.held.forget(id))
    }

    /// The read that [`Action::Read`] asked for has ended; `ok` if the data of the copy's whole range is in its pages.
    ///
    /// From here on writers pass over these blocks. Ignored after [`Engine::fail`].
    ///
    /// # Errors
    ///
    /// Not `ok`, or no memory: the caller calls [`Engine::fail`].
    pub fn read_done<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        copy: CopyId,
        ok: bool,
    ) -> Result<(), Lost> {
        let reading = self
            .copies
            .slab
            .get(copy.0 as usize)
            .is_some_and(|copy| copy.state == State::Reading);
        debug_assert!(reading || self.failed, "no such copy is being read");
        if self.failed || !reading {
            return Ok(());
        }
        if !ok {
            return Err(Lost::Read);
        }
        let range = self.copies.get(copy.0).range();
        saved.set(range);
        self.stats.saved_blocks += range.count;
        let mut readers = core::mem::take(&mut self.copies.get(copy.0).readers);
        self.copies.ready(copy.0);
        while let Some(id) = readers.pop(&mut self.held.slab) {
            self.held.get(id).waiting = false;
            self.go_on(saved, id);
        }
        self.plan(saved)
    }

    /// The store that [`Action::Store`] asked for has ended well; its copies lie in the slots from `slot` on. If it ended badly, or there
    /// are no slots to be had, [`Engine::fail`] is called instead.
    ///
    /// Ignored after `fail`.
    ///
    /// # Errors
    ///
    /// No memory, or a slot beyond [`MAX_SLOTS`]: the caller calls `fail`.
    pub fn store_done<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        batch: BatchId,
        slot: u64,
    ) -> Result<(), Lost> {
        let Some(stored) = self.batches.get_mut(batch.0 as usize) else {
            return Ok(());
        };
        let Batch {
            mut copies,
            epoch,
            blocks,
        } = core::mem::take(stored);
        debug_assert!(blocks > 0 || self.failed, "no such batch is being stored");
        if self.failed || blocks == 0 {
            return Ok(());
        }
        if slot.saturating_add(u64::from(blocks)) > MAX_SLOTS {
            return Err(Lost::Slot);
        }
        self.batches_in_flight -= 1;
        self.pool_used -= blocks;
        self.stats.stores += 1;
        self.stats.store_blocks += u64::from(blocks);
        let mut slot = slot;
        while let Some(id) = copies.pop(&mut self.copies.slab) {
            let copy = self.copies.get(id);
            let (start, count) = (copy.start, copy.count);
            self.copies.free(id);
            if let Some(level) = self.level_mut(epoch) {
                level.map.stored(start, slot);
            }
            slot += u64::from(count);
        }
        self.plan(saved)
    }

    /// What is to be done next, `None` for nothing at the moment. Never allocates.
    pub fn next_action(&mut self) -> Option<Action> {
        // Nearly always the last of a row.
        let queued = self.copies.heads() & self.held.head() != u32::MAX || self.images.any();
        if !queued && !self.resume && self.below.is_empty() && !self.failed {
            return self.next_store();
        }
        // Pages go before others are asked for: the bound of the pool holds, and a copy's number is not used twice.
        if let Some(copy) = self.copies.pop_freed().filter(|_| !self.failed) {
            return Some(Action::FreeCopy { copy: CopyId(copy) });
        }
        if let Some(token) = self.held.pop_released() {
            return Some(Action::Release { token });
        }
        if let Some(token) = self.images.pop_granted() {
            return Some(Action::ImageWrite { token });
        }
        if self.failed {
            return None;
        }
        if core::mem::take(&mut self.resume) {
            return Some(Action::Resume);
        }
        if let Some(copy) = self.copies.pop_planned() {
            let range = self.copies.get(copy).range();
            self.stats.copy_reads += 1;
            self.stats.copy_read_blocks += range.count;
            return Some(Action::Read {
                copy: CopyId(copy),
                range,
            });
        }
        if let Some(epoch) = self.pop_needless() {
            return Some(Action::FreeEpoch { epoch });
        }
        self.next_store()
    }

    /// A store, if there is enough for a large one and not too many are under way, or none is and it is worth one.
    #[inline]
    fn next_store(&mut self) -> Option<Action> {
        let (ready, limit) = (self.copies.ready_blocks(), self.limits.store_batch_blocks);
        let large = ready >= limit && self.batches_in_flight < self.limits.stores_in_flight;
        let alone = ready > 0 && self.batches_in_flight == 0 && self.is_worth_a_store();
        if large || alone {
            self.begin_store()
        } else {
            None
        }
    }

    #[cold]
    fn begin_store(&mut self) -> Option<Action> {
        self.hurry = false;
        let at = self.batches.iter().position(|batch| batch.blocks == 0)?;
        let (copies, epoch, blocks) = self.copies.gather(self.limits.store_batch_blocks);
        self.batches[at] = Batch {
            copies,
            epoch,
            blocks,
        };
        self.batches_in_flight += 1;
        Some(Action::Store {
            batch: BatchId(u32::try_from(at).unwrap_or(u32::MAX)),
            epoch,
            blocks,
        })
    }

    /// Whether what is ready is stored without waiting for more: it is enough, or somebody waits for its room, or it waited.
    fn is_worth_a_store(&self) -> bool {
        let Limits {
            store_batch_blocks,
            pool_blocks,
            ..
        } = self.limits;
        let enough = WORTH_A_STORE.min(store_batch_blocks).min(pool_blocks / 4);
        self.hurry || self.copies.ready_blocks() >= enough || self.held.most_starved().is_some()
    }

    /// Whether copies are ready that are few for a store, and wait for more. The caller does not let them wait for long, some milliseconds:
    /// then it calls [`Engine::store_now`]. Nobody else waits for them.
    pub fn lingers(&self) -> bool {
        let few = self.copies.ready_blocks() > 0 && !self.is_worth_a_store();
        few && self.batches_in_flight == 0 && !self.failed
    }

    /// What lingers is stored, however little it is.
    pub fn store_now(&mut self) {
        self.hurry |= self.lingers();
    }

    /// Gives all snapshots of the device up, or ends them: held writes come out as [`Action::Release`], image writes that wait as
    /// [`Action::ImageWrite`], and nothing else comes out any more. [`Saved::covers`] is true of everything. Never allocates.
    ///
    /// The pages of copies, and reads and stores under way, are the caller's to wait for and to free.
    pub fn fail<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>) {
        saved.release_all();
        if !self.failed {
            self.failed = true;
            self.held.release_all();
            self.images.release(None);
        }
    }
}
