// SPDX-License-Identifier: GPL-2.0-only
//! The worker of a snapshot: carries out what the engines want, and gives the snapshot up when it cannot.

use blksnap_core::cow::{Action, BatchId, CopyId};

use super::writes::{call, violation};
use super::{BLOCK, Check, Serial, State, What, World, blocks_of, note};
use crate::disk::{Content, Io};

impl World {
    /// One thing that a worker has to do.
    pub(super) fn work_some(&mut self, x: usize) -> Check {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        let snapshot = x % self.snapshots.len();
        let member = x / 16 % self.snapshots[snapshot].members.len();
        // A worker hears of parked writes first, as it may find that they belong together.
        if (x / 256).is_multiple_of(2) || !self.act(snapshot, member)? {
            self.tell_engine(snapshot, member)?;
        }
        self.bury();
        Ok(())
    }

    /// All that the workers of a snapshot have to do. Whether there was anything.
    pub(super) fn work_all(&mut self, snapshot: usize) -> Result<bool, String> {
        let mut any = false;
        for member in 0..self.snapshots[snapshot].members.len() {
            while self.tell_engine(snapshot, member)? || self.act(snapshot, member)? {
                any = true;
            }
        }
        Ok(any)
    }

    /// Carries out one action of an engine. Whether there was one.
    fn act(&mut self, at: usize, which: usize) -> Result<bool, String> {
        let snapshot = &mut self.snapshots[at];
        let serial = snapshot.serial;
        let member = &mut snapshot.members[which];
        let (action, free) = crate::alloc::forbidden(|| member.engine.next_action());
        violation(free, || "next_action allocates".into())?;
        let Some(action) = action else {
            return Ok(false);
        };
        note!(
            self,
            "snapshot {serial}, device {}: {action:?}",
            member.device
        );
        match action {
            Action::Read { copy, range } => {
                let (start, end) = (range.start as usize * BLOCK, range.end() as usize * BLOCK);
                let sectors = end.min(self.devices[member.device].disk.len()) - start;
                let old = member.pages.insert(copy, vec![Content::MAX; sectors]);
                violation(old.is_none(), || {
                    format!("pages of {copy:?} are used twice")
                })?;
                self.start(Io::read(start, sectors, What::Copy(serial, which, copy)));
            }
            Action::Release { token } if self.image_writes.contains_key(&token) => {
                self.image_write_released(token)
            }
            Action::Release { token } => {
                let write = self.writes.get(&token).ok_or("a write is released twice")?;
                let covered = member.saved.covers(blocks_of(write.start, write.sectors));
                violation(covered, || {
                    format!("write {token} is released before its blocks are saved")
                })?;
                self.send_on(token);
            }
            Action::Store { batch, blocks } => {
                let most = self
                    .config
                    .limits
                    .store_batch_blocks
                    .max(self.config.limits.copy_blocks);
                violation(blocks <= most, || format!("a store of {blocks} blocks"))?;
                snapshot.waiting.push_back((which, batch, blocks));
                member.stores += 1;
                self.start_stores(serial)?;
            }
            Action::FreeCopy { copy } => {
                violation(member.pages.remove(&copy).is_some(), || {
                    format!("{copy:?} is freed twice")
                })?;
            }
        }
        Ok(true)
    }

    /// Starts the stores that wait for slots and can have them.
    pub(super) fn start_stores(&mut self, serial: Serial) -> Check {
        while let Some(snapshot) = self.snapshot(serial) {
            let Some((which, batch, blocks)) = snapshot.waiting.front().copied() else {
                break;
            };
            let Some(slot) = snapshot.space.allocate(blocks) else {
                if snapshot.space.full(blocks) {
                    return self.fail(serial, "the store is full");
                }
                break;
            };
            snapshot.waiting.pop_front();
            let member = &snapshot.members[which];
            let mut data = Vec::new();
            for (copy, range) in member.engine.batch(batch) {
                let pages = member.pages.get(&copy).ok_or("pages of a copy are gone")?;
                data.extend_from_slice(pages);
                // The last block of a device may be short.
                data.resize(data.len().div_ceil(BLOCK) * BLOCK, 0);
                violation(pages.len().div_ceil(BLOCK) == range.count as usize, || {
                    "a copy of another length".into()
                })?;
            }
            violation(data.len() == blocks as usize * BLOCK, || {
                "a batch of another length".into()
            })?;
            self.start(Io::write(
                slot as usize * BLOCK,
                data,
                What::Store(serial, which, batch, slot),
            ));
        }
        Ok(())
    }

