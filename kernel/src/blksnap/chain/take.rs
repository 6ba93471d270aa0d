// SPDX-License-Identifier: GPL-2.0-only

//! Snapshots come and go: the chain's part of a take, of a snapshot's end, and its own end.
//!
//! Takes of one device follow each other (see `take/`); the end of another snapshot may come at any time. When it was the last
//! one, and a take has been prepared on this chain, [`Chain::switch`] refuses, and the take begins again with another chain.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use blksnap_core::cow::Epoch;
use kern::errno::{Errno, Result};
use kern::misc::monotonic_ns;
use kern::vec::TryPush;

use super::shard::{Live, Shard};
use super::{Chain, Layer, Owner};
use crate::events::Events;
use crate::image::Image;
use crate::store::Stores;

/// How long an end waits for workers.
const END_MS: u32 = 1000;

/// How many of `ms` milliseconds from now are left, at least one.
fn left_of(ms: u32) -> impl Fn() -> u32 {
    let end_ns = monotonic_ns() + u64::from(ms) * 1_000_000;
    move || end_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000).max(1) as u32
}

impl Chain {
    /// Makes ready for a take. Before the gate. Sleeps for locks.
    pub(crate) fn prepare(&self) -> Result {
        self.shards().try_for_each(|shard| {
            shard.with(|state| {
                state.live.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                state.engine.prepare().map_err(|_| Errno::ENOMEM)
            })
        })
    }

    /// The take does not come. Whether no snapshot is left: the chain is to be [closed](Chain::close). Sleeps for locks.
    pub(crate) fn unprepare(&self) -> bool {
        for shard in self.shards() {
            shard.with(|state| state.engine.unprepare());
        }
        self.first.with(|state| state.newest.is_none())
    }

    /// Waits until no write is held and nothing is read for a copy, or it has failed or ended, which [`Chain::switch`] then tells; the gate is
    /// closed and the filter drained, so that a shard that is quiet stays so. `ETIMEDOUT`. Sleeps.
    pub(crate) fn quiesce(&self, ms: u32) -> Result {
        let left = left_of(ms);
        let busy = || self.shards().filter(|shard| !shard.is_quiet());
        busy().for_each(|shard| shard.ask());
        busy().try_for_each(|shard| {
            // It may have rested a moment ago, and have been asked nothing.
            shard.ask();
            shard.answers(left(), true).then_some(()).ok_or(Errno::ETIMEDOUT)
        })
    }

    /// The instant: what is written from now on is copied for the new epoch. `EAGAIN`: it has failed or ended meanwhile. At the gate, drained and
    /// quiet. Sleeps for locks alone.
    pub(crate) fn switch(&self, layer: &Arc<Layer>, image: &Arc<Image>, stores: &Arc<Stores>, events: &Arc<Events>) -> Result {
        let _one = self.turns.lock();
        let (mut epoch, mut old) = (None, None);
        let mut taken = self.shards().try_for_each(|shard| {
            shard.with(|state| {
                self.unless_failed(Ok(()))?;
                epoch = Some(state.engine.take().ok_or(Errno::EIO)?);
                old = state.newest.replace(layer.clone());
                Ok(())
            })
        });
        let Some(epoch) = epoch else { return Err(Errno::EAGAIN) };
        let in_memory = stores.begins_in_memory();
        let mut live = |shard: &Arc<Shard>| {
            let live = Live { epoch, image: image.clone(), stores: stores.clone(), in_memory, events: events.clone() };
            // Never grows: the room was reserved.
            shard.with(|state| self.unless_failed(Ok(())).map(|()| drop(state.live.try_push(live))))
        };
        // The first one last: a failure is told to those that it has.
        taken = taken.and_then(|()| self.others.iter().chain([&self.first]).try_for_each(&mut live));
        if taken.is_err() {
            self.half_taken(epoch, old.as_deref());
            return Err(Errno::EAGAIN);
        }
        image.born(epoch);
        if let Some(old) = old {
            old.follow(layer);
        }
        Ok(())
    }

