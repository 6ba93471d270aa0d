// SPDX-License-Identifier: GPL-2.0-only

//! A snapshot's difference storage: where the old content of written blocks goes.
//!
//! One for all devices of a snapshot. It is a row of slots of 4 KiB, handed out in order by [`StoreSpace`] and never taken back.
//! What a slot is, the [`Backend`] says: a page, or 4 KiB of a file or of a block device.
//!
//! Contexts: everything here runs in process context. A file grows on a worker of its own, ahead of use.

pub(crate) mod memory;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use blksnap_core::store::StoreSpace;
use kern::bdev::{BlockDevice, Open};
use kern::errno::{Errno, Result};
use kern::file::{File, Opened};
use kern::misc::{param, Param};
use kern::pr_warn;
use kern::sync::{Class, RcuArc, SpinLock};
use kern::worker::{Queue, Work, Worker};

use memory::Memory;

/// Bytes of a slot.
pub(crate) const SLOT: u64 = 4096;

/// What the slots are.
pub(crate) enum Backend {
    /// Pages.
    Memory(Memory),
    /// A file, by its I/O functions.
    File(File),
    /// A block device that is ours alone.
    Device(Open),
}

/// A difference storage.
pub(crate) struct Store {
    backend: RcuArc<Backend>,
    space: SpinLock<StoreSpace>,
    grower: Worker<Store>,
    growing: AtomicBool,
    limited: bool,
}

/// What came of asking for slots.
pub(crate) enum Slots {
    /// The first of them.
    At(u64),
    /// Ask again: the storage is growing.
    Later,
    /// There are none left.
    Full,
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
                Store::of(Backend::Device(device), StoreSpace::new(slots, slots, 0), limit != 0)
            }
            Opened::File(file) => {
                let mut portion = (u64::from(param(Param::StorePortion)) * 512 / SLOT).max(1).min(most);
                // A file system with less room than a portion still serves.
                while let Err(e) = file.allocate(0, portion * SLOT) {
                    portion /= 2;
                    if e != Errno::ENOSPC || portion < 64 {
                        return Err(e);
                    }
                }
                Store::of(Backend::File(file), StoreSpace::new(portion, most, portion), limit != 0)
            }
        }
    }

    fn of(backend: Backend, space: StoreSpace, limited: bool) -> Result<Arc<Store>> {
        let store = Store {
            backend: RcuArc::empty(),
            space: SpinLock::new(Class::Store, space)?,
            grower: Worker::new(Queue::Slow)?,
            growing: AtomicBool::new(false),
            limited,
        };
        store.backend.replace(Some(kern::alloc::try_arc(backend)?));
        let store = kern::alloc::try_arc(store)?;
        store.grower.start(&store);
        Ok(store)
    }

    /// What the slots are; `EIO` when it is closed. Another reference, so that closing waits for nobody.
    pub(crate) fn backend(&self) -> Result<Arc<Backend>> {
        self.backend.get().ok_or(Errno::EIO)
    }

    /// Runs `f` with the block device that it is, or that its file lies on.
    pub(crate) fn on_device<R>(&self, f: impl FnOnce(&BlockDevice) -> R) -> Option<R> {
        match &*self.backend().ok()? {
            Backend::Memory(_) => None,
            Backend::File(file) => file.on_device(f),
            Backend::Device(own) => Some(f(own)),
        }
    }

    /// The same, when its I/O must suit that device.
    pub(crate) fn on_direct<R>(&self, f: impl FnOnce(&BlockDevice) -> R) -> Option<R> {
        match &*self.backend().ok()? {
            Backend::File(file) if !file.is_direct() => None,
            _ => self.on_device(f),
        }
    }

    /// Whether it is on `device`, which then must not be in the snapshot: each copy would write to what is copied.
    pub(crate) fn lies_on(&self, device: &BlockDevice) -> bool {
        self.on_device(|own| own.overlaps(device)).unwrap_or(false)
    }

    /// Whether it is a block device that overlaps `device`. Its writes are ours, and nobody tracks or copies for them: so such a device
    /// can be neither tracked nor in a snapshot.
    pub(crate) fn is_on(&self, device: &BlockDevice) -> bool {
        self.backend().is_ok_and(|b| matches!(&*b, Backend::Device(own) if own.overlaps(device)))
    }

    /// Whether both use the same file.
    pub(crate) fn same_file(&self, other: &Store) -> bool {
        match (self.backend(), other.backend()) {
            (Ok(a), Ok(b)) => matches!((&*a, &*b), (Backend::File(a), Backend::File(b)) if a.same(b)),
            _ => false,
        }
    }

    /// Takes `count` slots that follow each other.
    pub(crate) fn allocate(&self, count: u32) -> Slots {
        let (slot, full, wants) = self.space.with(|space| {
            let slot = space.allocate(count);
            (slot, space.full(count), space.wants_growth().is_some())
        });
        if wants {
            self.grower.kick();
        }
        match slot {
            Some(slot) => Slots::At(slot),
            None if full => Slots::Full,
            None => Slots::Later,
        }
    }

    /// Bytes there are, in use, and at most (0: no limit).
    pub(crate) fn sizes(&self) -> (u64, u64, u64) {
        self.space.with(|s| {
            let limit = if self.limited { s.limit().saturating_mul(SLOT) } else { 0 };
            (s.capacity() * SLOT, s.used() * SLOT, limit)
        })
    }

    /// Bytes of kernel memory it holds.
    pub(crate) fn memory(&self) -> u64 {
        match self.backend().as_deref() {
            Ok(Backend::Memory(m)) => m.bytes(),
            _ => 0,
        }
    }

    /// Gives up what it holds, after the last I/O. Sleeps.
    pub(crate) fn close(&self) {
        self.grower.stop();
        self.backend.replace(None);
    }
}

impl Work for Store {
    /// Grows, as far as it is wanted.
    fn run(&self) {
        let Ok(backend) = self.backend() else { return };
        let Backend::File(file) = &*backend else { return };
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
        }
        self.growing.store(false, Ordering::Release);
    }
}
