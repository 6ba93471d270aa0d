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
use kern::vec::TryPush;
use kern::worker::{List, Work};

use super::{Image, State, BLOCK};
use crate::chain::Place;

/// How soon a request is tried again for which there was no memory.
const MEMORY_MS: u32 = 1;

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

/// Bytes of a request's data that lie in a run of blocks, and where the run's data begins in the request.
pub(super) struct Cut {
    pub(super) from: u32,
    pub(super) len: u32,
    /// First byte within the run's first block.
    pub(super) skip: u64,
}

pub(super) fn cut(bio: &Bio, block: u64, count: u64) -> Cut {
    let (first, end) = (bio.sector(), bio.sector() + bio.sectors());
    let run = (block * BLOCK_SECTORS, (block + count) * BLOCK_SECTORS);
    let (a, b) = (run.0.max(first), run.1.min(end));
    Cut {
        from: (a.saturating_sub(first) * 512) as u32,
        len: (b.saturating_sub(a) * 512) as u32,
        skip: (a.saturating_sub(run.0)) * 512,
    }
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
        for bio in self.worker.take(List::Requests) {
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
        let Some((device, sector, run)) = backend.on_device(place.slot, place.run) else {
            let at = cut(&request.bio, block, place.run);
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
        if !moved.is_empty() && request.origin.is_empty() && request.result.is_ok() && state.stalled.try_push(id).is_ok() {
            // Nothing of this pass could be sent: the worker comes back to it.
            (request.deferred, request.pending) = (moved, 1);
            return;
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

    /// Reads a whole block as the image has it. Sleeps, with I/O.
    pub(super) fn read_block(&self, block: u64, page: &mut kern::page::Page) -> Result {
        let mut read_origin = false;
        loop {
            if self.is_over() {
                return Err(Errno::EIO);
            }
            let step = self.chain.look_up(self.epoch(), block, 1, |source, run, pages| match source {
                Source::Origin => Ok(Step::Origin),
                Source::Zero => Ok(Step::Zero),
                Source::Store { slot } => pages.place(slot, run).map(Step::Store),
                Source::Memory { copy, index } => pages.page(copy, index).map(|from| {
                    page.copy_of(from);
                    Step::Done
                }),
            })?;
            match step {
                Step::Done => return Ok(()),
                Step::Zero => {
                    page.zero(0, BLOCK as u32);
                    return Ok(());
                }
                Step::Store(place) => return place.store.backend().read_page(&self.waited, place.slot, page),
                // Nobody wrote there while it was read.
                Step::Origin if read_origin => return Ok(()),
                Step::Origin => {
                    let sector = block * BLOCK_SECTORS;
                    let bytes = self.chain.sectors().saturating_sub(sector).min(BLOCK_SECTORS) * 512;
                    page.zero(bytes as u32, (BLOCK - bytes) as u32);
                    let origin = self.chain.origin()?;
                    Io::pages(&self.waited, &origin, false, sector, bytes, true, core::iter::once(&*page))?.run()?;
                    read_origin = true;
                }
            }
        }
    }
}
