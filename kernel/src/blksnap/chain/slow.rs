// SPDX-License-Identifier: GPL-2.0-only

//! The slow worker: stores, which may take as long as they like, and storages that nobody needs any more.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::BatchId;
use kern::errno::{Errno, Result};
use kern::io::{Io, IoList, Tag};
use kern::page::Page;
use kern::vec::TryPush;
use kern::worker::Work;

use super::run::STORE;
use super::shard::Shard;
use crate::store::{Backend, Store, SLOT};

/// How often, and after which time, memory is asked for again.
const PAGE_TRIES: u32 = 200;
const PAGE_WAIT_MS: u32 = 5;

/// What it is asked for.
pub(super) enum Job {
    /// Pages for later copies, as those of the batch stay where they are: in a storage in memory.
    Pages { batch: BatchId, count: u32 },
    /// Copies to a storage's slots, from `slot` on.
    Store { batch: BatchId, store: Arc<Store>, slot: u64, pages: Vec<Page> },
    /// The same, when it lies in one piece and there was memory for it.
    Send { store: Arc<Store>, io: IoList },
}

/// What came of a job that was done here; others complete as I/O.
pub(super) enum Finished {
    Pages { batch: BatchId, pages: Result<Vec<Page>> },
    Store { batch: BatchId, result: Result },
}

impl Shard {
    /// Gives it a job; it has to be kicked afterwards. Takes a lock, and sleeps for nothing else.
    pub(super) fn send(&self, job: Job) -> Result {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let sent = self.jobs.lock().try_push(job);
        if sent.is_err() {
            self.leave(1);
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Does a job: `Some` when it is finished, `None` when its I/O will complete.
    fn job(&self, job: Job) -> Option<Finished> {
        match job {
            Job::Pages { batch, count } => Some(Finished::Pages { batch, pages: self.more_pages(count) }),
            Job::Store { batch, store, slot, pages } => {
                if let Backend::File(file) = store.backend() {
                    return Some(Finished::Store { batch, result: file.write(slot * SLOT, &pages) });
                }
                self.write(batch, &store, slot, &pages)
            }
            Job::Send { store, io } => {
                io.submit(&self.worker);
                drop(store);
                None
            }
        }
    }

    /// Writes to a block device: the pages stay with the copies until the engine hears of the completions.
    fn write(&self, batch: BatchId, store: &Store, slot: u64, pages: &[Page]) -> Option<Finished> {
        let total = pages.len() as u64;
        let parts = {
            let (mut parts, mut done) = (0, 0);
            while let Some((_, _, run)) = store.backend().on_device(slot + done, total - done).filter(|_| done < total) {
                (parts, done) = (parts + 1, done + run);
            }
            parts
        };
        if parts > 1 {
            // Before the first of them can end.
            self.with(|state| state.storing.get_mut(batch.0 as usize).map(|s| s.left = parts));
            self.outstanding.fetch_add(parts - 1, Ordering::AcqRel);
        }
        let (mut done, mut sent) = (0, 0);
        while done < total {
            let Some((device, sector, run)) = store.backend().on_device(slot + done, total - done) else { break };
            let part = pages.get(done as usize..(done + run) as usize).unwrap_or_default();
            let Ok(io) = Io::pages(&self.pool, device, true, sector, run * SLOT, true, part.iter()) else { break };
            io.submit(Tag(STORE | u64::from(batch.0), 0), &self.worker);
            (done, sent) = (done + run, sent + 1);
        }
        if done < total {
            // One of those not sent is told as ended; the others never were.
            self.leave(parts.max(1) - sent - 1);
            return Some(Finished::Store { batch, result: Err(Errno::EIO) });
        }
        None
    }

    /// Pages for later copies. Memory that can be had by dropping caches is waited for; when there is none, the storage is full.
    fn more_pages(&self, count: u32) -> Result<Vec<Page>> {
        let mut pages = super::reserved(count)?;
        let mut tries = 0;
        loop {
            Page::fill(&mut pages, count as usize, true);
            if pages.len() >= count as usize {
                return Ok(pages);
            }
            if tries == PAGE_TRIES || self.failure().is_some() {
                return Err(Errno::ENOSPC);
            }
            tries += 1;
            kern::misc::sleep_ms(PAGE_WAIT_MS);
        }
    }

    /// Closes the storages that nobody needs any more. Sleeps, with I/O.
    pub(super) fn drop_unused(&self) {
        while let Some(store) = self.with(|state| state.slots.take_unused()) {
            drop(store);
        }
    }
}

impl Work<1> for Shard {
    fn run(&self) {
        kern::file::without_io(|| loop {
            let jobs = core::mem::take(&mut *self.jobs.lock());
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let Some(done) = self.job(job) else { continue };
                // The fast worker waits for this lock, and so it is not held while reclaiming. A result without room gives the
                // snapshots up.
                let told = kern::file::without_reclaim(|| self.finished.lock().try_push(done));
                if told.is_err() {
                    self.fail(Errno::ENOMEM);
                    self.leave(1);
                }
                // Before the kick, whose round looks for it.
                self.reported.store(true, Ordering::SeqCst);
                self.kick();
            }
        });
        self.drop_unused();
    }
}
