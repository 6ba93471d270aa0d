// SPDX-License-Identifier: GPL-2.0-only

//! A write that is held is served by its own submitter, in place of a switch to the worker and back: on a fast device all the way, else up
//! to the read of what it overwrites.
//!
//! Only while nothing else is to be done, without waiting for the shard's lock, and for this one write: what it releases of others is left to the
//! worker, so that a submitter is not held up by the limits of somebody else's control group. What comes in meanwhile is not held up by
//! his, but for the time in which the device's driver or policy lets him sleep in the submission of his own write.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use kern::bio::{Bio, BioId};
use kern::filter::After;
use kern::worker::List;

use super::shard::Shard;

/// For whom a round is made.
pub(super) enum Whose<'a> {
    /// By the worker, for all.
    All,
    /// By the submitter of this write, until it is sent on.
    Own(&'a mut Option<BioId>),
}

impl Whose<'_> {
    /// Whether a write that is released is to be sent on, or else to be left to the worker.
    pub(super) fn sends(&mut self, bio: &Bio) -> bool {
        match self {
            Whose::All => true,
            Whose::Own(own) => own.take_if(|own| *own == bio.id()).is_some(),
        }
    }
}

impl After for Shard {
    fn after(self: Arc<Self>) {
        self.worker.here();
    }
}

impl Shard {
    /// Serves the one write that is there. Whether nothing is left for the worker. Sleeps where the submission of the write might.
    pub(super) fn serve_own(&self) -> bool {
        kern::file::without_reclaim(|| {
            let mut asked = self.asked.load(Ordering::SeqCst);
            let Some(state) = self.state.try_lock() else { return false };
            let Some(bio) = self.only_one() else { return false };
            let mut own = Some(bio.id());
            self.urged.store(false, Ordering::SeqCst);
            self.round(state, &mut Some(bio).into_iter(), Whose::Own(&mut own));
            // The read has ended already.
            if own.is_some() && !self.worker.is_empty() {
                self.worker.again();
                // A kick that came up to now is not seen any more, and so is answered with the rest.
                asked = self.asked.load(Ordering::SeqCst);
                if let Some(state) = self.state.try_lock() {
                    self.urged.store(false, Ordering::SeqCst);
                    self.round(state, &mut None.into_iter(), Whose::Own(&mut own));
                }
            }
            let done = self.worker.is_empty() && !self.urged.load(Ordering::SeqCst);
            if done {
                self.answer(asked);
            }
            done
        })
    }

    /// The write that is held, if nothing else is to be done. Not to be looked at while it is on the list: a failure may send it on. Under the lock, as each
    /// look at the list: who has the lock and finds it empty knows of all writes ([`Shard::is_quiet`]).
    fn only_one(&self) -> Option<Bio> {
        let mut held = self.worker.take(List::Held);
        let (first, second) = (held.next(), held.next());
        if first.is_some() && second.is_none() && self.worker.is_empty() {
            return first;
        }
        first.into_iter().chain(second).chain(held).for_each(|bio| self.worker.put(List::Held, bio));
        None
    }
}
