// SPDX-License-Identifier: GPL-2.0-only

//! The slow worker: I/O of the difference storage, which may take as long as it likes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::BatchId;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::io::{Io, Tag};
use kern::page::Page;
use kern::vec::TryPush;
use kern::worker::Work;

use super::run::{PART, STORE};
use super::{Cow, Pages};
use crate::store::{Backend, SLOT};

/// How often, and after which time, memory is asked for again.
const PAGE_TRIES: u32 = 200;
const PAGE_WAIT_MS: u32 = 5;

/// What it is asked for.
pub(super) enum Job {
    /// Pages for later copies, as those of the batch stay where they are: in the storage in memory, from `slot` on.
    Pages { batch: BatchId, slot: u64, count: u32 },
    /// Copies to slots.
    Store { batch: BatchId, slot: u64, pages: Vec<Pages> },
    /// Between the slots from byte `pos` and an image request's data, its `len` bytes from byte `from`.
    Part { request: u32, bio: Arc<Bio>, write: bool, pos: u64, from: u32, len: u32 },
}

/// What came of a job that was done here; others complete as I/O.
pub(super) enum Finished {
    Pages { batch: BatchId, slot: u64, pages: Result<Vec<Page>> },
    Store { batch: BatchId, slot: u64, result: Result },
    Part { request: u32, result: Result },
}

impl Cow {
    /// Gives it a job.
    pub(super) fn send(&self, job: Job) -> Result {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let sent = self.jobs.lock().try_push(job);
        if sent.is_err() {
            self.leave(&self.outstanding);
            return Err(Errno::ENOMEM);
        }
        self.slow.kick();
        Ok(())
    }

    /// Does a job: `Some` when it is finished, `None` when its I/O will complete.
    fn job(&self, job: Job) -> Option<Finished> {
        let backend = match self.store.backend() {
            Ok(backend) => backend,
            Err(e) => return Some(job.failed(e)),
        };
        match (job, &*backend) {
            (Job::Pages { batch, slot, count }, _) => Some(Finished::Pages { batch, slot, pages: self.more_pages(count) }),
            (Job::Store { batch, slot, pages }, Backend::File(file)) => {
                let result = refs(&pages).and_then(|p| file.write(slot * SLOT, &p));
                Some(Finished::Store { batch, slot, result })
            }
            (Job::Store { batch, slot, pages }, Backend::Device(device)) => {
                let io = refs(&pages).and_then(|p| {
                    let bytes = p.len() as u64 * SLOT;
                    Io::pages(&self.pool, device, true, slot * (SLOT / 512), bytes, true, p.iter().copied())
                });
                // The pages stay in the state's copies until the engine hears of the completion; then nobody else may hold them.
                drop(pages);
                match io {
                    Ok(io) => {
                        io.submit(Tag(STORE | u64::from(batch.0), slot), &self.worker);
                        None
                    }
                    Err(e) => Some(Finished::Store { batch, slot, result: Err(e) }),
                }
            }
            (Job::Part { request, bio, write, pos, from, len }, Backend::File(file)) => {
                let result = file.transfer(write, pos, &bio, from, len);
                Some(Finished::Part { request, result })
            }
            (Job::Part { request, bio, pos, from, len, .. }, Backend::Device(device)) => {
                let sent = Io::part(&self.pool, device, &bio, (from, len), pos / 512, true);
                drop(bio);
                match sent {
                    Ok(io) => {
                        io.submit(Tag(PART | u64::from(request), 0), &self.worker);
                        None
                    }
                    Err(e) => Some(Finished::Part { request, result: Err(e) }),
                }
            }
            (job, Backend::Memory(_)) => Some(job.failed(Errno::EIO)),
        }
    }
}

impl Cow {
    /// Pages for later copies. Memory that can be had by dropping caches is waited for; when there is none, the storage is full.
    fn more_pages(&self, count: u32) -> Result<Vec<Page>> {
        let mut pages = super::reserved(count)?;
        let mut tries = 0;
        while pages.len() < count as usize {
            match Page::alloc(true) {
                Some(page) => pages.try_push(page).map_err(|_| Errno::ENOMEM)?,
                None if tries < PAGE_TRIES && self.failure().is_none() => {
                    tries += 1;
                    kern::misc::sleep_ms(PAGE_WAIT_MS);
                }
                None => return Err(Errno::ENOSPC),
            }
        }
        Ok(pages)
    }
}

impl Job {
    fn failed(self, error: Errno) -> Finished {
        match self {
            Job::Pages { batch, slot, .. } => Finished::Pages { batch, slot, pages: Err(error) },
            Job::Store { batch, slot, .. } => Finished::Store { batch, slot, result: Err(error) },
            Job::Part { request, .. } => Finished::Part { request, result: Err(error) },
        }
    }
}

fn refs(pages: &[Pages]) -> Result<Vec<&Page>> {
    let mut all = Vec::new();
    all.try_reserve_exact(pages.iter().map(|p| p.len()).sum()).map_err(|_| Errno::ENOMEM)?;
    for page in pages.iter().flat_map(|p| p.iter()) {
        all.try_push(page).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(all)
}

impl Work<1> for Cow {
    fn run(&self) {
        kern::file::without_io(|| loop {
            let jobs = core::mem::take(&mut *self.jobs.lock());
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let Some(done) = self.job(job) else { continue };
                // The fast worker waits for this lock, and so it is not held while reclaiming. A result without room gives the
                // snapshot up, but must not leave a request waiting.
                let told = kern::file::without_reclaim(|| self.finished.lock().try_push(done));
                if let Err(lost) = told {
                    self.lost(lost);
                }
                self.worker.kick();
            }
        });
    }
}

impl Cow {
    fn lost(&self, done: Finished) {
        self.fail(Errno::ENOMEM);
        if let Finished::Part { request, .. } = done {
            self.part_done(request, Err(Errno::ENOMEM));
        }
        self.leave(&self.outstanding);
    }
}
