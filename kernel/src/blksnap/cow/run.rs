// SPDX-License-Identifier: GPL-2.0-only

//! The fast worker: tells the engine what happened, and carries out what it wants.
//!
//! Never waits for the difference storage; that is the slow worker's. It may wait where any submitter may: for the origin.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::{Action, BatchId, CopyId};
use blksnap_core::BlockRange;
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::io::{Done, Io, Tag};
use kern::misc::{monotonic_ns, param, Param};
use kern::page::Page;
use kern::vec::TryPush;
use kern::worker::{List, Work};

use super::slow::{Finished, Job};
use super::{copy_index, Cow, Pages, Token};
use crate::events::What;
use crate::store::{Backend, Slots};

/// What a completion is of: in the upper half of the tag's first number.
pub(super) const READ: u64 = 1 << 32;
pub(super) const STORE: u64 = 2 << 32;
pub(super) const PART: u64 = 3 << 32;

/// How often a worker that waits looks again.
const GROWTH_MS: u32 = 5;
const MEMORY_MS: u32 = 1;
const WATCH_MS: u32 = 1000;

impl Work<0> for Cow {
    fn run(&self) {
        kern::file::without_reclaim(|| {
            while self.completions() | self.finished_jobs() | self.held() | self.image_requests() | self.act() {}
            self.retry_io();
            while self.completions() | self.act() {}
            self.watch();
        });
    }
}

impl Cow {
    /// Own I/O that ended.
    fn completions(&self) -> bool {
        let mut any = false;
        for done in self.worker.done() {
            any = true;
            self.completion(&done);
            drop(done);
            self.leave(&self.outstanding);
        }
        any
    }

    fn completion(&self, done: &Done) {
        let Tag(what, slot) = done.tag();
        let id = what as u32;
        match what & !u64::from(u32::MAX) {
            READ => self.read_done(CopyId(id), done.result()),
            STORE => self.store_done(BatchId(id), slot, done.result()),
            _ => self.part_done(id, done.result()),
        }
    }

    fn finished_jobs(&self) -> bool {
        let jobs = core::mem::take(&mut *self.finished.lock());
        let any = !jobs.is_empty();
        for job in jobs {
            match job {
                Finished::Pages { batch, slot, pages } => {
                    let kept = pages.and_then(|pages| self.keep(batch, slot, pages));
                    self.store_done(batch, slot, kept);
                }
                Finished::Store { batch, slot, result } => self.store_done(batch, slot, result),
                Finished::Part { request, result } => self.part_done(request, result),
            }
            self.leave(&self.outstanding);
        }
        any
    }

    fn read_done(&self, copy: CopyId, result: Result) {
        let told = {
            let mut state = self.state.lock();
            state.progress_ns = monotonic_ns();
            state.engine.read_done(&self.saved, copy, result.is_ok())
        };
        match (result, told) {
            (Err(e), _) => self.fail(e),
            (Ok(()), Err(_)) => self.fail(Errno::ENOMEM),
            (Ok(()), Ok(())) => {}
        }
    }

    fn store_done(&self, batch: BatchId, slot: u64, result: Result) {
        let told = match result {
            Ok(()) => {
                let mut state = self.state.lock();
                state.progress_ns = monotonic_ns();
                state.engine.store_done(&self.saved, batch, slot).map_err(|_| Errno::ENOMEM)
            }
            Err(e) => Err(e),
        };
        if let Err(e) = told {
            self.fail(e);
        }
    }

    /// Writes that the filter held.
    pub(super) fn held(&self) -> bool {
        let mut any = false;
        for bio in self.worker.take(List::Held) {
            any = true;
            if self.failure().is_some() {
                self.attachment.submit(bio);
            } else if bio.op() == Op::Discard {
                // Advisory: the blocks are still needed for the image, so it does not happen.
                bio.end(Ok(()));
            } else {
                self.hold(bio);
            }
        }
        any
    }

