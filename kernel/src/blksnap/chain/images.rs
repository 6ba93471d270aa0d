// SPDX-License-Identifier: GPL-2.0-only

//! What images ask of the chain: where blocks are, and their writes' turns. Everything here sleeps for the lock of a shard alone.

use alloc::sync::Arc;

use blksnap_core::cow::{CopyId, Epoch, Over, Saved, Source};
use blksnap_core::BlockRange;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::page::{Page, Row, PAGE_SIZE};

use super::frames::Frames;
use super::shard::{Shard, State, Token};
use super::slots::{Owner, Place, Slots};
use super::{errno, Chain, Lazy};
use crate::store::Store;

/// Where the data behind a [`Source`] is, as long as the lock is held.
pub(crate) struct Pages<'a> {
    frames: &'a Frames,
    slots: &'a Slots,
}

impl Pages<'_> {
    /// Copies `len` bytes from byte `skip` of block `index` of a copy on, to a bio's data from its byte `to`.
    pub(crate) fn copy_to(&self, copy: CopyId, index: u32, skip: u32, bio: &Bio, to: u32, len: u32) -> Result {
        let (mut pages, mut skip, mut done) = (self.frames.of(copy).skip(index as usize), skip, 0);
        while done < len {
            let row = Row::of(pages.by_ref().take(Row::MOST));
            if row.is_empty() {
                return Err(Errno::EIO);
            }
            row.copy_to(skip, bio, to + done, len - done);
            done += (row.len() * PAGE_SIZE - skip).min(len - done);
            skip = 0;
        }
        Ok(())
    }

    /// A block of a copy.
    pub(crate) fn page(&self, copy: CopyId, index: u32) -> Result<&Page> {
        self.frames.of(copy).nth(index as usize).ok_or(Errno::EIO)
    }

    /// Where a slot is.
    pub(crate) fn place(&self, slot: u64, max: u64) -> Result<Place> {
        self.slots.find(slot, max)
    }
}

impl State {
    fn look_up<R>(&self, epoch: Epoch, block: u64, max: u64, f: impl FnOnce(Source, u64, &Pages<'_>) -> Result<R>) -> Result<R> {
        if self.engine.failed() {
            return Err(Errno::EIO);
        }
        let (source, run) = self.engine.resolve(epoch, block, max);
        f(source, run.clamp(1, max), &Pages { frames: &self.frames, slots: &self.slots })
    }
}

impl Chain {
    /// The shard that a block belongs to, and for how many of `max`.
    fn at(&self, block: u64, max: u64) -> (&Shard, u64) {
        let stripes = self.stripes();
        (self.shard(stripes.of(block)), stripes.first(BlockRange { start: block, count: max }).count)
    }

    /// Runs `f` for the parts of a range and the states that they are in. The sum of what it gives.
    fn for_parts(&self, range: BlockRange, mut f: impl FnMut(&mut State, BlockRange) -> Result<u64>) -> Result<u64> {
        let mut parts = self.stripes().parts(range);
        parts.try_fold(0, |sum, (which, part)| Ok(sum + self.shard(which).with(|state| f(state, part))?))
    }

    /// Where a block of an image is, and for how many of `max`, given to `f` under the lock.
    pub(crate) fn look_up<R>(
        &self,
        epoch: Epoch,
        block: u64,
        max: u64,
        f: impl FnOnce(Source, u64, &Pages<'_>) -> Result<R>,
    ) -> Result<R> {
        let (shard, max) = self.at(block, max);
        self.unless_failed(shard.with(|state| state.look_up(epoch, block, max, f)))
    }

    /// What was found counts only if nothing had failed by then: as soon as writes pass, a copy may be read too late.
    pub(super) fn unless_failed<R>(&self, found: Result<R>) -> Result<R> {
        match self.failure() {
            None => found,
            Some(_) => Err(Errno::EIO),
        }
    }

    /// [`Chain::look_up`], or `None` when somebody has the lock: image reads do not queue up before writers. Does not sleep.
    pub(crate) fn try_look_up<R>(
        &self,
        epoch: Epoch,
        block: u64,
        max: u64,
        f: impl FnOnce(Source, u64, &Pages<'_>) -> Result<R>,
    ) -> Option<Result<R>> {
        let (shard, max) = self.at(block, max);
        let found = kern::file::without_reclaim(|| shard.state.try_lock().map(|state| state.look_up(epoch, block, max, f)));
        found.map(|found| self.unless_failed(found))
    }

    /// What an image has of its own at a block: its slot if it has one, and for how many of `max` blocks.
    pub(crate) fn own(&self, epoch: Epoch, block: u64, max: u64) -> Result<(Option<Place>, bool, u64)> {
        let (shard, max) = self.at(block, max);
        shard.with(|state| {
            let (over, run) = state.engine.over(epoch, block, max);
            match over {
                Over::None => Ok((None, false, run)),
                Over::Zero => Ok((None, true, run)),
                Over::Slot(slot) => state.slots.find(slot, run).map(|place| {
                    let run = place.run;
                    (Some(place), true, run)
                }),
            }
        })
    }

    /// A write to an image waits for its turn: the token by which it is ended. [`grant`](crate::image::Image::grant) tells. The turns of all
    /// of an image are with the first shard.
    pub(crate) fn image_write(&self, epoch: Epoch, request: u32, range: BlockRange) -> Result<u64> {
        let token = self.first.with(|state| {
            let token = state.tokens.insert(Token::Image(epoch, request)).map_err(|_| Errno::ENOMEM)?;
            state.engine.image_write(epoch, u64::from(token), range).map_err(|_| {
                state.tokens.remove(token);
                Errno::ENOMEM
            })?;
            Ok(u64::from(token))
        })?;
        self.first.kick();
        Ok(token)
    }

    /// It is over.
    pub(crate) fn image_done(&self, token: u64) {
        self.first.with(|state| {
            state.engine.image_done(token);
            state.tokens.remove(token as u32);
        });
        self.first.kick();
    }

    /// The number of slots that an image takes for blocks from `block` on, with the shard of these. `None`: they cannot be named together, others have to
    /// be taken.
    pub(crate) fn name(&self, epoch: Epoch, block: u64, store: &Arc<Store>, slot: u64, count: u64) -> Result<Option<u64>> {
        self.at(block, count).0.with(|state| state.slots.name(Owner::Image(epoch), store, slot, count))
    }

    /// Blocks of an image are from now on in the slots from `named` on; the data is there. All belong to one shard, as those of one [`Chain::own`] do.
    pub(crate) fn enter(&self, own: &Saved<Lazy>, epoch: Epoch, range: BlockRange, named: u64) -> Result {
        let (shard, count) = self.at(range.start, range.count);
        if count < range.count {
            return Err(Errno::EIO);
        }
        shard.with(|state| state.engine.image_enter(own, epoch, range, named).map_err(errno))
    }

    /// Whole blocks of an image read as zeros, but those that have slots.
    pub(crate) fn zero(&self, own: &Saved<Lazy>, epoch: Epoch, range: BlockRange) -> Result<u64> {
        self.for_parts(range, |state, part| state.engine.image_zero(own, epoch, part).map_err(|_| Errno::ENOMEM))
    }

    /// Nobody needs what whole blocks held at the take. How many began to read as zeros.
    pub(crate) fn free(&self, own: &Saved<Lazy>, epoch: Epoch, range: BlockRange) -> Result<u64> {
        self.for_parts(range, |state, part| {
            let Some((engine, saved)) = state.engine() else { return Ok(0) };
            engine.free(saved, own, epoch, part).map_err(|_| Errno::ENOMEM)
        })
    }
}
