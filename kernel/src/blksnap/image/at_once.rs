// SPDX-License-Identifier: GPL-2.0-only

//! Reads that are served in the submitter's context: of what is in memory, or in one piece on a storage's device.
//!
//! What was copied stays where it is as long as the image's epoch lives, and that ends after the last request: so nothing has to be looked
//! at again. Whatever is not of that kind, and whatever finds the chain's lock taken, is the worker's; it begins from the start.

use alloc::sync::Arc;

use blksnap_core::cow::Source;
use blksnap_core::BlockRange;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::io::{forward, Kind};

use super::block::cut;
use super::Image;
use crate::chain::Place;
use crate::store::{Backend, SLOT};

/// What was found for a run of blocks.
enum Step {
    /// The data is in the request.
    Done,
    Store(Place),
}

impl Image {
    /// Serves a read, or gives it back for the worker. In the submitter; sleeps as any submission.
    pub(super) fn read_at_once(self: &Arc<Self>, bio: Bio) -> Option<Bio> {
        let range = BlockRange::of_sectors(bio.sector(), bio.sectors());
        let mut block = range.start;
        while block < range.end() {
            let Ok((step, run)) = self.step(&bio, block, range.end() - block) else { return Some(bio) };
            if let Step::Store(place) = step {
                let Backend::Memory(memory) = place.store.backend() else { return self.forward_to(bio, range, block, place) };
                let at = cut(&bio, block, run);
                if memory.transfer(false, place.slot * SLOT + at.skip, &bio, at.from, at.len).is_err() {
                    return Some(bio);
                }
            }
            block += run;
        }
        self.end_request(bio, Ok(()));
        None
    }

    /// Where a block of a request is, and for how many of `max`; what is in copies is copied. `EAGAIN`: nowhere where it could be read at once.
    fn step(&self, bio: &Bio, block: u64, max: u64) -> Result<(Step, u64)> {
        let found = self.chain.try_look_up(self.epoch(), block, max, |source, run, pages| {
            let at = cut(bio, block, run);
            match source {
                Source::Origin => Err(Errno::EAGAIN),
                Source::Zero => {
                    bio.zero(at.from, at.len);
                    Ok((Step::Done, run))
                }
                Source::Store { slot } => pages.place(slot, run).map(|place| {
                    let run = place.run;
                    (Step::Store(place), run)
                }),
                Source::Memory { copy, index } => {
                    pages.copy_to(copy, index, at.skip as u32, bio, at.from, at.len).map(|()| (Step::Done, run))
                }
            }
        });
        found.unwrap_or(Err(Errno::EAGAIN))
    }

    /// Sends a read on to a storage's device, when all of its blocks lie there one behind the other. Else gives it back.
    fn forward_to(self: &Arc<Self>, bio: Bio, range: BlockRange, block: u64, mut place: Place) -> Option<Bio> {
        if block != range.start {
            return Some(bio);
        }
        while place.run < range.count {
            let (at, left) = (block + place.run, range.count - place.run);
            match self.step(&bio, at, left) {
                Ok((Step::Store(next), run)) if Arc::ptr_eq(&next.store, &place.store) && next.slot == place.slot + place.run => {
                    place.run += run;
                }
                _ => return Some(bio),
            }
        }
        let backend = place.store.backend();
        let at = cut(&bio, block, place.run);
        let found = backend.on_device(place.slot, place.run).filter(|_| backend.suits(self.asks, &at));
        match found {
            Some((device, sector, run)) if run == place.run => {
                forward(&self.pool, device, bio, sector + at.skip / 512, Kind::Stored, self).err()
            }
            _ => Some(bio),
        }
    }
}
