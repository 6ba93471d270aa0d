// SPDX-License-Identifier: GPL-2.0-only

//! The image's worker, and reads that need it.
//!
//! A read is served in passes. Each pass looks up its blocks and reads each run from where it is; runs on the origin are
//! looked up again when the pass is complete, as a writer may have passed meanwhile, and those that moved are read again in the
//! next pass, now from a copy or a storage. What is there stays there, so that a second pass is the last for each block.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::Source;
use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::io::{Io, IoList, Tag};
use kern::page::{Page, Row};
use kern::vec::TryPush;
use kern::worker::{List, Work};

use super::block::cut;
use super::{Image, State};
use crate::chain::Place;

/// How soon a request is tried again for which there was no memory.
const MEMORY_MS: u32 = 1;

/// Requests under way at most: each has an entry, and writes wait for each other in a row that the chain looks through.
const REQUESTS_MOST: u32 = 512;

/// A run of blocks.
type Run = (u64, u64);

/// A request under way.
pub(super) struct Request {
    pub(super) bio: Bio,
    /// The engine's, of a write.
    pub(super) token: u64,
    /// Parts not yet ended, and one for the pass itself.
    pending: u32,
    /// Runs of this pass that were read from the origin.
    origin: Vec<Run>,
    /// Runs for which there was no bio.
    deferred: Vec<Run>,
    result: Result,
}

/// What is to be done for a run.
enum Step {
    /// Nothing more.
    Done,
    Origin,
    Zero,
    Store(Place),
}

impl Work for Image {
    fn run(&self) {
        kern::file::without_io(|| {
            let mut state = self.state.lock();
            let state = &mut *state;
            while self.completions(state) | self.new_requests(state) | self.turns(state) {}
            for id in core::mem::take(&mut state.stalled) {
                self.resume(state, id);
            }
            if !state.stalled.is_empty() {
                self.worker.kick_in(MEMORY_MS);
            }
        });
    }
}

impl Image {
    fn completions(&self, state: &mut State) -> bool {
        let mut any = false;
        for done in self.worker.done() {
            any = true;
            let (Tag(id, _), result) = (done.tag(), done.result());
            drop(done);
            self.part_done(state, id as u32, result);
            self.leave();
        }
        any
    }

    fn new_requests(&self, state: &mut State) -> bool {
        let mut any = false;
        self.worker.take(List::Requests).for_each(|bio| state.backlog.push(bio));
        while state.requests.len() < REQUESTS_MOST {
            let Some(bio) = state.backlog.next() else { break };
            any = true;
            let (op, range) = (bio.op(), BlockRange::of_sectors(bio.sector(), bio.sectors()));
            if self.is_over() {
                self.end_request(bio, Err(Errno::EIO));
                continue;
            }
            let request = Request { bio, token: 0, pending: 1, origin: Vec::new(), deferred: Vec::new(), result: Ok(()) };
            match state.requests.insert(request) {
                Err(request) => self.end_request(request.bio, Err(Errno::ENOMEM)),
                Ok(id) if op == Op::Read => self.pass(state, id, &[(range.start, range.count)]),
                Ok(id) => self.queue_write(state, id, range),
            }
        }
        any
    }

    fn pass(&self, state: &mut State, id: u32, runs: &[Run]) {
        let mut ios = IoList::default();
        let mut result = Ok(());
        if let Some(request) = state.requests.get_mut(id) {
            for &(start, count) in runs {
                let mut block = start;
                while block < start + count && result.is_ok() {
                    match self.part(request, id, block, start + count - block, &mut ios) {
                        Ok(run) => block += run,
                        Err(e) => result = Err(e),
                    }
                }
            }
        }
        if !ios.is_empty() {
            ios.submit(&self.worker);
        }
        self.part_done(state, id, result);
    }

    /// Serves a run of blocks from where it is, or makes I/O for it. How many blocks.
    fn part(&self, request: &mut Request, id: u32, block: u64, max: u64, ios: &mut IoList) -> Result<u64> {
        if self.is_over() {
            return Err(Errno::EIO);
        }
        let bio = &request.bio;
        let (step, run) = self.chain.look_up(self.epoch(), block, max, |source, run, pages| match source {
            Source::Origin => Ok((Step::Origin, run)),
            Source::Zero => Ok((Step::Zero, run)),
            Source::Store { slot } => pages.place(slot, run).map(|place| {
                let run = place.run;
                (Step::Store(place), run)
            }),
            Source::Memory { copy, index } => {
                let at = cut(bio, block, run);
                pages.copy_to(copy, index, at.skip as u32, bio, at.from, at.len).map(|()| (Step::Done, run))
            }
        })?;
        let at = cut(bio, block, run);
        match step {
            Step::Done => {}
            Step::Zero => bio.zero(at.from, at.len),
            Step::Origin => {
                let sector = block * BLOCK_SECTORS + at.skip / 512;
                let origin = self.chain.origin()?;
                let Ok(io) = Io::part(&self.pool, &origin, bio, (at.from, at.len), false, sector, false) else {
                    return request.deferred.try_push((block, run)).map(|()| run).map_err(|_| Errno::ENOMEM);
                };
                request.origin.try_push((block, run)).map_err(|_| Errno::ENOMEM)?;
                self.sent(request, id, io, ios);
            }
            Step::Store(place) => return self.from_store(request, id, block, &place, ios),
        }
        Ok(run)
    }

