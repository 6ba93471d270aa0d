// SPDX-License-Identifier: GPL-2.0-only

//! An epoch as writers and images see it without a lock: which blocks were saved since its take.
//!
//! # States
//!
//! 1. Made before the gate: nobody sees it. 2. Newest: in its device's `live`, writers ask it; copies set its bits.
//! 3. Followed: a later take made another one the newest. Its bits stand still. An image of this take, or of an earlier one, goes on
//!    along `next` to ask all later ones.
//!
//! It lives as long as an image of its take or of an earlier one does, or while it is the newest.

use alloc::sync::Arc;

use blksnap_core::cow::{LazyCell, Saved, SavedPage};
use blksnap_core::BlockRange;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::filter;
use kern::lazy::{Once, OnceArc};
use kern::sync::Atomic;
use kern::trace;
use kern::worker::List;

use super::Chain;

/// A cell for a page of saved bits.
#[derive(Default)]
pub(crate) struct Lazy(Once<SavedPage>);

impl LazyCell<SavedPage> for Lazy {
    fn get(&self) -> Option<&SavedPage> {
        self.0.get()
    }

    fn set(&self, page: SavedPage) -> core::result::Result<(), SavedPage> {
        self.0.set(page)
    }
}

/// One epoch's bits.
pub(crate) struct Layer {
    pub(crate) chain: Arc<Chain>,
    pub(crate) saved: Saved<Lazy>,
    next: OnceArc<Layer>,
}

impl Layer {
    /// For the next take of a chain. Sleeps; `ENOMEM`.
    pub(crate) fn new(chain: &Arc<Chain>) -> Result<Arc<Layer>> {
        let saved = Saved::striped(chain.blocks(), chain.stripes()).map_err(|_| Errno::ENOMEM)?;
        kern::alloc::try_arc(Layer { chain: chain.clone(), saved, next: OnceArc::new() })
    }

    /// A write of `sectors` sectors from `sector` of the device: gives it back to pass, or keeps it. Atomic.
    #[inline(always)]
    pub(crate) fn check(&self, at: &Atomic, bio: Bio, sector: u64, sectors: u64) -> Option<Bio> {
        let range = BlockRange::of_sectors(sector, sectors);
        if self.saved.covers(range) {
            return Some(bio);
        }
        trace::hold(&bio);
        let shard = self.chain.shard_for(&self.saved, range);
        let here = filter::after(at, &bio, shard);
        shard.worker.put(List::Held, bio);
        if !here {
            shard.worker.kick();
        }
        None
    }

    /// Whether no write was let pass to any of these blocks since this take. Atomic.
    pub(crate) fn untouched(&self, range: BlockRange) -> bool {
        let mut layer = self;
        loop {
            if !layer.saved.untouched(range) {
                return false;
            }
            match layer.next.get() {
                Some(next) => layer = next,
                None => return true,
            }
        }
    }

    /// Bytes of memory of an older one's bits; those of the newest are the chain's.
    pub(crate) fn memory(&self) -> u64 {
        self.next.get().map_or(0, |_| self.saved.memory_bytes() as u64)
    }

    /// Another take made `next` the newest. At the gate; once. Atomic.
    pub(super) fn follow(&self, next: &Arc<Layer>) {
        let _ = self.next.set(next.clone());
    }

    /// The first part of [`Chain::fail`], for atomic context, on the newest: images give `EIO`, writes pass. Those held wait for the rest.
    pub(crate) fn blind(&self, error: Errno) {
        // INVARIANT: the failure before the release: whoever sees writes pass also sees the failure.
        self.chain.common.mark_failed(error);
        self.saved.release_all();
    }
}

impl Drop for Layer {
    /// One after the other, not each inside of the one before: there may be many, and the stack is small.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut layer) = next.and_then(Arc::into_inner) {
            next = layer.next.take();
        }
    }
}
