// SPDX-License-Identifier: GPL-2.0-only

//! Image requests that need the engine: reads of saved blocks, and all writes. Fast worker only.
//!
//! A read is served in passes. Each pass resolves its blocks and reads each run from where it is; runs on the origin are
//! resolved again when the pass is complete, as a writer may have passed meanwhile, and those that moved are read again in the
//! next pass, now from a copy or the store. What is there stays there, so that a second pass is the last for each block.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::Source;
use blksnap_core::BLOCK_SECTORS;
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::io::{Io, Tag};
use kern::vec::TryPush;
use kern::worker::List;

use super::run::PART;
use super::slow::Job;
use super::{copy_index, Cow, Token};
use crate::store::{Backend, SLOT};

/// A run of blocks.
type Run = (u64, u64);

/// An image request under way.
pub(super) struct Request {
    bio: Arc<Bio>,
    write: bool,
    /// Parts not yet ended, and one for the pass itself.
    pending: u32,
    /// Runs of this pass that were read from the origin.
    origin: Vec<Run>,
    /// Runs for which there was no bio.
    deferred: Vec<Run>,
    result: Result,
}

/// Bytes of a request's data that lie in a run of blocks, and where the run's data begins in the request.
struct Cut {
    from: u32,
    len: u32,
    /// First byte within the run's first block.
    skip: u64,
}

fn cut(bio: &Bio, block: u64, count: u64) -> Cut {
    let (first, end) = (bio.sector(), bio.sector() + bio.sectors());
    let run = (block * BLOCK_SECTORS, (block + count) * BLOCK_SECTORS);
    let (a, b) = (run.0.max(first), run.1.min(end));
    Cut {
        from: (a.saturating_sub(first) * 512) as u32,
        len: (b.saturating_sub(a) * 512) as u32,
        skip: (a.saturating_sub(run.0)) * 512,
    }
}

impl Cow {
    /// Requests that came to the image's disk.
    pub(super) fn image_requests(&self) -> bool {
        let mut any = false;
        for bio in self.worker.take(List::Requests) {
            any = true;
            self.image_request(bio);
        }
        any
    }

    fn image_request(&self, bio: Bio) {
        let (op, range) = (bio.op(), self.range(&bio));
        if self.failure().is_some() {
            return self.end_request(bio, Err(Errno::EIO));
        }
        if !matches!(op, Op::Read | Op::Write) {
            return self.end_request(bio, Err(Errno::EOPNOTSUPP));
        }
        let bio = match kern::alloc::try_arc_or(bio) {
            Ok(bio) => bio,
            Err(bio) => return self.end_request(bio, Err(Errno::ENOMEM)),
        };
        let request =
            Request { bio, write: op == Op::Write, pending: 1, origin: Vec::new(), deferred: Vec::new(), result: Ok(()) };
        let id = match self.state.lock().requests.insert(request) {
            Ok(id) => id,
            Err(request) => return self.end_shared(request.bio, Err(Errno::ENOMEM)),
        };
        if op == Op::Read {
            self.pass(id, &[(range.start, range.count)]);
        } else {
            self.image_write(id, range);
        }
    }

    fn image_write(&self, id: u32, range: blksnap_core::BlockRange) {
        let held = {
            let mut state = self.state.lock();
            match state.tokens.insert(Token::Image(id)) {
                Err(_) => false,
                Ok(token) => {
                    let held = state.engine.image_write(&self.saved, u64::from(token), range).is_ok();
                    if !held {
                        state.tokens.remove(token);
                    }
                    held
                }
            }
        };
        if !held {
            self.fail(Errno::ENOMEM);
            self.part_done(id, Err(Errno::EIO));
        }
    }

    /// All blocks of an image write have their place in the store: the data goes there.
    pub(super) fn image_write_released(&self, id: u32) {
        if self.failure().is_some() {
            return self.part_done(id, Err(Errno::EIO));
        }
        let bio = self.state.lock().requests.get_mut(id).map(|r| r.bio.clone());
        let Some(bio) = bio else { return };
        let range = self.range(&bio);
        drop(bio);
        self.pass(id, &[(range.start, range.count)]);
    }

    fn pass(&self, id: u32, runs: &[Run]) {
        let mut result = Ok(());
        for &(start, count) in runs {
            let mut block = start;
            while block < start + count && result.is_ok() {
                let (source, run) = self.state.lock().engine.resolve(block, start + count - block);
                let run = run.clamp(1, start + count - block);
                result = self.part(id, block, run, source);
                block += run;
            }
        }
        self.part_done(id, result);
    }

