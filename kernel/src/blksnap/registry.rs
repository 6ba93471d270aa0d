// SPDX-License-Identifier: GPL-2.0-only

//! All tracked devices and all snapshots. The lock is held for look-ups and changes of the lists only, never while sleeping on I/O.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use kern::errno::{Errno, Result};
use kern::sync::{Class, Mutex, MutexGuard, RcuArc, Wait};
use kern::vec::TryPush;

use crate::device::Device;
use crate::snapshot::Snapshot;
use crate::store::extents::Extents;
use crate::store::Store;

static REGISTRY: RcuArc<Registry> = RcuArc::empty();

/// The lists.
pub(crate) struct Lists {
    pub(crate) devices: Vec<Arc<Device>>,
    pub(crate) snapshots: Vec<Arc<Snapshot>>,
    /// Storages that somebody needs, also those of snapshots that are gone.
    stores: Vec<Weak<Store>>,
}

/// What the module knows.
pub(crate) struct Registry {
    lists: Mutex<Lists>,
    /// Takes that have ended, and those who wait for one.
    pub(crate) takes: AtomicU32,
    pub(crate) take_ended: Wait,
    /// Held by a take between the closing and the opening of its gate: one at a time.
    pub(crate) gate: Mutex<()>,
}

/// The registry, while the module is loaded.
pub(crate) fn get() -> Result<Arc<Registry>> {
    REGISTRY.get().ok_or(Errno::ENODEV)
}

impl Registry {
    pub(crate) fn start() -> Result {
        let lists = Lists { devices: Vec::new(), snapshots: Vec::new(), stores: Vec::new() };
        let registry = Registry {
            lists: Mutex::new(Class::Registry, lists)?,
            takes: AtomicU32::new(0),
            take_ended: Wait::new()?,
            gate: Mutex::new(Class::Gate, ())?,
        };
        REGISTRY.replace(Some(kern::alloc::try_arc(registry)?));
        Ok(())
    }

    pub(crate) fn end() {
        REGISTRY.replace(None);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock()
    }

    pub(crate) fn snapshot(&self, id: &[u8; 16]) -> Option<Arc<Snapshot>> {
        self.lock().snapshot(id).cloned()
    }
}

impl Lists {
    pub(crate) fn snapshot(&self, id: &[u8; 16]) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().find(|s| s.id == *id)
    }

    pub(crate) fn add_device(&mut self, device: Arc<Device>) -> Result {
        self.devices.try_push(device).map_err(|_| Errno::ENOMEM)
    }

    pub(crate) fn remove_device(&mut self, device: &Device) {
        self.devices.retain(|d| !core::ptr::eq(d.as_ref(), device));
    }

    pub(crate) fn add_store(&mut self, store: &Arc<Store>) -> Result {
        self.stores.retain(|store| store.strong_count() > 0);
        self.stores.try_push(Arc::downgrade(store)).map_err(|_| Errno::ENOMEM)
    }

    /// All storages; to be dropped without the lock, as the last reference closes one.
    pub(crate) fn stores(&self) -> Result<Vec<Arc<Store>>> {
        let mut all = Vec::new();
        for store in self.stores.iter().filter_map(Weak::upgrade) {
            all.try_push(store).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(all)
    }

    pub(crate) fn add_snapshot(&mut self, snapshot: Arc<Snapshot>) -> Result {
        self.snapshots.try_push(snapshot).map_err(|_| Errno::ENOMEM)
    }

    pub(crate) fn remove_snapshot(&mut self, snapshot: &Snapshot) {
        self.snapshots.retain(|s| !core::ptr::eq(s.as_ref(), snapshot));
    }
}

/// Marks the blocks of a pinned file as changed, on each tracked device that has some of them. Sleeps.
pub(crate) fn mark_changed(extents: &Extents) {
    let Ok(registry) = get() else { return };
    let lists = registry.lock();
    // A device that is listed is attached: its end waits for the lock.
    for device in &lists.devices {
        let Ok(tracking) = device.tracking() else { continue };
        for (sector, sectors) in extents.ranges_on(device.block_device()) {
            tracking.mark(sector, sectors);
        }
    }
}
