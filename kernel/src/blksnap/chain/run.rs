// SPDX-License-Identifier: GPL-2.0-only

//! The fast worker, or who holds a write in its place: what happened since the last look, told to the engine in one go.
//!
//! Never waits for a difference storage; that is the slow worker's. It may wait where any submitter may: for the origin.

use core::sync::atomic::Ordering;

use blksnap_core::cow::{BatchId, CopyId, Lost};
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::io::{Done, Tag};
use kern::page::Page;
use kern::sync::MutexGuard;
use kern::worker::{List, Work};

use alloc::vec::Vec;

use super::errno;
use super::here::Whose;
use super::round::Out;
use super::shard::{Shard, State, Token};
use super::slow::Finished;
use super::watch::Watch;
use crate::store::Backend;

/// What a completion is of: in the upper half of the tag's first number.
pub(super) const READ: u64 = 1 << 32;
pub(super) const STORE: u64 = 2 << 32;

impl Work<0> for Shard {
    fn run(&self) {
        kern::file::without_reclaim(|| {
            let asked = self.asked.load(Ordering::SeqCst);
            while self.urged.swap(false, Ordering::SeqCst) || self.watching.load(Ordering::Relaxed) || !self.worker.is_empty() {
                self.round(self.state.lock(), &mut self.worker.take(List::Held), Whose::All);
                if self.worker.is_empty() && !self.urged.load(Ordering::SeqCst) {
                    break;
                }
            }
            self.answer(asked);
        });
    }

    fn round_here(&self) -> bool {
        self.serve_own()
    }
}

impl Shard {
    /// The writes `held`, everything else that came in, and what the engine wants then.
    pub(super) fn round(&self, mut state: MutexGuard<'_, State>, held: &mut dyn Iterator<Item = Bio>, whose: Whose<'_>) {
        let done = self.worker.done();
        let mut out = Out::default();
        if let Whose::All = whose {
            self.worker.take(List::RELEASED).for_each(|bio| out.pass.push(bio));
        }
        let mut ended = 0;
        let watch = {
            let state = &mut *state;
            state.tick();
            for io in done {
                ended += 1;
                let result = state.completion(&io);
                self.note(state, &mut out, result);
            }
            if self.reported.load(Ordering::SeqCst) {
                ended += self.jobs_done(state, &mut out);
            }
            for bio in held {
                self.hold(state, bio, &mut out);
            }
            if ended > 0 {
                state.progressed();
            }
            self.collect(state, &mut out);
            state.watch(|| self.worker.comes())
        };
        drop(state);
        self.watching.store(watch.is_some(), Ordering::Relaxed);
        self.leave(ended);
        // What sends a write may sleep for long.
        match watch {
            Some(Watch::Late) if self.failure().is_none() => self.fail(Errno::ETIMEDOUT),
            Some(Watch::In(ms)) => self.worker.kick_in(ms),
            _ => {}
        }
        self.carry_out(out, whose);
    }

    /// What the slow worker has done, which is seldom anything: how many jobs.
    #[cold]
    fn jobs_done(&self, state: &mut State, out: &mut Out) -> u32 {
        self.reported.store(false, Ordering::SeqCst);
        let finished = core::mem::take(&mut *self.finished.lock());
        let count = finished.len() as u32;
        for job in finished {
            let result = state.job(job);
            self.note(state, out, result);
        }
        count
    }

    /// A write that the filter held.
    fn hold(&self, state: &mut State, bio: Bio, out: &mut Out) {
        if self.failure().is_some() {
            out.pass.push(bio);
        } else if bio.op() == Op::Discard {
            // Advisory: the blocks are still needed for an image, so it does not happen.
            out.drop.push(bio);
        } else {
            if state.held == 0 {
                state.progressed();
            }
            let part = self.part(state, &bio);
            // Its blocks here were saved meanwhile: the next part is another shard's.
            if part.count == 0 {
                return out.pass.push(bio);
            }
            let token = match state.tokens.insert(Token::Write(bio)) {
                Ok(token) => token,
                Err(refused) => {
                    self.note(state, out, Err(Errno::ENOMEM));
                    return out.pass_on(refused);
                }
            };
            state.held += 1;
            let told = match state.engine() {
                Some((engine, saved)) => engine.write(saved, u64::from(token), part),
                None => Err(Lost::Memory),
            };
            if let Err(lost) = told {
                if lost == Lost::Pool {
                    kern::pr_warn!(
                        "the memory for copies is full, and the snapshot is to be given up rather than to hold writes back"
                    );
                }
                state.held -= 1;
                if let Some(token) = state.tokens.remove(token) {
                    out.pass_on(token);
                }
                self.note(state, out, Err(errno(lost)));
            }
        }
    }

    /// Tells a take that waits whether all is quiet, as of a look that began after it had asked.
    pub(super) fn answer(&self, asked: u32) {
        if asked == 0 || self.answered.load(Ordering::Relaxed) == u64::from(asked) << 1 | 1 {
            return;
        }
        let quiet = self.state.lock().engine.quiet();
        self.answered.store(u64::from(asked) << 1 | u64::from(quiet), Ordering::SeqCst);
        self.idle.wake();
    }
}

impl State {
    /// Own I/O that ended.
    fn completion(&mut self, done: &Done) -> Result {
        let Tag(what, _) = done.tag();
        let id = what as u32;
        if what & !u64::from(u32::MAX) == READ {
            self.read_done(CopyId(id), done.result())
        } else {
            self.stored(BatchId(id), done.result())
        }
    }

    /// What the slow worker did.
    fn job(&mut self, job: Finished) -> Result {
        match job {
            Finished::Store { batch, result } => self.stored(batch, result),
            Finished::Pages { batch, pages } => {
                let kept = pages.and_then(|mut pages| self.keep(batch, &mut pages));
                self.stored(batch, kept)
            }
        }
    }

    fn read_done(&mut self, copy: CopyId, result: Result) -> Result {
        result?;
        let Some((engine, saved)) = self.engine() else { return Ok(()) };
        engine.read_done(saved, copy, true).map_err(errno)
    }

    /// One I/O of a store ended.
    pub(super) fn stored(&mut self, batch: BatchId, result: Result) -> Result {
        let Some(storing) = self.storing.get_mut(batch.0 as usize) else { return Err(Errno::EIO) };
        storing.left = storing.left.saturating_sub(1);
        result?;
        if storing.left > 0 {
            return Ok(());
        }
        let slot = storing.slot;
        let Some((engine, saved)) = self.engine() else { return Ok(()) };
        engine.store_done(saved, batch, slot).map_err(errno)
    }

    /// In memory, the pages stay where they are, and fresh ones take their place for later copies.
    pub(super) fn keep(&mut self, batch: BatchId, fresh: &mut Vec<Page>) -> Result {
        let slot = self.storing.get(batch.0 as usize).ok_or(Errno::EIO)?.slot;
        let place = self.slots.find(slot, 1)?;
        let Backend::Memory(memory) = place.store.backend() else { return Err(Errno::EIO) };
        let mut slot = place.slot;
        for (copy, _) in self.engine.batch(batch) {
            self.frames.replace(copy, fresh, |page| {
                memory.put(slot, page).map_err(|_| Errno::ENOSPC)?;
                slot += 1;
                Ok(())
            })?;
        }
        Ok(())
    }
}
