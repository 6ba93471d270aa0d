// SPDX-License-Identifier: GPL-2.0-only

//! Snapshots come and go: the chain's part of a take, of a snapshot's end, and its own end.
//!
//! Takes of one device follow each other (see `take/`); the end of another snapshot may come at any time. When it was the last
//! one, and a take has been prepared on this chain, [`Chain::switch`] refuses, and the take begins again with another chain.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use blksnap_core::cow::{Epoch, Saved};
use kern::errno::{Errno, Result};
use kern::vec::TryPush;

use super::{Chain, Layer, Lazy, Live, Owner};
use crate::events::Events;
use crate::image::Image;
use crate::store::Stores;

impl Chain {
    /// Makes ready for a take whose bits are `layer`'s, and its image's `own`. Before the gate. Sleeps for the lock.
    pub(crate) fn prepare(&self, layer: &Layer, own: &Saved<Lazy>) -> Result {
        self.with(|state| {
            state.live.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            state.engine.prepare(&layer.saved, own).map_err(|_| Errno::ENOMEM)
        })
    }

    /// The take does not come. Whether no snapshot is left: the chain is to be [closed](Chain::close). Sleeps for the lock.
    pub(crate) fn unprepare(&self) -> bool {
        self.with(|state| {
            state.engine.unprepare();
            state.newest.is_none()
        })
    }

    /// Waits until no write is held and nothing is read for a copy, or it has failed or ended, which [`Chain::switch`] then tells; the gate is
    /// closed and the filter drained. `ETIMEDOUT`. Sleeps.
    pub(crate) fn quiesce(&self, ms: u32) -> Result {
        // No write was ever shown to it.
        if self.with(|state| state.newest.is_none()) {
            return Ok(());
        }
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.kick();
        let ready = || {
            // Then the worker may answer nobody any more.
            if self.failure().is_some() {
                return true;
            }
            let answer = self.answered.load(Ordering::SeqCst);
            answer >> 1 >= u64::from(question) && answer & 1 == 1
        };
        match self.idle.until(ms, false, ready) {
            Ok(true) => Ok(()),
            _ => Err(Errno::ETIMEDOUT),
        }
    }

    /// The instant: what is written from now on is copied for the new epoch. `EAGAIN`, and nothing has changed: it has failed or ended
    /// meanwhile. At the gate, drained and quiet. Sleeps for the lock alone.
    pub(crate) fn switch(&self, layer: &Arc<Layer>, image: &Arc<Image>, stores: &Arc<Stores>, events: &Arc<Events>) -> Result {
        self.with(|state| {
            if self.failure().is_some() {
                return Err(Errno::EAGAIN);
            }
            let epoch = state.engine.take().ok_or(Errno::EAGAIN)?;
            if let Some(old) = state.newest.replace(layer.clone()) {
                old.follow(layer);
            }
            image.born(epoch);
            let (stores, in_memory) = (stores.clone(), stores.begins_in_memory());
            let live = Live { epoch, image: image.clone(), stores, in_memory, events: events.clone() };
            // Never grows: the room was reserved.
            let _ = state.live.try_push(live);
            Ok(())
        })
    }

    /// After the newest layer was shown to writers: one who failed it without the lock may have seen the one before.
    pub(crate) fn settle(&self, layer: &Layer) {
        if let Some(error) = self.failure() {
            layer.blind(error);
        }
    }

    /// The snapshot of an epoch ends; its image has no request under way. When it was the last, the chain is closed. Sleeps, with I/O.
    pub(crate) fn end(&self, epoch: Epoch) {
        let (ended, last) = self.with(|state| {
            let ended = state.live.iter().position(|live| live.epoch == epoch).map(|at| state.live.remove(at));
            state.slots.release(Owner::Image(epoch));
            let last = state.engine().is_some_and(|(engine, saved)| engine.end(saved, epoch));
            if last {
                self.mark_failed(Errno::ESHUTDOWN);
            }
            (ended, last || state.live.is_empty())
        });
        drop(ended);
        if last {
            self.close();
        } else {
            // What is free now is known when the worker has looked, so that a storage that nobody needs is closed when this returns.
            let _ = self.quiesce_or_not();
            self.drop_unused();
        }
    }

    /// Waits until the worker has carried out what was wanted when this was called. Sleeps.
    fn quiesce_or_not(&self) -> Result<bool> {
        const MOST_MS: u32 = 1000;
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.kick();
        self.idle.until(MOST_MS, false, || self.answered.load(Ordering::SeqCst) >> 1 >= u64::from(question))
    }

    /// The device goes away: nothing is held any more when this returns. Sleeps.
    pub(crate) fn leave_device(&self, error: Errno) {
        self.fail(error);
        drop(self.device.forget_chain(self));
        self.flush_held();
    }

    /// Ends it; no image may have a request under way. Sleeps until all I/O has ended.
    pub(crate) fn close(&self) {
        self.leave_device(Errno::ESHUTDOWN);
        let quiet = || self.outstanding.load(Ordering::Acquire) == 0;
        while !matches!(self.idle.until(1000, false, quiet), Ok(true)) {
            self.kick();
        }
        self.worker.stop();
        self.slow.stop();
        // Whatever came in before the device let go of us.
        self.flush_held();
        // Somebody may keep an image open for long: what the chain needed is free now.
        self.origin.replace(None);
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
