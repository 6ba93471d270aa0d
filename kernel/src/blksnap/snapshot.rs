// SPDX-License-Identifier: GPL-2.0-only

//! A snapshot's life: created, devices added, taken, destroyed.
//!
//! # States
//!
//! 1. Created: devices can be added. 2. Taking: one thread is at it; nothing else may change it. 3. Taken: images are there.
//! 4. Destroyed: out of the registry; one thread takes it apart.
//!
//! The state and the members change under the registry's lock only.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::disk::Disk;
use kern::errno::{Errno, Result};
use kern::misc::uuid;
use kern::pr_err;
use kern::sync::{Class, Mutex};
use kern::vec::TryPush;

use crate::cow::Cow;
use crate::device::Device;
use crate::events::Events;
use crate::registry::{self, Registry};
use crate::store::Store;

/// How far a snapshot is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Taking,
    Taken,
    Destroyed,
}

/// A device in a snapshot.
pub(crate) struct Member {
    pub(crate) device: Arc<Device>,
    pub(crate) cow: Option<Arc<Cow>>,
    pub(crate) disk: Option<Arc<Disk>>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) phase: Phase,
    pub(crate) members: Vec<Member>,
    /// To be destroyed at the end of the take: its owner went away meanwhile.
    pub(crate) abandoned: bool,
    pub(crate) gate_ns: u64,
    pub(crate) taken_ns: u64,
}

/// A snapshot.
pub(crate) struct Snapshot {
    pub(crate) id: [u8; 16],
    pub(crate) store: Arc<Store>,
    pub(crate) events: Arc<Events>,
    pub(crate) gate_timeout_ms: u32,
    pub(crate) inner: Mutex<Inner>,
}

/// Makes a snapshot without devices. Sleeps.
pub(crate) fn create(store: Arc<Store>, gate_timeout_ms: u32) -> Result<Arc<Snapshot>> {
    let made = (|| {
        let inner = Inner { phase: Phase::Created, members: Vec::new(), abandoned: false, gate_ns: 0, taken_ns: 0 };
        kern::alloc::try_arc(Snapshot {
            id: uuid(),
            store: store.clone(),
            events: kern::alloc::try_arc(Events::new()?)?,
            gate_timeout_ms,
            inner: Mutex::new(Class::Snapshot, inner)?,
        })
    })();
    let added = made.and_then(|snapshot| {
        let registry = registry::get()?;
        let mut lists = registry.lock();
        if lists.snapshots.iter().any(|s| s.store.same_file(&store)) {
            pr_err!("the file is the difference storage of another snapshot; choose another one");
            return Err(Errno::EBUSY);
        }
        if lists.devices.iter().any(|d| !d.is_gone() && store.is_on(d.block_device())) {
            pr_err!("the block device is tracked, so that it cannot be difference storage; detach it or choose another one");
            return Err(Errno::EBUSY);
        }
        lists.add_snapshot(snapshot.clone())?;
        Ok(snapshot)
    });
    if added.is_err() {
        store.close();
    }
    added
}

/// Adds a device to a created snapshot.
pub(crate) fn add(id: &[u8; 16], device: &Device) -> Result {
    let registry = registry::get()?;
    let lists = registry.lock();
    let device = lists.devices.iter().find(|d| core::ptr::eq(d.as_ref(), device)).ok_or(Errno::ENODEV)?;
    let snapshot = lists.snapshot(id).ok_or(Errno::ESRCH)?;
    for other in &lists.snapshots {
        if other.inner.lock().members.iter().any(|m| Arc::ptr_eq(&m.device, device)) {
            return Err(if other.id == *id { Errno::EALREADY } else { Errno::EBUSY });
        }
    }
    if snapshot.store.lies_on(device.block_device()) {
        pr_err!("the difference storage lies on the device that is to be in the snapshot; choose another place for it");
        return Err(Errno::EINVAL);
    }
    let mut inner = snapshot.inner.lock();
    if inner.phase != Phase::Created {
        return Err(Errno::EBUSY);
    }
    inner.members.try_push(Member { device: device.clone(), cow: None, disk: None }).map_err(|_| Errno::ENOMEM)
}

/// Destroys a snapshot whose owner went away, now or when the take that another one began has ended. Sleeps.
pub(crate) fn abandon(id: &[u8; 16]) {
    if let Some(snapshot) = registry::get().ok().and_then(|r| r.snapshot(id)) {
        snapshot.inner.lock().abandoned = true;
    }
    // Gone already if somebody destroyed it; being taken if the taker will.
    let _ = destroy(id);
}

/// Destroys a snapshot: its images go, writers are not held any more, memory and storage are free. Sleeps.
/// `ENODEV`: there is none; `EBUSY`: it is being taken.
pub(crate) fn destroy(id: &[u8; 16]) -> Result {
    let registry = registry::get()?;
    let snapshot = {
        let lists = registry.lock();
        let snapshot = lists.snapshot(id).ok_or(Errno::ENODEV)?.clone();
        {
            let mut inner = snapshot.inner.lock();
            match inner.phase {
                Phase::Taking => return Err(Errno::EBUSY),
                Phase::Destroyed => return Err(Errno::ENODEV),
                Phase::Created | Phase::Taken => inner.phase = Phase::Destroyed,
            }
        }
        // It stays listed until its devices are free, so that nobody adds them meanwhile.
        snapshot
    };
    take_apart(&registry, &snapshot);
    Ok(())
}

fn take_apart(registry: &Registry, snapshot: &Snapshot) {
    snapshot.events.close();
    let members = {
        let mut inner = snapshot.inner.lock();
        inner.members.iter_mut().for_each(|m| {
            // Failed first: from the moment that writes pass unseen, the image must not answer.
            if let Some(cow) = &m.cow {
                cow.fail(Errno::ESHUTDOWN);
            }
            m.device.set_cow(None);
        });
        core::mem::take(&mut inner.members)
    };
    for mut member in members {
        // The image's device goes, then I/O under way is waited for.
        drop(member.disk.take());
        if let Some(cow) = member.cow.take() {
            cow.close();
        }
    }
    snapshot.store.close();
    registry.lock().remove_snapshot(snapshot);
}

/// At module unload. Sleeps.
pub(crate) fn destroy_all() {
    let Ok(registry) = registry::get() else { return };
    loop {
        let next = registry.lock().snapshots.first().map(|s| s.id);
        match next {
            Some(id) => {
                let _ = destroy(&id);
            }
            None => return,
        }
    }
}

/// Whether the device is in a snapshot that is taken, or about to be.
pub(crate) fn holds_taken(device: &Device) -> bool {
    find(device, |_, inner, _| inner.phase != Phase::Created).unwrap_or(false)
}

/// The device is going: out of a snapshot that is not taken.
pub(crate) fn forget_device(device: &Device) {
    let Ok(registry) = registry::get() else { return };
    for snapshot in &registry.lock().snapshots {
        let mut inner = snapshot.inner.lock();
        if inner.phase == Phase::Created {
            inner.members.retain(|m| !core::ptr::eq(m.device.as_ref(), device));
        }
    }
}

/// Calls `f` with the snapshot that the device is in.
pub(crate) fn find<R>(device: &Device, f: impl FnOnce(&Snapshot, &Inner, &Member) -> R) -> Option<R> {
    let registry = registry::get().ok()?;
    let lists = registry.lock();
    for snapshot in &lists.snapshots {
        let inner = snapshot.inner.lock();
        if let Some(member) = inner.members.iter().find(|m| core::ptr::eq(m.device.as_ref(), device)) {
            return Some(f(snapshot, &inner, member));
        }
    }
    None
}