    pub(super) fn copy_done(
        &mut self,
        serial: Serial,
        member: usize,
        copy: CopyId,
        data: Vec<Content>,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some(snapshot) = self.snapshot(serial) else {
            return Ok(());
        };
        if snapshot.state != State::Taken {
            return Ok(());
        }
        let member = &mut snapshot.members[member];
        if !failed {
            member.pages.insert(copy, data);
        }
        let result = call(&mut memory, &mut member.engine, |engine| {
            engine.read_done(&member.saved, copy, !failed)
        });
        note!(self, "{copy:?} of snapshot {serial} is read: {result:?}");
        if result.is_err() {
            self.fail(serial, "a copy cannot be made")
        } else {
            Ok(())
        }
    }

    pub(super) fn store_done(
        &mut self,
        serial: Serial,
        member: usize,
        batch: BatchId,
        slot: u64,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some(snapshot) = self.snapshot(serial) else {
            return Ok(());
        };
        if snapshot.state != State::Taken {
            return Ok(());
        }
        if failed {
            return self.fail(serial, "the store fails");
        }
        let member = &mut snapshot.members[member];
        member.stores -= 1;
        let result = call(&mut memory, &mut member.engine, |engine| {
            engine.store_done(&member.saved, batch, slot)
        });
        note!(
            self,
            "{batch:?} of snapshot {serial} is stored at {slot}: {result:?}"
        );
        if result.is_err() {
            self.fail(serial, "no memory")
        } else {
            Ok(())
        }
    }

    /// The store of a snapshot grows, if it should. Whether it did.
    pub(super) fn grow_some(&mut self, which: usize, how: usize) -> Result<bool, String> {
        let of = self.snapshots.len().max(1);
        let Some(snapshot) = self.snapshots.get_mut(which % of) else {
            return Ok(false);
        };
        let Some(slots) = snapshot.space.wants_growth() else {
            return Ok(false);
        };
        let serial = snapshot.serial;
        // Now and then the file system is full, or gives less than was asked for.
        let slots = if how % 16 == 1 { slots / 2 } else { slots };
        if how % 16 == 2 {
            snapshot.space.stop_growing();
        }
        snapshot.space.grown(slots);
        snapshot
            .store
            .resize(snapshot.space.capacity() as usize * BLOCK, 0);
        note!(self, "the store of snapshot {serial} grows by {slots}");
        self.start_stores(serial)?;
        Ok(true)
    }

    /// Gives a snapshot up.
    pub(super) fn fail(&mut self, serial: Serial, why: &str) -> Check {
        note!(self, "snapshot {serial} ends: {why}");
        let Some(snapshot) = self.snapshot(serial) else {
            return Ok(());
        };
        if matches!(snapshot.state, State::Taken | State::Created) {
            snapshot.state = State::Failed;
        }
        snapshot.waiting.clear();
        for member in &mut snapshot.members {
            let ((), free) = crate::alloc::forbidden(|| member.engine.fail(&member.saved));
            violation(free, || "fail allocates".into())?;
        }
        self.end_image_io(serial);
        Ok(())
    }

    /// Bounds that hold at all times.
    pub(super) fn check_bounds(&self) -> Check {
        for snapshot in &self.snapshots {
            for member in &snapshot.members {
                let pool = self.config.limits.pool_blocks.max(2) as usize;
                let pages: usize = member
                    .pages
                    .values()
                    .map(|pages| pages.len().div_ceil(BLOCK))
                    .sum();
                violation(pages <= pool, || {
                    format!("{pages} pages in a pool of {pool}")
                })?;
                let most = self.config.limits.stores_in_flight as usize;
                violation(member.stores <= most, || {
                    format!("{} stores at a time", member.stores)
                })?;
            }
        }
        Ok(())
    }
}