    fn hold(&self, bio: Bio) {
        let (sector, sectors) = self.held_range(&bio);
        let refused = {
            let mut state = self.state.lock();
            if state.tokens.len() == 0 {
                state.progress_ns = monotonic_ns();
            }
            match state.tokens.insert(Token::Write(bio)) {
                Err(Token::Write(bio)) => Some(bio),
                Err(Token::Image(_)) => None,
                Ok(token) => {
                    let range = BlockRange::of_sectors(sector, sectors);
                    match state.engine.write(&self.saved, u64::from(token), range) {
                        Ok(()) => None,
                        Err(_) => match state.tokens.remove(token) {
                            Some(Token::Write(bio)) => Some(bio),
                            _ => None,
                        },
                    }
                }
            }
        };
        if let Some(bio) = refused {
            self.fail(Errno::ENOMEM);
            self.attachment.submit(bio);
        }
    }

    /// Carries out what the engine wants, until it wants nothing more at the moment.
    pub(super) fn act(&self) -> bool {
        let mut any = self.retry_stores();
        loop {
            let Some(action) = self.state.lock().engine.next_action() else { return any };
            any = true;
            let done = match action {
                Action::Release { token } => {
                    self.release(token as u32);
                    Ok(())
                }
                Action::Read { copy, range } => self.read(copy, range),
                Action::Store { batch, blocks } => self.store(batch, blocks),
                Action::FreeCopy { copy } => self.free(copy),
            };
            if let Err(e) = done {
                self.fail(e);
            }
        }
    }

    fn release(&self, token: u32) {
        let who = self.state.lock().tokens.remove(token);
        match who {
            Some(Token::Write(bio)) => self.attachment.submit(bio),
            Some(Token::Image(request)) => self.image_write_released(request),
            None => {}
        }
    }

    fn read(&self, copy: CopyId, range: BlockRange) -> Result {
        let mut pages = Vec::new();
        pages.try_reserve_exact(range.count as usize).map_err(|_| Errno::ENOMEM)?;
        let pages: Pages = {
            let mut state = self.state.lock();
            for _ in 0..range.count {
                let page = state.spare.pop().ok_or(Errno::ENOMEM)?;
                pages.try_push(page).map_err(|_| Errno::ENOMEM)?;
            }
            let pages = kern::alloc::try_arc(pages)?;
            *state.copies.get_mut(copy_index(copy)).ok_or(Errno::EIO)? = Some(pages.clone());
            pages
        };
        self.send_read(copy, range, &pages).map(|_| ())
    }

    /// Sends the read of a copy whose pages are there; `false`: put off until a bio comes back.
    fn send_read(&self, copy: CopyId, range: BlockRange, pages: &Pages) -> Result<bool> {
        let sector = range.start * blksnap_core::BLOCK_SECTORS;
        let bytes = (range.count * blksnap_core::BLOCK_SECTORS).min(self.sectors.saturating_sub(sector)) * 512;
        let origin = self.origin()?;
        let Ok(io) = Io::pages(&self.pool, &origin, false, sector, bytes, false, pages.iter()) else {
            self.state.lock().unread.try_push((copy, range)).map_err(|_| Errno::ENOMEM)?;
            return Ok(false);
        };
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        io.submit(Tag(READ | u64::from(copy.0), 0), &self.worker);
        Ok(true)
    }

