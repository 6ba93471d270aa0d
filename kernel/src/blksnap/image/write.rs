// SPDX-License-Identifier: GPL-2.0-only

//! Writes to an image: they go to slots of the snapshot's storages, and show in this image alone.
//!
//! A write gets its turn when no earlier one has a block in common (the engine sees to it), and is then carried out by the
//! worker at once. Whole blocks need no copy; partial ones are filled from the image before. A block that has a slot is written in place.

use alloc::sync::Arc;

use blksnap_core::{BlockRange, BLOCK_SECTORS};
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::misc::{monotonic_ns, param, Param};
use kern::page::Page;
use kern::vec::TryPush;

use super::block::cut;
use super::{Image, State, BLOCK};
use crate::chain::Place;
use crate::store::{Got, Store};

/// Blocks that are written to a storage at once.
const RUN_MOST: u64 = 256;
/// Blocks that begin to read as zeros under one lock: 1 GiB.
pub(super) const ZERO_MOST: u64 = 1 << 18;
/// How often a write that waits for a storage to grow looks whether the snapshot has ended.
const GROWTH_MS: u32 = 100;

impl Image {
    /// A write waits for its turn.
    pub(super) fn queue_write(&self, state: &mut State, id: u32, range: BlockRange) {
        // The chain's worker waits for this lock, and so it is not held while reclaiming.
        let most = state.requests.len() as usize;
        let room = kern::file::without_reclaim(|| self.granted.lock().try_reserve(most)).map_err(|_| Errno::ENOMEM);
        match room.and_then(|()| self.chain.image_write(self.epoch(), id, range)) {
            Ok(token) => {
                if let Some(request) = state.requests.get_mut(id) {
                    request.token = token;
                }
            }
            Err(e) => {
                if let Some(request) = state.requests.remove(id) {
                    // The engine of a snapshot that has failed refuses it for no reason of its own.
                    self.end_request(request.bio, Err(if self.is_over() { Errno::EIO } else { e }));
                }
            }
        }
    }

    /// A write's turn has come. Called by the chain's worker, under its lock; there is room. Sleeps for a lock alone.
    pub(crate) fn grant(&self, request: u32) {
        let _ = self.granted.lock().try_push(request);
        self.worker.kick();
    }

    /// Carries out the writes whose turn has come.
    pub(super) fn turns(&self, state: &mut State) -> bool {
        let mut any = false;
        loop {
            let Some(id) = self.granted.lock().pop() else { return any };
            any = true;
            let Some(request) = state.requests.remove(id) else { continue };
            let result = self.write(&request.bio);
            self.chain.image_done(request.token);
            self.end_request(request.bio, result);
        }
    }

    fn write(&self, bio: &Bio) -> Result {
        let range = BlockRange::of_sectors(bio.sector(), bio.sectors());
        let mut block = range.start;
        while block < range.end() {
            if self.is_over() {
                return Err(Errno::EIO);
            }
            let (place, own, run) = self.chain.own(self.epoch(), block, range.end() - block)?;
            block += match (bio.op(), place) {
                (Op::Write, Some(place)) => {
                    let at = cut(bio, block, place.run);
                    place.store.backend().transfer(&self.waited, true, place.slot, at.skip, bio, at.from, at.len)?;
                    place.run
                }
                (Op::Write, None) => self.write_fresh(bio, block, run)?,
                // A hint, where there is data.
                (Op::Discard, Some(place)) => place.run,
                (_, Some(place)) => self.clear_slots(bio, block, &place)?,
                (op, None) => self.clear(bio, block, run, own || op == Op::Discard)?,
            };
        }
        Ok(())
    }

    /// Writes blocks that have no slots yet. How many.
    fn write_fresh(&self, bio: &Bio, block: u64, run: u64) -> Result<u64> {
        let whole = whole_blocks(bio, block, run);
        if whole == 0 {
            let mut page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
            self.read_block(block, &mut page)?;
            let at = cut(bio, block, 1);
            page.copy_from(at.skip as u32, bio, at.from, at.len);
            self.put(block, page)?;
            return Ok(1);
        }
        let (store, slot, named, n) = self.slots(block, whole.min(RUN_MOST))?;
        let at = cut(bio, block, n);
        store.backend().fill(&self.waited, slot, bio, at.from, at.len)?;
        self.chain.enter(&self.own, self.epoch(), BlockRange { start: block, count: n }, named)?;
        Ok(n)
    }

    /// A block's new content, that has no slot yet.
    fn put(&self, block: u64, page: Page) -> Result {
        let (store, slot, named, _) = self.slots(block, 1)?;
        store.backend().write_page(&self.waited, slot, page)?;
        self.chain.enter(&self.own, self.epoch(), BlockRange { start: block, count: 1 }, named)
    }

    /// Zeros to blocks that have slots. How many.
    fn clear_slots(&self, bio: &Bio, block: u64, place: &Place) -> Result<u64> {
        let backend = place.store.backend();
        let at = cut(bio, block, 1);
        let mut page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
        if u64::from(at.len) < BLOCK {
            backend.read_page(&self.waited, place.slot, &mut page)?;
        }
        page.zero(at.skip as u32, at.len);
        backend.write_page(&self.waited, place.slot, page)?;
        Ok(1)
    }

    /// Zeros to blocks that have no slots; a part of a block only if it is not `zero` already, or may stay as it is. How many.
    fn clear(&self, bio: &Bio, block: u64, run: u64, zero: bool) -> Result<u64> {
        let whole = whole_blocks(bio, block, run).min(ZERO_MOST);
        if whole > 0 {
            self.chain.zero(&self.own, self.epoch(), BlockRange { start: block, count: whole })?;
            return Ok(whole);
        }
        if !zero {
            let mut page = Page::alloc(true).ok_or(Errno::ENOMEM)?;
            self.read_block(block, &mut page)?;
            let at = cut(bio, block, 1);
            page.zero(at.skip as u32, at.len);
            self.put(block, page)?;
        }
        Ok(1)
    }

    /// Slots of the snapshot's storages that follow each other, for blocks from `block` on: `most`, or as many as there are. With the engine's number of the
    /// first.
    /// Waits for a storage that grows. Sleeps.
    fn slots(&self, block: u64, most: u64) -> Result<(Arc<Store>, u64, u64, u64)> {
        let stores = self.stores()?;
        let end_ns = monotonic_ns() + u64::from(param(Param::StoreTimeout).max(1)) * 1_000_000_000;
        let mut count = most;
        loop {
            match stores.allocate(count as u32) {
                Got::At(store, slot) => {
                    if let Some(named) = self.chain.name(self.epoch(), block, &store, slot, count)? {
                        return Ok((store, slot, named, count));
                    }
                }
                Got::Later(_) if self.is_over() => return Err(Errno::EIO),
                Got::Later(store) if monotonic_ns() < end_ns => store.wait_for_growth(GROWTH_MS),
                _ if count > 1 => count /= 2,
                _ => return Err(Errno::ENOSPC),
            }
        }
    }
}

/// Blocks from `block` on, at most `run`, of which a request has all.
fn whole_blocks(bio: &Bio, block: u64, run: u64) -> u64 {
    if block * BLOCK_SECTORS < bio.sector() {
        return 0;
    }
    ((bio.sector() + bio.sectors()) / BLOCK_SECTORS).saturating_sub(block).min(run)
}
