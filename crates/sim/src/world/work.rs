// SPDX-License-Identifier: GPL-2.0-only
//! The worker of a device's snapshots: carries out what the engine wants, and gives the snapshots up when it cannot.

use blksnap_core::cow::{Action, BatchId, CopyId};

use super::chain::ChainId;
use super::writes::{call, violation};
use super::{BLOCK, Check, What, World, blocks_of, note};
use crate::disk::{Content, Io};

impl World {
    /// One thing that a worker has to do.
    pub(super) fn work_some(&mut self, x: usize) -> Check {
        if self.chains.is_empty() {
            return Ok(());
        }
        let chain = x % self.chains.len();
        // A worker hears of parked writes first, as it may find that they belong together.
        let acted = !(x / 256).is_multiple_of(2) && self.act(chain)?;
        if !acted && !self.tell_engine(chain)? && (x / 512).is_multiple_of(4) {
            self.store_now(chain);
        }
        self.bury();
        Ok(())
    }

    /// All that the worker of a chain has to do. Whether there was anything.
    pub(super) fn work_all(&mut self, chain: usize) -> Result<bool, String> {
        let mut any = false;
        while self.tell_engine(chain)? || self.act(chain)? {
            any = true;
        }
        Ok(any)
    }

    /// What lingers has waited for long enough. Whether there was any.
    pub(super) fn store_now(&mut self, at: usize) -> bool {
        let engine = &mut self.chains[at].engine;
        let lingers = engine.lingers();
        if lingers {
            engine.store_now();
            note!(self, "what chain {} has is stored now", self.chains[at].id);
        }
        lingers
    }

    /// Carries out one action of an engine. Whether there was one.
    fn act(&mut self, at: usize) -> Result<bool, String> {
        let chain = &mut self.chains[at];
        let id = chain.id;
        let (action, free) = crate::alloc::forbidden(|| chain.engine.next_action());
        violation(free, || "next_action allocates".into())?;
        let Some(action) = action else {
            return Ok(false);
        };
        note!(self, "chain {id}, device {}: {action:?}", chain.device);
        match action {
            Action::Read { copy, range } => {
                if chain.tally.copy(range)? {
                    note!(self, "some of that is ahead of writes");
                }
                let (start, end) = (range.start as usize * BLOCK, range.end() as usize * BLOCK);
                let sectors = end.min(self.devices[chain.device].disk.len()) - start;
                let old = chain.pages.insert(copy, vec![Content::MAX; sectors]);
                violation(old.is_none(), || {
                    format!("pages of {copy:?} are used twice")
                })?;
                self.start(Io::read(start, sectors, What::Copy(id, copy)));
            }
            Action::Release { token } if self.saves.contains_key(&token) => {
                self.range_is_saved(token)?;
            }
            Action::Release { token } => {
                let write = self.writes.get(&token).ok_or("a write is released twice")?;
                let covered = chain.saved().covers(blocks_of(write.start, write.sectors));
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
                chain.waiting.push_back((batch, epoch, blocks));
                chain.stores += 1;
                self.start_stores(id)?;
            }
            Action::FreeCopy { copy } => {
                violation(chain.pages.remove(&copy).is_some(), || {
                    format!("{copy:?} is freed twice")
                })?;
            }
            Action::Resume => {
                let saved = &chain
                    .levels
                    .last()
                    .ok_or("no take, and a chain goes on")?
                    .saved;
                let result = call(&mut self.no_memory, || chain.engine.resume(saved));
                if let Err(lost) = result {
                    self.fail(id, &lost.to_string())?;
                }
            }
            Action::FreeEpoch { epoch } => {
                let place = chain.levels.iter().position(|level| level.epoch == epoch);
                let place = place.ok_or("an epoch is freed twice")?;
                let level = chain.levels.remove(place);
                self.free_slots(id, epoch, &level.slots);
            }
        }
        Ok(true)
    }

    pub(super) fn copy_done(
        &mut self,
        id: ChainId,
        copy: CopyId,
        data: Vec<Content>,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some(chain) = self.chain(id).filter(|chain| !chain.engine.failed()) else {
            return Ok(());
        };
        if !failed {
            chain.pages.insert(copy, data);
        }
        let saved = &chain.levels.last().ok_or("a copy before a take")?.saved;
        let result = call(&mut memory, || chain.engine.read_done(saved, copy, !failed));
        note!(self, "{copy:?} of chain {id} is read: {result:?}");
        match result {
            Err(lost) => self.fail(id, &lost.to_string()),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn store_done(
        &mut self,
        id: ChainId,
        batch: BatchId,
        slot: u64,
        failed: bool,
    ) -> Check {
        let mut memory = self.no_memory.take();
        let Some(chain) = self.chain(id).filter(|chain| !chain.engine.failed()) else {
            return Ok(());
        };
        if failed {
            return self.fail(id, "the store fails");
        }
        chain.stores -= 1;
        let saved = &chain.levels.last().ok_or("a store before a take")?.saved;
        let result = call(&mut memory, || chain.engine.store_done(saved, batch, slot));
        note!(
            self,
            "{batch:?} of chain {id} is stored at {slot}: {result:?}"
        );
        match result {
            Err(lost) => self.fail(id, &lost.to_string()),
            Ok(()) => Ok(()),
        }
    }

    /// Bounds that hold at all times.
    pub(super) fn check_bounds(&self) -> Check {
        for chain in &self.chains {
            let pool = self.config.limits.pool_blocks as usize;
            let pages: usize = chain
                .pages
                .values()
                .map(|pages| pages.len().div_ceil(BLOCK))
                .sum();
            violation(pages <= pool, || {
                format!("{pages} pages in a pool of {pool}")
            })?;
            let most = self.config.limits.stores_in_flight as usize;
            violation(chain.stores <= most, || {
                format!("{} stores at a time", chain.stores)
            })?;
            chain.tally.check()?;
        }
        Ok(())
    }
}