    /// Reads and requests that had to wait for a bio.
    fn retry_io(&self) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.unread.pop();
                next.map(|(copy, range)| (copy, range, state.copies.get(copy_index(copy)).and_then(Option::clone)))
            };
            let Some((copy, range, Some(pages))) = next else { break };
            if self.failure().is_some() {
                break;
            }
            match self.send_read(copy, range, &pages) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => self.fail(e),
            }
        }
        let stalled = core::mem::take(&mut self.state.lock().stalled);
        for &id in &stalled {
            self.resume(id);
        }
    }

    /// Stores that had to wait for room.
    fn retry_stores(&self) -> bool {
        let waiting = core::mem::take(&mut self.state.lock().waiting);
        if self.failure().is_some() {
            return false;
        }
        let mut any = false;
        for (batch, blocks) in waiting {
            match self.try_store(batch, blocks) {
                Ok(went) => any |= went,
                Err(e) => self.fail(e),
            }
        }
        any
    }

    fn store(&self, batch: BatchId, blocks: u32) -> Result {
        self.try_store(batch, blocks).map(|_| ())
    }

    /// Whether there was room for it; if not yet, it is tried again later.
    fn try_store(&self, batch: BatchId, blocks: u32) -> Result<bool> {
        match self.store.allocate(blocks) {
            Slots::At(slot) => self.store_at(batch, slot).map(|()| true),
            Slots::Later => {
                self.state.lock().waiting.try_push((batch, blocks)).map_err(|_| Errno::ENOMEM)?;
                Ok(false)
            }
            Slots::Full => {
                self.events.push(What::NoSpace { sectors: u64::from(blocks) * blksnap_core::BLOCK_SECTORS });
                Err(Errno::ENOSPC)
            }
        }
    }

    fn store_at(&self, batch: BatchId, slot: u64) -> Result {
        if let Backend::Memory(_) = &*self.store.backend()? {
            let count = self.state.lock().engine.batch(batch).map(|(_, range)| range.count as u32).sum();
            return self.send(Job::Pages { batch, slot, count });
        }
        let mut pages = Vec::new();
        {
            let state = self.state.lock();
            for (copy, _) in state.engine.batch(batch) {
                let held = state.copies.get(copy_index(copy)).and_then(Option::as_ref).ok_or(Errno::EIO)?;
                pages.try_push(held.clone()).map_err(|_| Errno::ENOMEM)?;
            }
        }
        self.send(Job::Store { batch, slot, pages })
    }

    /// In memory, the pages stay where they are, and fresh ones take their place for later copies.
    fn keep(&self, batch: BatchId, slot: u64, mut fresh: Vec<Page>) -> Result {
        let backend = self.store.backend()?;
        let Backend::Memory(memory) = &*backend else { return Err(Errno::EIO) };
        let mut slot = slot;
        let mut state = self.state.lock();
        let state = &mut *state;
        for (copy, _) in state.engine.batch(batch) {
            let pages = state.copies.get_mut(copy_index(copy)).and_then(Option::take).ok_or(Errno::EIO)?;
            for page in alloc::sync::Arc::into_inner(pages).ok_or(Errno::EIO)? {
                memory.put(slot, page).map_err(|_| Errno::ENOSPC)?;
                state.spare.try_push(fresh.pop().ok_or(Errno::EIO)?).map_err(|_| Errno::ENOMEM)?;
                slot += 1;
            }
        }
        Ok(())
    }

    fn free(&self, copy: CopyId) -> Result {
        let mut state = self.state.lock();
        let Some(pages) = state.copies.get_mut(copy_index(copy)).and_then(Option::take) else { return Ok(()) };
        for page in alloc::sync::Arc::into_inner(pages).ok_or(Errno::EIO)? {
            state.spare.try_push(page).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// Writers are not held for ever: a storage that stands still costs the snapshot.
    fn watch(&self) {
        if self.failure().is_some() {
            return;
        }
        let (held, since, again_ms) = {
            let state = self.state.lock();
            let again_ms = if !state.unread.is_empty() || !state.stalled.is_empty() {
                MEMORY_MS
            } else if !state.waiting.is_empty() {
                GROWTH_MS
            } else {
                WATCH_MS
            };
            (state.tokens.len(), state.progress_ns, again_ms)
        };
        if held == 0 && again_ms == WATCH_MS {
            return;
        }
        let limit_ns = u64::from(param(Param::StoreTimeout).max(1)) * 1_000_000_000;
        if held > 0 && monotonic_ns().saturating_sub(since) > limit_ns {
            self.fail(Errno::ETIMEDOUT);
            self.worker.kick();
        } else {
            self.worker.kick_in(again_ms);
        }
    }
}
