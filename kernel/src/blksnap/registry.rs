// SPDX-License-Identifier: GPL-2.0-only

//! All tracked devices and all snapshots. The lock is held for look-ups and changes of the lists only, never while sleeping on I/O.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::errno::{Errno, Result};
use kern::sync::{Class, Mutex, MutexGuard, RcuArc};
use kern::vec::TryPush;

use crate::device::Device;
use crate::snapshot::Snapshot;

static REGISTRY: RcuArc<Registry> = RcuArc::empty();

/// The lists.
pub(crate) struct Lists {
    pub(crate) devices: Vec<Arc<Device>>,
    pub(crate) snapshots: Vec<Arc<Snapshot>>,
}

/// What the module knows.
pub(crate) struct Registry {
    lists: Mutex<Lists>,
    /// Held by a take between the closing and the opening of its gate: one at a time.
    pub(crate) gate: Mutex<()>,
}

/// The registry, while the module is loaded.
pub(crate) fn get() -> Result<Arc<Registry>> {
    REGISTRY.get().ok_or(Errno::ENODEV)
}

impl Registry {
    pub(crate) fn start() -> Result {
        let lists = Lists { devices: Vec::new(), snapshots: Vec::new() };
        let registry = Registry { lists: Mutex::new(Class::Registry, lists)?, gate: Mutex::new(Class::Gate, ())? };
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

    pub(crate) fn add_snapshot(&mut self, snapshot: Arc<Snapshot>) -> Result {
        self.snapshots.try_push(snapshot).map_err(|_| Errno::ENOMEM)
    }

    pub(crate) fn remove_snapshot(&mut self, snapshot: &Snapshot) {
        self.snapshots.retain(|s| !core::ptr::eq(s.as_ref(), snapshot));
    }
}
