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
use kern::misc::{Param, param};
use kern::pr_warn;
use kern::sync::{Class, SpinLock};
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
    pub(crate) backend: Backend,
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
            backend,
            space: SpinLock::new(Class::Store, space)?,
            grower: Worker::new(Queue::Slow)?,
            growing: AtomicBool::new(false),
            limited,
        };
        let store = kern::alloc::try_arc(store)?;
        store.grower.start(&store);
        Ok(store)
    }

    /// Whether it lies on `device`, which then must not be in the snapshot: each copy would write to what is copied.
    pub(crate) fn lies_on(&self, device: &BlockDevice) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::File(file) => file.on_device(|under| under.overlaps(device)).unwrap_or(false),
            Backend::Device(own) => own.overlaps(device),
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
        match &self.backend {
            Backend::Memory(m) => m.bytes(),
            _ => 0,
        }
    }

    /// Ends the growing. Nothing may be asked of it afterwards. Sleeps.
    pub(crate) fn close(&self) {
        self.grower.stop();
    }
}

impl Work for Store {
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
        }
        self.growing.store(false, Ordering::Release);
    }
}
