// SPDX-License-Identifier: GPL-2.0-only

//! Where stores go: slots are found for a batch under the shard's lock, and its I/O is built there if that needs no waiting. Sending it is
//! the slow worker's.

use alloc::sync::Arc;

use blksnap_core::cow::BatchId;
use blksnap_core::BLOCK_SECTORS;
use kern::errno::{Errno, Result};
use kern::io::{Io, IoList, Tag};
use kern::page::Page;
use kern::trace;
use kern::vec::TryPush;

use super::round::Out;
use super::run::STORE;
use super::shard::{Shard, State, Storing, Waiting};
use super::slow::Job;
use super::Owner;
use crate::events::What;
use crate::store::{Backend, Got, Store, SLOT};

/// What became of a store.
enum Placed {
    /// The storage has to grow.
    Not,
    /// The slow worker has it.
    Sent,
    /// It is where it should be.
    Done,
}

impl State {
    /// Each page of a batch, in the order of its slots.
    fn pages(&self, batch: BatchId, mut each: impl FnMut(&Page) -> Result) -> Result {
        for (copy, _) in self.engine.batch(batch) {
            for page in self.frames.of(copy) {
                each(page)?;
            }
        }
        Ok(())
    }

    /// A store in memory, if there are pages to be had without waiting. Whether there were.
    fn keep_at_once(&mut self, batch: BatchId, blocks: u32) -> Result<bool> {
        let mut fresh = core::mem::take(&mut self.fresh);
        Page::fill_rows(&mut fresh, blocks as usize, false);
        // They are taken from the end: what lies behind each other stays so.
        fresh.reverse();
        let there = fresh.len() >= blocks as usize;
        let kept = if there { self.keep(batch, &mut fresh) } else { Ok(()) };
        self.fresh = fresh;
        if there {
            self.stored(batch, kept)?;
        }
        Ok(there)
    }
}

impl Shard {
    /// Stores that have no slots yet. Whether one has ended, so that the engine may want more.
    pub(super) fn place_stores(&self, state: &mut State, out: &mut Out) -> bool {
        let (mut at, mut ended) = (0, false);
        while let Some(&waiting) = state.waiting.get(at) {
            let placed = self.place(state, waiting);
            match placed {
                Ok(Placed::Not) => {
                    at += 1;
                    continue;
                }
                Ok(Placed::Sent) => out.slow = true,
                Ok(Placed::Done) => ended = true,
                Err(e) => {
                    self.note(state, out, Err(e));
                    return false;
                }
            }
            state.waiting.swap_remove(at);
            out.any = true;
        }
        ended
    }

    /// The job that writes a batch to slots that are not memory: built here where they lie in one piece and there is memory for it. The pages
    /// stay the copies' until the engine hears of its end.
    fn store(&self, state: &State, batch: BatchId, blocks: u64, store: Arc<Store>, slot: u64) -> Result<Job> {
        let at = store.backend().on_device(slot, blocks).filter(|(_, _, run)| *run == blocks);
        let io = at.map(|(device, sector, _)| Io::new(&self.pool, device, true, sector, blocks * SLOT, false));
        if let Some(Ok(mut io)) = io {
            state.pages(batch, |page| io.add(page, SLOT as u32))?;
            let mut list = IoList::new();
            list.push(io, Tag(STORE | u64::from(batch.0), 0));
            return Ok(Job::Send { store, io: list });
        }
        let mut pages = super::reserved(blocks as u32)?;
        state.pages(batch, |page| pages.try_push(page.share()).map_err(|_| Errno::ENOMEM))?;
        Ok(Job::Store { batch, store, slot, pages })
    }

    /// Finds room for a store: with the snapshot that it is of, or else with another one that is alive.
    fn place(&self, state: &mut State, waiting: Waiting) -> Result<Placed> {
        let Waiting { batch, epoch, blocks } = waiting;
        let first = state.live.iter().filter(|live| live.epoch == epoch);
        for live in first.chain(state.live.iter().rev().filter(|live| live.epoch != epoch)) {
            // A second try when the slots were not in one segment.
            for _ in 0..2 {
                match live.stores.allocate(blocks) {
                    Got::At(store, slot) => {
                        let Some(named) = state.slots.name(Owner::Copies(epoch), &store, slot, u64::from(blocks))? else {
                            continue;
                        };
                        if let Some(storing) = state.storing.get_mut(batch.0 as usize) {
                            *storing = Storing { slot: named, left: 1 };
                        }
                        trace::store(self.common.device.number(), u64::from(blocks) * BLOCK_SECTORS);
                        let job = match store.backend() {
                            Backend::Memory(_) => {
                                if state.keep_at_once(batch, blocks)? {
                                    return Ok(Placed::Done);
                                }
                                Job::Pages { batch, count: blocks }
                            }
                            _ => self.store(state, batch, u64::from(blocks), store, slot)?,
                        };
                        return self.send(job).map(|()| Placed::Sent);
                    }
                    // Those of others are for what has no room of its own.
                    Got::Later(_) => return Ok(Placed::Not),
                    Got::Full => break,
                }
            }
        }
        // Another shard may have told it.
        for live in state.live.iter().filter(|_| self.failure().is_none()) {
            live.events.push(What::NoSpace { sectors: u64::from(blocks) * BLOCK_SECTORS });
        }
        Err(Errno::ENOSPC)
    }
}