    /// Reads a run from a storage: by itself from a file or memory, else it makes I/O.
    fn from_store(&self, request: &mut Request, id: u32, block: u64, place: &Place, ios: &mut IoList) -> Result<u64> {
        let backend = place.store.backend();
        let at = cut(&request.bio, block, place.run);
        if !backend.suits(self.asks, &at) {
            // It is another snapshot's, of larger blocks.
            let mut page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
            backend.read_page(&self.waited, place.slot, &mut page)?;
            let at = cut(&request.bio, block, 1);
            Row::of(core::iter::once(&page)).copy_to(at.skip as u32, &request.bio, at.from, at.len);
            return Ok(1);
        }
        let Some((device, sector, run)) = backend.on_device(place.slot, place.run) else {
            backend.transfer(&self.waited, false, place.slot, at.skip, &request.bio, at.from, at.len)?;
            return Ok(place.run);
        };
        let at = cut(&request.bio, block, run);
        let Ok(io) = Io::part(&self.pool, device, &request.bio, (at.from, at.len), false, sector + at.skip / 512, false) else {
            return request.deferred.try_push((block, run)).map(|()| run).map_err(|_| Errno::ENOMEM);
        };
        self.sent(request, id, io, ios);
        Ok(run)
    }

    fn sent(&self, request: &mut Request, id: u32, io: Io, ios: &mut IoList) {
        request.pending += 1;
        self.requests.fetch_add(1, Ordering::SeqCst);
        ios.push(io, Tag(u64::from(id), 0));
    }

    /// A part of a request ended, or its pass was sent out whole.
    fn part_done(&self, state: &mut State, id: u32, result: Result) {
        let Some(request) = state.requests.get_mut(id) else { return };
        request.result = request.result.and(result);
        request.pending -= 1;
        if request.pending > 0 {
            return;
        }
        if self.is_over() {
            request.result = Err(Errno::EIO);
        }
        let mut moved = core::mem::take(&mut request.deferred);
        if !moved.is_empty() && request.origin.is_empty() && request.result.is_ok() {
            // Nothing of this pass could be sent: the worker comes back to it. Not at once, there would be no end of it.
            match state.stalled.try_push(id) {
                Ok(()) => {
                    (request.deferred, request.pending) = (moved, 1);
                    return;
                }
                Err(_) => request.result = Err(Errno::ENOMEM),
            }
        }
        for (start, count) in core::mem::take(&mut request.origin) {
            if request.result.is_ok() {
                request.result = self.moved(start, count, &mut moved);
            }
        }
        if request.result.is_ok() && !moved.is_empty() {
            request.pending = 1;
            return self.pass(state, id, &moved);
        }
        if let Some(request) = state.requests.remove(id) {
            self.end_request(request.bio, request.result);
        }
    }

    /// Of a run that was read from the origin, the parts that are not there any more.
    fn moved(&self, start: u64, count: u64, moved: &mut Vec<Run>) -> Result {
        let mut block = start;
        while block < start + count {
            let left = start + count - block;
            let (there, run) =
                self.chain.look_up(self.epoch(), block, left, |source, run, _| Ok((source == Source::Origin, run)))?;
            if !there {
                moved.try_push((block, run)).map_err(|_| Errno::ENOMEM)?;
            }
            block += run;
        }
        Ok(())
    }

    /// The next pass of a request that had to wait.
    fn resume(&self, state: &mut State, id: u32) {
        if let Some(request) = state.requests.get_mut(id) {
            let runs = core::mem::take(&mut request.deferred);
            self.pass(state, id, &runs);
        }
    }

    /// Its storages; `EIO` when it is closed.
    pub(super) fn stores(&self) -> Result<Arc<crate::store::Stores>> {
        self.stores.get().ok_or(Errno::EIO)
    }
}
