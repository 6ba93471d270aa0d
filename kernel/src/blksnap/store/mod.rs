// SPDX-License-Identifier: GPL-2.0-only

//! Difference storage: where the old content of written blocks goes, and what is written to images.
//!
//! A [`Store`] is a row of slots of 4 KiB, handed out in order by [`StoreSpace`] and never taken back. What a slot is, the [`Backend`]
//! says: a page, or 4 KiB of a file or of a block device. A snapshot has one or more of them, its [`Stores`].
//!
//! A store is open as long as somebody has a reference: its snapshot, and each chain in which an older snapshot still
//! needs what lies there. The last reference is dropped where sleeping on I/O is allowed.
//!
//! Contexts: everything here runs in process context. A file grows on a worker of its own, ahead of use.

mod backend;
pub(crate) mod extents;
pub(crate) mod memory;
mod stores;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use blksnap_core::store::StoreSpace;
use kern::bdev::{BlockDevice, Open};
use kern::errno::{Errno, Result};
use kern::file::{File, Opened};
use kern::misc::{monotonic_ns, param, Param};
use kern::pr_warn;
use kern::sync::{Class, SpinLock, Wait};
use kern::worker::{Queue, Work, Worker};

use crate::registry;
pub(crate) use backend::Backend;
use extents::Extents;
use memory::Memory;
pub(crate) use stores::{Got, Stores};

/// Bytes of a slot.
pub(crate) const SLOT: u64 = 4096;

/// Half a portion that a file system could still give is not asked for below this many slots.
const PORTION_LEAST: u64 = 64;

/// One difference storage.
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    space: SpinLock<StoreSpace>,
    grower: Worker<Inner>,
    growing: AtomicBool,
    grown: Wait,
    limited: bool,
    backend: Backend,
}

/// What came of asking a storage for slots.
pub(crate) enum Slots {
    /// The first of them.
    At(u64),
    /// Ask again: the storage is growing.
    Later,
    /// There are none left.
    Full,
}

/// How full it is; in slots.
#[derive(Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) capacity: u64,
    pub(crate) used: u64,
    /// At most; with `limited` false there is no limit.
    pub(crate) limit: u64,
    pub(crate) limited: bool,
    /// Milliseconds, or `u64::MAX`.
    pub(crate) full_in_ms: u64,
}

impl Store {
    /// In memory; `limit` in bytes, 0: half of what is free. Sleeps.
    pub(crate) fn in_memory(limit: u64) -> Result<Arc<Store>> {
        let limit = if limit == 0 { kern::misc::free_memory() / 2 } else { limit };
        let slots = limit / SLOT;
        Store::of(Backend::Memory(Memory::new()?), StoreSpace::new(slots, slots, 0), true)
    }

    /// In what is at `path`, a string that ends in NUL; `limit` in bytes, 0: none. Sleeps, with I/O.
    pub(crate) fn at_path(path: &[u8], limit: u64) -> Result<Arc<Store>> {
        let most = if limit == 0 { u64::MAX / SLOT } else { limit / SLOT };
        match File::open(path)? {
            Opened::BlockDevice => {
                let device = Open::exclusive(path)?;
                let slots = (device.sectors() * 512 / SLOT).min(most);
                Store::of(Backend::Device(device), StoreSpace::new(slots, slots, 0), true)
            }
            Opened::File(file) => {
                let mut portion = (u64::from(param(Param::StorePortion)) * 512 / SLOT).max(1).min(most);
                // A file system with less room than a portion still serves.
                while let Err(e) = file.allocate(0, portion * SLOT) {
                    portion /= 2;
                    if e != Errno::ENOSPC || portion < PORTION_LEAST {
                        return Err(e);
                    }
                }
                Store::of(Backend::File(file), StoreSpace::new(portion, most, portion), limit != 0)
            }
        }
    }

    /// In the blocks of a file; see [`Extents::new`]. Sleeps, with I/O.
    pub(crate) fn in_extents(fd: i32, wanted: &[(u64, u64)], limit: u64) -> Result<Arc<Store>> {
        let extents = Extents::new(fd, wanted)?;
        let slots = if limit == 0 { extents.slots() } else { extents.slots().min(limit / SLOT) };
        Store::of(Backend::Extents(extents), StoreSpace::new(slots, slots, 0), true)
    }