    /// Serves a run of blocks from its source, or sends for it.
    fn part(&self, id: u32, block: u64, count: u64, source: Source) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let request = state.requests.get_mut(id).ok_or(Errno::EIO)?;
        let at = cut(&request.bio, block, count);
        match source {
            Source::Origin if request.write => Err(Errno::EIO),
            Source::Origin => {
                let sector = block * BLOCK_SECTORS + at.skip / 512;
                let origin = self.origin()?;
                let Ok(io) = Io::part(&self.pool, &origin, &request.bio, (at.from, at.len), sector, false) else {
                    return request.deferred.try_push((block, count)).map_err(|_| Errno::ENOMEM);
                };
                request.origin.try_push((block, count)).map_err(|_| Errno::ENOMEM)?;
                request.pending += 1;
                self.outstanding.fetch_add(1, Ordering::AcqRel);
                io.submit(Tag(PART | u64::from(id), 0), &self.worker);
                Ok(())
            }
            Source::Memory { .. } if request.write => Err(Errno::EIO),
            Source::Memory { copy, index } => {
                let pages = state.copies.get(copy_index(copy)).and_then(Option::as_ref).ok_or(Errno::EIO)?;
                let (mut from, mut left, mut skip) = (at.from, at.len, at.skip as u32);
                for page in pages.iter().skip(index as usize) {
                    let n = left.min(SLOT as u32 - skip);
                    page.copy_to(skip, &request.bio, from, n);
                    (from, left, skip) = (from + n, left - n, 0);
                    if left == 0 {
                        return Ok(());
                    }
                }
                Err(Errno::EIO)
            }
            Source::Store { slot } => {
                let pos = slot * SLOT + at.skip;
                if let Backend::Memory(memory) = &*self.store.backend()? {
                    return memory.transfer(request.write, pos, &request.bio, at.from, at.len);
                }
                let (bio, write) = (request.bio.clone(), request.write);
                request.pending += 1;
                let sent = self.send(Job::Part { request: id, bio, write, pos, from: at.from, len: at.len });
                if sent.is_err() {
                    request.pending -= 1;
                }
                sent
            }
        }
    }

    /// A part of a request ended, or its pass was sent out whole.
    pub(super) fn part_done(&self, id: u32, result: Result) {
        let again = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let Some(request) = state.requests.get_mut(id) else { return };
            request.result = request.result.and(result);
            request.pending -= 1;
            if request.pending > 0 {
                return;
            }
            if self.failure().is_some() {
                request.result = Err(Errno::EIO);
            }
            let mut moved = core::mem::take(&mut request.deferred);
            let stalled = !moved.is_empty() && request.origin.is_empty();
            if stalled && request.result.is_ok() && state.stalled.try_push(id).is_ok() {
                // Nothing of this pass could be sent: the worker comes back to it.
                (request.deferred, request.pending) = (moved, 1);
                return;
            }
            for (start, count) in core::mem::take(&mut request.origin) {
                let mut block = start;
                while block < start + count && request.result.is_ok() {
                    let (source, run) = state.engine.resolve(block, start + count - block);
                    let run = run.clamp(1, start + count - block);
                    if source != Source::Origin && moved.try_push((block, run)).is_err() {
                        request.result = Err(Errno::ENOMEM);
                    }
                    block += run;
                }
            }
            if request.result.is_err() || moved.is_empty() {
                None
            } else {
                request.pending = 1;
                Some(moved)
            }
        };
        match again {
            Some(runs) => self.pass(id, &runs),
            None => {
                let ended = self.state.lock().requests.remove(id);
                if let Some(request) = ended {
                    self.end_shared(request.bio, request.result);
                }
            }
        }
    }

    /// The next pass of a request that had to wait.
    pub(super) fn resume(&self, id: u32) {
        let runs = self.state.lock().requests.get_mut(id).map(|r| core::mem::take(&mut r.deferred));
        if let Some(runs) = runs {
            self.pass(id, &runs);
        }
    }

    fn end_shared(&self, bio: Arc<Bio>, result: Result) {
        // The slow worker lets go of its reference before it tells that it is finished.
        if let Some(bio) = Arc::into_inner(bio) {
            self.end_request(bio, result);
        }
    }
}
