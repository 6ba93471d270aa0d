// SPDX-License-Identifier: GPL-2.0-only

//! What the engine wants, collected under the lock and carried out after it.
//!
//! Pages are taken and given back, and I/O is built, under the lock; bios are linked through themselves, so that none of it needs
//! memory of its own. What may sleep, submitting above all, comes afterwards: first reads are sent, then what was held goes on.

use core::sync::atomic::Ordering;

use blksnap_core::cow::{Action, CopyId};
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bio::BioList;
use kern::errno::{Errno, Result};
use kern::io::{Io, IoList, Tag};
use kern::trace;
use kern::vec::TryPush;
use kern::worker::List;

use super::here::Whose;
use super::run::READ;
use super::shard::{Shard, State, Token, Waiting};
use super::{errno, Owner};

/// What is to be done after the lock.
#[derive(Default)]
pub(super) struct Out {
    /// Go on to the device.
    pub(super) pass: BioList,
    /// Are done.
    pub(super) drop: BioList,
    reads: IoList,
    /// The slow worker has something to do.
    pub(super) slow: bool,
    /// Something was done already.
    pub(super) any: bool,
    error: Option<Errno>,
}

impl State {
    /// What lingers is stored, if that is in memory: nothing is gained by more. Whether there was any.
    fn hurry(&mut self) -> bool {
        let any = self.live.last().is_some_and(|live| live.in_memory) && self.engine.lingers();
        if any {
            self.engine.store_now();
        }
        any
    }
}

impl Out {
    /// Whether there is nothing to be done, and nothing was.
    pub(super) fn is_empty(&self) -> bool {
        !self.any && self.error.is_none() && self.pass.is_empty() && self.drop.is_empty() && self.reads.is_empty()
    }

    /// A write that the engine does not hold.
    pub(super) fn pass_on(&mut self, token: Token) {
        if let Token::Write(bio) = token {
            self.pass.push(bio);
        }
    }
}

impl Shard {
    /// At an error all snapshots of the device are given up, before anybody else sees the state; the first one is told of later.
    pub(super) fn note(&self, state: &mut State, out: &mut Out, result: Result) {
        if let Err(e) = result {
            self.give_up(state, e);
            out.error.get_or_insert(e);
        }
    }

    /// What the engine wants at the moment.
    #[inline(always)]
    pub(super) fn collect(&self, state: &mut State, out: &mut Out) {
        loop {
            self.actions(state, out);
            if self.failure().is_some() {
                return;
            }
            self.retry_reads(state, out);
            let ended = !state.waiting.is_empty() && self.place_stores(state, out);
            if !ended && !state.hurry() {
                return;
            }
        }
    }

    fn actions(&self, state: &mut State, out: &mut Out) {
        while let Some(action) = state.engine.next_action() {
            out.any = true;
            match action {
                Action::FreeCopy { copy } => state.frames.give_back(copy),
                Action::Release { token } => {
                    if let Some(token) = state.tokens.remove(token as u32) {
                        state.held = state.held.saturating_sub(1);
                        out.pass_on(token);
                    }
                }
                Action::Read { copy, range } => {
                    if state.frames.take(copy, range.count as u32) {
                        self.read(state, copy, range, out);
                    } else {
                        self.note(state, out, Err(Errno::ENOMEM));
                    }
                }
                Action::Store { batch, epoch, blocks } => {
                    let pushed = state.waiting.try_push(Waiting { batch, epoch, blocks });
                    self.note(state, out, pushed.map_err(|_| Errno::ENOMEM));
                }
                Action::ImageWrite { token } => {
                    if let Some(&Token::Image(epoch, request)) = state.tokens.get(token as u32) {
                        state.live.iter().filter(|live| live.epoch == epoch).for_each(|live| live.image.grant(request));
                    }
                }
                Action::Resume => {
                    let resumed = state.engine().map_or(Ok(()), |(engine, saved)| engine.resume(saved));
                    self.note(state, out, resumed.map_err(errno));
                }
                Action::FreeEpoch { epoch } => out.slow |= state.slots.release(Owner::Copies(epoch)),
            }
        }
    }

    /// Builds the read of a copy, whose pages are there; puts it off when there is no bio until one comes back.
    fn read(&self, state: &mut State, copy: CopyId, range: BlockRange, out: &mut Out) {
        let sector = range.start * BLOCK_SECTORS;
        let bytes = (range.count * BLOCK_SECTORS).min(self.sectors.saturating_sub(sector)) * 512;
        let pages = state.frames.of(copy);
        let built = state.origin.as_ref().map(|origin| Io::pages(&self.pool, origin, false, sector, bytes, false, pages));
        match built {
            Some(Ok(io)) => {
                self.outstanding.fetch_add(1, Ordering::AcqRel);
                trace::copy(self.common.device.number(), sector, bytes / 512);
                out.reads.push(io, Tag(READ | u64::from(copy.0), 0));
            }
            // Never grows: there is room for all copies.
            Some(Err(_)) => {
                let put_off = state.unread.try_push((copy, range)).map_err(|_| Errno::ENOMEM);
                self.note(state, out, put_off);
            }
            None => self.note(state, out, Err(Errno::EIO)),
        }
    }

    fn retry_reads(&self, state: &mut State, out: &mut Out) {
        for _ in 0..state.unread.len() {
            let Some((copy, range)) = state.unread.pop() else { return };
            let before = state.unread.len();
            self.read(state, copy, range, out);
            if state.unread.len() > before {
                return;
            }
        }
    }

    /// Carries out what was collected. May sleep as any submission.
    #[inline(always)]
    pub(super) fn carry_out(&self, mut out: Out, mut whose: Whose<'_>) {
        if let Some(error) = out.error {
            self.fail(error);
        }
        // First what others wait for: the submission of a write may sleep for its own control group.
        if !out.reads.is_empty() {
            core::mem::take(&mut out.reads).submit(&self.worker);
        }
        if out.slow {
            self.slow.kick();
        }
        for bio in &mut out.drop {
            bio.end(Ok(()));
        }
        for bio in &mut out.pass {
            if !whose.sends(&bio) {
                self.worker.put(List::RELEASED, bio);
                continue;
            }
            trace::resubmit(&bio);
            self.common.attachment.submit(bio);
        }
    }

    /// Waits until no write is held any more, after a failure. Sleeps.
    pub(super) fn flush_held(&self) {
        kern::file::without_reclaim(|| loop {
            let mut out = Out::default();
            let mut state = self.state.lock();
            for list in [List::RELEASED, List::Held] {
                self.worker.take(list).for_each(|bio| out.pass.push(bio));
            }
            self.collect(&mut state, &mut out);
            drop(state);
            if out.is_empty() {
                return;
            }
            self.carry_out(out, Whose::All);
        });
    }
}