    fn of(backend: Backend, space: StoreSpace, limited: bool) -> Result<Arc<Store>> {
        let inner = kern::alloc::try_arc(Inner {
            space: SpinLock::new(Class::Store, space)?,
            grower: Worker::new(Queue::Growth)?,
            growing: AtomicBool::new(false),
            grown: Wait::new()?,
            limited,
            backend,
        })?;
        let store = kern::alloc::try_arc(Store { inner })?;
        store.inner.grower.start(&store.inner);
        Ok(store)
    }

    /// What the slots are.
    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    /// Whether I/O on the file system of `device` is needed to store: so `device` must not be in the snapshot, as each copy would write to
    /// what is copied.
    pub(crate) fn lies_on(&self, device: &BlockDevice) -> bool {
        match self.backend() {
            Backend::Memory(_) | Backend::Extents(_) => false,
            Backend::File(file) => file.on_device(|own| own.overlaps(device)).unwrap_or(false),
            Backend::Device(own) => own.overlaps(device),
        }
    }

    /// Whether it is a block device that overlaps `device`. Its writes are ours, and nobody tracks or copies for them: so such a device
    /// can be neither tracked nor in a snapshot.
    pub(crate) fn is_on(&self, device: &BlockDevice) -> bool {
        matches!(self.backend(), Backend::Device(own) if own.overlaps(device))
    }

    /// The blocks of a pinned file.
    pub(crate) fn extents(&self) -> Option<&Extents> {
        match self.backend() {
            Backend::Extents(extents) => Some(extents),
            _ => None,
        }
    }

    /// Whether both use the same file.
    pub(crate) fn same_file(&self, other: &Store) -> bool {
        match (self.backend(), other.backend()) {
            (Backend::File(a), Backend::File(b)) => a.same(b),
            (Backend::Extents(a), Backend::Extents(b)) => a.same(b),
            _ => false,
        }
    }

    /// Takes `count` slots that follow each other.
    pub(crate) fn allocate(&self, count: u32) -> Slots {
        let now_ms = monotonic_ns() / 1_000_000;
        let (slot, full, wants) = self.inner.space.with(|space| {
            space.tick(now_ms);
            let slot = space.allocate(count);
            (slot, space.full(count), space.wants_growth().is_some())
        });
        if wants {
            self.inner.grower.kick();
        }
        match slot {
            Some(slot) => Slots::At(slot),
            None if full => Slots::Full,
            None => Slots::Later,
        }
    }

    /// Waits until it has grown, at most `ms` milliseconds. Sleeps.
    pub(crate) fn wait_for_growth(&self, ms: u32) {
        let growing = || self.inner.space.with(|s| s.wants_growth().is_some());
        let _ = self.inner.grown.until(ms, false, || !growing());
    }

    /// How full it is now.
    pub(crate) fn fill(&self) -> Fill {
        let now_ms = monotonic_ns() / 1_000_000;
        self.inner.space.with(|s| {
            s.tick(now_ms);
            Fill {
                capacity: s.capacity(),
                used: s.used(),
                limit: s.limit(),
                limited: self.inner.limited,
                full_in_ms: s.full_in_ms(),
            }
        })
    }

    /// Whether it is to be told that space is low; `was`: it was told.
    pub(crate) fn is_low(&self, was: bool) -> bool {
        self.inner.space.with(|s| s.low(was))
    }

    /// Bytes of kernel memory it holds.
    pub(crate) fn memory(&self) -> u64 {
        match self.backend() {
            Backend::Memory(m) => m.bytes(),
            _ => 0,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(extents) = self.extents() {
            // What is in its blocks now was written past the tracking.
            registry::mark_changed(extents);
        }
        // Gives back the worker's reference, so that the backend is closed with ours.
        self.inner.grower.stop();
    }
}

impl Work for Inner {
    /// Grows, as far as it is wanted.
    fn run(&self) {
        let Backend::File(file) = &self.backend else { return };
        if self.growing.swap(true, Ordering::Acquire) {
            return;
        }
        while let Some((from, slots)) = self.space.with(|s| s.wants_growth().map(|n| (s.capacity(), n))) {
            match kern::file::without_io(|| file.allocate(from * SLOT, slots * SLOT)) {
                Ok(()) => self.space.with(|s| s.grown(slots)),
                Err(e) => {
                    pr_warn!("difference storage cannot grow by {} MiB: {e}", slots * SLOT >> 20);
                    self.space.with(StoreSpace::stop_growing);
                }
            }
            self.grown.wake();
        }
        self.growing.store(false, Ordering::Release);
    }
}
