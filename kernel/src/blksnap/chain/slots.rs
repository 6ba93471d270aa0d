// SPDX-License-Identifier: GPL-2.0-only

//! The engine's numbers for slots: one row of them for all storages that a chain uses.
//!
//! The row is cut into segments. A segment stands for as many slots of one storage, and belongs to whoever's data
//! lies there: copies that were made for an epoch, or what an image has of its own. It keeps its storage open; when its owner is not needed any
//! more, it goes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::cow::Epoch;
use blksnap_core::store::MAX_SLOTS;
use kern::errno::{Errno, Result};
use kern::vec::TryPush;

use crate::store::Store;

/// Slots of a segment: 32 GiB.
const SEGMENT: u64 = 1 << 23;

/// Whose data lies in a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Copies of blocks of the origin.
    Copies(Epoch),
    /// What was written to an image.
    Image(Epoch),
    /// Nobody's: to be taken away.
    Nobody,
}

struct Segment {
    owner: Owner,
    store: Arc<Store>,
    /// The storage's first slot in it.
    base: u64,
}

/// The segments of a chain.
#[derive(Default)]
pub(super) struct Slots {
    segments: Vec<Option<Segment>>,
}

/// Where a run of slots is.
pub(crate) struct Place {
    pub(crate) store: Arc<Store>,
    /// The first, in the storage.
    pub(crate) slot: u64,
    /// How many.
    pub(crate) run: u64,
}

impl Slots {
    /// The engine's number for the first of `count` slots of a storage. `None`: they are not in one segment; others have to be taken.
    /// `EFBIG`: there are no numbers left.
    pub(super) fn name(&mut self, owner: Owner, store: &Arc<Store>, slot: u64, count: u64) -> Result<Option<u64>> {
        let base = slot / SEGMENT * SEGMENT;
        if slot + count > base + SEGMENT {
            return Ok(None);
        }
        let same = |s: &Segment| s.owner == owner && s.base == base && Arc::ptr_eq(&s.store, store);
        let at = match self.segments.iter().position(|s| s.as_ref().is_some_and(same)) {
            Some(at) => at,
            None => self.insert(Segment { owner, store: store.clone(), base })?,
        };
        Ok(Some(at as u64 * SEGMENT + (slot - base)))
    }

    fn insert(&mut self, segment: Segment) -> Result<usize> {
        if let Some(at) = self.segments.iter().position(Option::is_none) {
            if let Some(place) = self.segments.get_mut(at) {
                *place = Some(segment);
            }
            return Ok(at);
        }
        let at = self.segments.len();
        if (at as u64 + 1) * SEGMENT > MAX_SLOTS {
            return Err(Errno::EFBIG);
        }
        self.segments.try_push(Some(segment)).map_err(|_| Errno::ENOMEM)?;
        Ok(at)
    }

    /// Where a slot is, and how many of `max` from it on follow there.
    pub(super) fn find(&self, slot: u64, max: u64) -> Result<Place> {
        let segment = self.segments.get((slot / SEGMENT) as usize).and_then(Option::as_ref).ok_or(Errno::EIO)?;
        let at = slot % SEGMENT;
        Ok(Place { store: segment.store.clone(), slot: segment.base + at, run: max.min(SEGMENT - at) })
    }

    /// What belongs to `owner` is not needed any more. Whether there is something to [take away](Slots::take_unused).
    pub(super) fn release(&mut self, owner: Owner) -> bool {
        let mut any = false;
        for segment in self.segments.iter_mut().flatten() {
            if segment.owner == owner {
                segment.owner = Owner::Nobody;
            }
            any |= segment.owner == Owner::Nobody;
        }
        any
    }

    /// A storage that is not needed here any more: to be dropped outside of the chain's lock, as that may close it.
    pub(super) fn take_unused(&mut self) -> Option<Arc<Store>> {
        let unused = |s: &Option<Segment>| s.as_ref().is_some_and(|s| s.owner == Owner::Nobody);
        self.segments.iter_mut().find(|s| unused(s))?.take().map(|s| s.store)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        (self.segments.capacity() * size_of::<Option<Segment>>()) as u64
    }
}
