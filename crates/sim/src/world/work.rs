// SPDX-License-Identifier: GPL-2.0-only
//! The worker of a device's snapshots: carries out what the engine wants, and gives the snapshots up when it cannot.

use blksnap_core::cow::{Action, BatchId, CopyId};

use super::chain::ChainId;
use super::writes::{call, violation};
use super::{BLOCK, Check, What, World, note};
use crate::disk::{Content, Io};

impl World {
    /// One thing that a worker has to do.
    pub(super) fn work_some(&mut self, x: usize) -> Check {
        if self.chains.is_empty() {
            return Ok(());
        }
        let chain = x % self.chains.len();
        let at = (chain, x / 1024 % self.chains[chain].shards.len());
        // A worker hears of parked writes first, as it may find that they belong together.
        let acted = !(x / 256).is_multiple_of(2) && self.act(at)?;
        if !acted && !self.tell_engine(at)? && (x / 512).is_multiple_of(4) {
            self.store_now(at);
        }
        self.bury();
        Ok(())
    }

    /// All that the workers of a chain have to do. Whether there was anything.
    pub(super) fn work_all(&mut self, chain: usize) -> Result<bool, String> {
        let mut any = false;
        for which in 0..self.chains[chain].shards.len() {
            while self.tell_engine((chain, which))? || self.act((chain, which))? {
                any = true;
            }
        }
        Ok(any)
    }

    /// What lingers has waited for long enough. Whether there was any.
    pub(super) fn store_now(&mut self, (at, which): (usize, usize)) -> bool {
        let engine = &mut self.chains[at].shards[which].engine;
        let lingers = engine.lingers();
        if lingers {
            engine.store_now();
            note!(self, "what chain {} has is stored now", self.chains[at].id);
        }
        lingers
    }

    /// The same of all chains.
    pub(super) fn store_all_now(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.chains.len() {
            for which in 0..self.chains[at].shards.len() {
                any |= self.store_now((at, which));
            }
        }
        any
    }

    /// Carries out one action of an engine. Whether there was one.
    fn act(&mut self, (at, which): (usize, usize)) -> Result<bool, String> {
        let chain = &mut self.chains[at];
        let id = chain.id;
        if chain.over && !chain.shards[which].engine.failed() {
            chain.give_up(which)?;
        }
        let shard = &mut chain.shards[which];
        let (action, free) = crate::alloc::forbidden(|| shard.engine.next_action());
        violation(free, || "next_action allocates".into())?;
        let Some(action) = action else {
            return Ok(false);
        };
        note!(
            self,
            "chain {id}.{which}, device {}: {action:?}",
            chain.device
        );
        match action {
            Action::Read { copy, range } => {
                if chain.tally.copy(range)? {
                    note!(self, "some of that is ahead of writes");
                }
                let (start, end) = (range.start as usize * BLOCK, range.end() as usize * BLOCK);
                let sectors = end.min(self.devices[chain.device].disk.len()) - start;
                let old = shard.pages.insert(copy, vec![Content::MAX; sectors]);
                violation(old.is_none(), || {
                    format!("pages of {copy:?} are used twice")
                })?;
                self.start(Io::read(start, sectors, What::Copy(id, which, copy)));
            }
            Action::Release { token } => {
                let write = self.writes.get(&token).ok_or("a write is released twice")?;
                let covered = chain.saved().covers(write.part);
                violation(covered, || {
                    format!("write {token} is released before its blocks are saved")
                })?;
                self.send_on(token);
            }
            Action::ImageWrite { token } => self.carry_out(token)?,
            Action::Store {
                batch,
                epoch,
                blocks,
            } => {
                let limits = &self.config.limits;
                let most = limits.store_batch_blocks.max(limits.copy_blocks);
                violation(blocks <= most, || format!("a store of {blocks} blocks"))?;
                shard.waiting.push_back((batch, epoch, blocks));
                shard.stores += 1;
                self.start_stores(id)?;
            }
            Action::FreeCopy { copy } => {
                violation(shard.pages.remove(&copy).is_some(), || {
                    format!("{copy:?} is freed twice")
                })?;
            }
            Action::Resume => {
                let saved = &chain
                    .levels
                    .last()
                    .ok_or("no take, and a chain goes on")?
                    .saved;
                let result = call(&mut self.no_memory, || shard.engine.resume(saved));
                if let Err(lost) = result {
                    self.fail(id, which, &lost.to_string())?;
                }
            }
            Action::FreeEpoch { epoch } => {
                let place = chain.levels.iter().position(|level| level.epoch == epoch);
                let place = place.ok_or("an epoch is freed twice")?;
                let level = &mut chain.levels[place];
                level.users -= 1;
                let (theirs, left) =
                    (level.slots.iter().copied()).partition(|(by, ..)| *by == which);
                level.slots = left;
                if level.users == 0 {
                    chain.levels.remove(place);
                }
                self.free_slots((id, which, epoch), theirs);
            }
        }
        Ok(true)
    }

    pub(super) fn copy_done(
        &mut self,
        id: ChainId,
        which: usize,
        copy: CopyId,
        data: Vec<Content>,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some((shard, saved)) = self.shard(id, which) else {
            return Ok(());
        };
        if !failed {
            shard.pages.insert(copy, data);
        }
        let result = call(&mut memory, || shard.engine.read_done(saved, copy, !failed));
        note!(self, "{copy:?} of chain {id} is read: {result:?}");
        match result {
            Err(lost) => self.fail(id, which, &lost.to_string()),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn store_done(
        &mut self,
        id: ChainId,
        which: usize,
        batch: BatchId,
        slot: u64,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some((shard, saved)) = self.shard(id, which) else {
            return Ok(());
        };
        if failed {
            return self.fail(id, which, "the store fails");
        }
        shard.stores -= 1;
        let result = call(&mut memory, || shard.engine.store_done(saved, batch, slot));
        note!(
            self,
            "{batch:?} of chain {id} is stored at {slot}: {result:?}"
        );
        match result {
            Err(lost) => self.fail(id, which, &lost.to_string()),
            Ok(()) => Ok(()),
        }
    }

    /// Bounds that hold at all times.
    pub(super) fn check_bounds(&self) -> Check {
        for chain in &self.chains {
            let pool = self.config.limits_of_one().pool_blocks as usize;
            let most = self.config.limits.stores_in_flight as usize;
            for shard in &chain.shards {
                let pages = shard.pages.values();
                let pages: usize = pages.map(|pages| pages.len().div_ceil(BLOCK)).sum();
                violation(pages <= pool, || {
                    format!("{pages} pages in a pool of {pool}")
                })?;
                violation(shard.stores <= most, || {
                    format!("{} stores at a time", shard.stores)
                })?;
            }
            chain.tally.check(chain.shards.len())?;
        }
        Ok(())
    }
}
