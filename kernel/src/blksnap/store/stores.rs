// SPDX-License-Identifier: GPL-2.0-only

//! The difference storages of a snapshot: used one after the other, in the order in which they were given.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kern::bdev::BlockDevice;
use kern::errno::{Errno, Result};
use kern::sync::{Class, Mutex};
use kern::vec::TryPush;

use super::{Backend, Fill, Slots, Store, SLOT};
use crate::events::{Events, What};

/// Storages of a snapshot.
const MOST: usize = 64;

/// All of them, for all devices of the snapshot.
pub(crate) struct Stores {
    list: Mutex<Vec<Arc<Store>>>,
    events: Arc<Events>,
    /// Somebody wants to be told when space is low.
    warns: bool,
    /// It was told that space is low, and still is.
    told: AtomicBool,
}

/// What came of asking for slots.
pub(crate) enum Got {
    /// In which storage, and the first of them.
    At(Arc<Store>, u64),
    /// Ask again when this one has grown.
    Later(Arc<Store>),
    /// There are none left.
    Full,
}

/// All of it together; in bytes.
pub(crate) struct Sizes {
    pub(crate) capacity: u64,
    pub(crate) used: u64,
    /// 0: no limit.
    pub(crate) limit: u64,
    /// Milliseconds until it is full, or `u64::MAX`.
    pub(crate) full_in_ms: u64,
}

impl Stores {
    /// `warns`: the event that space is low is wanted.
    pub(crate) fn new(first: Arc<Store>, events: Arc<Events>, warns: bool) -> Result<Arc<Stores>> {
        let mut list = Vec::new();
        list.try_push(first).map_err(|_| Errno::ENOMEM)?;
        kern::alloc::try_arc(Stores { list: Mutex::new(Class::Stores, list)?, events, warns, told: AtomicBool::new(false) })
    }

    /// One more. `ENOSPC`: there are too many. Sleeps.
    pub(crate) fn add(&self, store: Arc<Store>) -> Result {
        // The fast worker may wait for this lock.
        kern::file::without_reclaim(|| {
            let mut list = self.list.lock();
            if list.len() >= MOST {
                return Err(Errno::ENOSPC);
            }
            list.try_push(store).map_err(|_| Errno::ENOMEM)
        })
    }

    /// Takes `count` slots that follow each other, of the first storage that has them. Sleeps for locks alone.
    pub(crate) fn allocate(&self, count: u32) -> Got {
        let (mut got, was) = (Got::Full, self.told.load(Ordering::Relaxed));
        let low = {
            let list = self.list.lock();
            for store in list.iter() {
                match store.allocate(count) {
                    Slots::At(slot) => {
                        got = Got::At(store.clone(), slot);
                        break;
                    }
                    Slots::Later if matches!(got, Got::Full) => got = Got::Later(store.clone()),
                    Slots::Later | Slots::Full => {}
                }
            }
            self.warns && list.iter().all(|s| s.is_low(was))
        };
        if self.told.swap(low, Ordering::AcqRel) != low && low {
            let sizes = self.sizes();
            self.events.push(What::LowSpace { used: sizes.used, limit: sizes.limit, full_in_ms: sizes.full_in_ms });
        }
        got
    }

    /// Whether the first one is in memory. Sleeps for the lock alone.
    pub(crate) fn begins_in_memory(&self) -> bool {
        self.list.lock().first().is_some_and(|s| matches!(s.backend(), Backend::Memory(_)))
    }

    /// The first error that `check` has for one of them.
    pub(crate) fn all(&self, mut check: impl FnMut(&Store) -> Result) -> Result {
        self.list.lock().iter().try_for_each(|s| check(s))
    }

    /// What I/O of an image has to suit, with `logical` bytes and `dma` of the origin: the strictest of all.
    pub(crate) fn asks(&self, origin: &BlockDevice) -> (u32, u32) {
        let mut asked = (origin.logical_block(), origin.dma_mask());
        for store in self.list.lock().iter() {
            let (logical, dma) = store.backend().asks();
            asked = (asked.0.max(logical), asked.1 | dma);
        }
        asked
    }

    /// How full it is, all together.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut all = Sizes { capacity: 0, used: 0, limit: 0, full_in_ms: u64::MAX };
        let (mut limited, mut left) = (true, 0_u64);
        let mut filling: Option<Fill> = None;
        for store in self.list.lock().iter() {
            let fill = store.fill();
            all.capacity += fill.capacity * SLOT;
            all.used += fill.used * SLOT;
            all.limit = all.limit.saturating_add(fill.limit.saturating_mul(SLOT));
            limited &= fill.limited;
            left += fill.limit - fill.used;
            if fill.full_in_ms != u64::MAX && fill.used < fill.limit {
                filling = Some(fill);
            }
        }
        if !limited {
            all.limit = 0;
        }
        if let Some(fill) = filling {
            // The others fill at the same rate when their turn comes.
            let own = fill.limit - fill.used;
            let total =
                fill.full_in_ms.checked_mul(left).map_or_else(|| (fill.full_in_ms / own).saturating_mul(left), |t| t / own);
            all.full_in_ms = total.min(u64::MAX - 1);
        } else if left == 0 {
            all.full_in_ms = 0;
        }
        all
    }

    /// Bytes of kernel memory they hold.
    pub(crate) fn memory(&self) -> u64 {
        self.list.lock().iter().map(|s| s.memory()).sum()
    }
}
