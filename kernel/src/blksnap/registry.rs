// SPDX-License-Identifier: GPL-2.0-only

//! All tracked devices and all snapshots. The lock is held for look-ups and changes of the lists only, never while sleeping on I/O.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kern::errno::{Errno, Result};
use kern::sync::{Class, Mutex, MutexGuard, RcuArc, Wait};
use kern::vec::TryPush;

use crate::device::Device;
use crate::snapshot::Snapshot;
use crate::store::extents::Extents;
use crate::store::Store;
use crate::take::Freezers;

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
    /// Goes up when a take has ended, or has passed its gate.
    pub(crate) takes: AtomicU32,
    /// Whoever waits for that.
    take_wait: Wait,
    /// A take has its turn at freezing and at the gate.
    pub(crate) at_gate: AtomicBool,
    /// File systems of takes that have ended, on devices that stand still.
    pub(crate) freezers: Freezers,
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
            take_wait: Wait::new()?,
            at_gate: AtomicBool::new(false),
            freezers: Mutex::new(Class::Freezer, Vec::new())?,
        };
        REGISTRY.replace(Some(kern::alloc::try_arc(registry)?));
        Ok(())
    }

    pub(crate) fn end() {
        if let Some(registry) = REGISTRY.replace(None) {
            crate::take::end(&registry.freezers);
        }
    }

    /// Tells those who wait for a take.
    pub(crate) fn take_ended(&self) {
        self.takes.fetch_add(1, Ordering::SeqCst);
        self.take_wait.wake();
    }

    /// Waits for a take to end or to pass its gate, at most `ms` milliseconds. Sleeps; `EINTR`.
    pub(crate) fn wait_for_take(&self, ms: u32, ready: impl Fn() -> bool) -> Result {
        self.take_wait.until(ms, true, ready).map(|_| ())
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

    /// One more. What lies in a pinned file's blocks changes past the tracking from now on, and is told as changed here and by each take that
    /// finds the storage listed: one that goes while a take begins may not be found any more.
    pub(crate) fn add_store(&mut self, store: &Arc<Store>) -> Result {
        self.stores.retain(|store| store.strong_count() > 0);
        self.stores.try_push(Arc::downgrade(store)).map_err(|_| Errno::ENOMEM)?;
        if let Some(extents) = store.extents() {
            self.mark_changed(extents);
        }
        Ok(())
    }

    /// Marks the blocks of a pinned file as changed, on each tracked device that has some of them. Sleeps.
    fn mark_changed(&self, extents: &Extents) {
        // A device that is listed is attached: its end waits for the lock.
        for device in &self.devices {
            let Ok(tracking) = device.tracking() else { continue };
            for (sector, sectors) in extents.ranges_on(device.block_device()) {
                tracking.mark(sector, sectors);
            }
        }
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
    if let Ok(registry) = get() {
        registry.lock().mark_changed(extents);
    }
}