    /// Some shards have taken, and then there was a failure: nobody goes on with that. `old` is what writers are shown, none at the first take.
    #[cold]
    fn half_taken(&self, epoch: Epoch, old: Option<&Layer>) {
        self.fail(Errno::EIO);
        if let Some(old) = old {
            old.blind(Errno::EIO);
        }
        for shard in self.shards() {
            // Dropped outside of the lock; others have it as well.
            let unused = shard.with(|state| {
                let at = state.live.iter().position(|live| live.epoch == epoch);
                (at.map(|at| state.live.remove(at)), state.newest.take_if(|_| old.is_none()))
            });
            drop(unused);
        }
    }

    /// After the newest layer was shown to writers: one who failed it without the lock may have seen the one before.
    pub(crate) fn settle(&self, layer: &Layer) {
        if let Some(error) = self.failure() {
            layer.blind(error);
        }
    }

    /// The snapshot of an epoch ends; its image has no request under way. When it was the last, the chain is closed. Sleeps, with I/O.
    pub(crate) fn end(&self, epoch: Epoch) {
        // To be dropped outside of the locks, as that may close storages.
        let mut ended = Vec::new();
        let _ = ended.try_reserve(self.stripes().engines() as usize);
        let one = self.turns.lock();
        let last = self.first.with(|state| state.live.iter().all(|live| live.epoch == epoch));
        if last {
            self.common.mark_failed(Errno::ESHUTDOWN);
        }
        for shard in self.shards() {
            shard.with(|state| {
                if let Some(at) = state.live.iter().position(|live| live.epoch == epoch) {
                    let _ = ended.try_push(state.live.remove(at));
                }
                state.slots.release(Owner::Image(epoch));
                if let Some((engine, saved)) = state.engine() {
                    let _ = engine.end(saved, epoch);
                }
            });
        }
        drop(one);
        drop(ended);
        if last {
            return self.close();
        }
        // What is free now is known when the workers have looked, so that a storage that nobody needs is closed when this returns.
        self.shards().for_each(|shard| shard.ask());
        let left = left_of(END_MS);
        for shard in self.shards() {
            shard.answers(left(), false);
            shard.drop_unused();
        }
    }

    /// The device goes away: nothing is held any more when this returns. Sleeps.
    pub(crate) fn leave_device(&self, error: Errno) {
        self.fail(error);
        drop(self.common.device.forget_chain(self));
        self.shards().for_each(|shard| shard.flush_held());
    }

    /// Ends it; no image may have a request under way. Sleeps until all I/O has ended.
    pub(crate) fn close(&self) {
        self.leave_device(Errno::ESHUTDOWN);
        self.shards().for_each(|shard| shard.close());
        self.common.chain.replace(None);
        // Somebody may keep an image open for long: what the chain needed is free now.
        self.origin.replace(None);
    }
}

impl Shard {
    /// Whether no write is held and nothing is read for a copy, seen without the worker's help; else that is not known. Does not sleep. What is on its way
    /// back to the filter is not held any more.
    fn is_quiet(&self) -> bool {
        self.state.try_lock().is_some_and(|state| self.worker.is_empty() && state.engine.quiet())
    }

    /// Asks the worker whether all is quiet. Atomic.
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.kick();
    }

    /// Waits for the worker's answer to all that was asked: that it is quiet, if that is `wanted`, or any. Whether it came, or the chain has failed.
    /// Sleeps.
    fn answers(&self, ms: u32, wanted: bool) -> bool {
        let question = self.asked.load(Ordering::SeqCst);
        let ready = || {
            // Then the worker may answer nobody any more.
            if self.failure().is_some() {
                return true;
            }
            let answer = self.answered.load(Ordering::SeqCst);
            answer >> 1 >= u64::from(question) && (answer & 1 == 1 || !wanted)
        };
        matches!(self.idle.until(ms, false, ready), Ok(true))
    }

    /// After the chain was failed and taken off its device. Sleeps until all I/O has ended.
    fn close(&self) {
        let quiet = || self.outstanding.load(Ordering::Acquire) == 0;
        while !matches!(self.idle.until(1000, false, quiet), Ok(true)) {
            self.kick();
        }
        self.worker.stop();
        self.slow.stop();
        // Whatever came in before the device let go of us.
        self.flush_held();
        let gone = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let frames = core::mem::take(&mut state.frames);
            let (slots, live) = (core::mem::take(&mut state.slots), core::mem::take(&mut state.live));
            (frames, slots, live, state.newest.take(), state.origin.take())
        };
        drop(gone);
    }
}
