// SPDX-License-Identifier: GPL-2.0-only

//! A snapshot's life: created, devices added, taken, destroyed.
//!
//! # States
//!
//! 1. Created: devices can be added. 2. Taking: one thread is at it; nothing else may change it. 3. Taken: images are there.
//! 4. Destroyed: out of the registry; one thread takes it apart.
//!
//! The state and the members change under the registry's lock only. A device may be in several snapshots, if each was told so;
//! those that have a device in common are taken one after the other.

mod places;

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::cow::Policy;
use kern::disk::Disk;
use kern::errno::{Errno, Result};
use kern::misc::uuid;
use kern::sync::{Class, Mutex, RcuArc};
use kern::vec::TryPush;

use crate::device::Device;
use crate::events::Events;
use crate::image::Image;
use crate::registry::{self, Lists, Registry};
use crate::store::{Store, Stores};
pub(crate) use places::add_store;
use places::{check_circle, check_place, check_store};

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
    pub(crate) image: Option<Arc<Image>>,
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

/// What its creator wants.
pub(crate) struct Wishes {
    pub(crate) gate_timeout_ms: u32,
    /// Of the chain that its take begins. Where a device has one already, that stays as it is.
    pub(crate) policy: Policy,
    /// Memory for copies, of all devices together.
    pub(crate) copy_memory_kib: u32,
    /// The event that space is low, which older clients do not know.
    pub(crate) warns: bool,
}

/// A snapshot.
pub(crate) struct Snapshot {
    pub(crate) id: [u8; 16],
    /// Gone when destroyed.
    stores: RcuArc<Stores>,
    pub(crate) events: Arc<Events>,
    pub(crate) wishes: Wishes,
    pub(crate) inner: Mutex<Inner>,
}

impl Snapshot {
    /// Its storages. `ESRCH`: it is destroyed.
    pub(crate) fn stores(&self) -> Result<Arc<Stores>> {
        self.stores.get().ok_or(Errno::ESRCH)
    }

    pub(crate) fn has(&self, device: &Device) -> bool {
        self.inner.lock().members.iter().any(|m| core::ptr::eq(m.device.as_ref(), device))
    }
}

/// Makes a snapshot without devices. Sleeps.
pub(crate) fn create(store: Arc<Store>, wishes: Wishes) -> Result<Arc<Snapshot>> {
    let inner = Inner { phase: Phase::Created, members: Vec::new(), abandoned: false, gate_ns: 0, taken_ns: 0 };
    let events = kern::alloc::try_arc(Events::new()?)?;
    let warns = wishes.warns;
    let snapshot = kern::alloc::try_arc(Snapshot {
        id: uuid(),
        stores: RcuArc::empty(),
        events: events.clone(),
        wishes,
        inner: Mutex::new(Class::Snapshot, inner)?,
    })?;
    snapshot.stores.replace(Some(Stores::new(store.clone(), events, warns)?));
    let registry = registry::get()?;
    // Dropped after the lock: the last reference to a storage closes it.
    let others;
    let mut lists = registry.lock();
    others = lists.stores()?;
    check_store(&lists, &others, &store)?;
    lists.add_store(&store)?;
    lists.add_snapshot(snapshot.clone())?;
    Ok(snapshot)
}

/// Adds a device to a created snapshot. `ELOOP`: copies would never end, see [`check_circle`]. `shared`: it may be in others, too.
pub(crate) fn add(id: &[u8; 16], device: &Device, shared: bool) -> Result {
    let registry = registry::get()?;
    // Dropped after the lock: the last reference to a storage closes it.
    let stores;
    let mut all = Vec::new();
    let lists = registry.lock();
    let device = lists.devices.iter().find(|d| core::ptr::eq(d.as_ref(), device)).ok_or(Errno::ENODEV)?;
    let snapshot = lists.snapshot(id).ok_or(Errno::ESRCH)?;
    if snapshot.has(device) {
        return Err(Errno::EALREADY);
    }
    if !shared && lists.snapshots.iter().any(|other| other.has(device)) {
        return Err(Errno::EBUSY);
    }
    stores = snapshot.stores()?;
    stores.all(|store| check_place(store, device))?;
    check_circle(&lists, snapshot, Some(device), None, &mut all)?;
    let mut inner = snapshot.inner.lock();
    if inner.phase != Phase::Created {
        return Err(Errno::EBUSY);
    }
    inner.members.try_push(Member { device: device.clone(), image: None, disk: None }).map_err(|_| Errno::ENOMEM)
}

/// Destroys a snapshot whose owner went away, now or when the take that another one began has ended. Sleeps.
pub(crate) fn abandon(id: &[u8; 16]) {
    if let Some(snapshot) = registry::get().ok().and_then(|r| r.snapshot(id)) {
        snapshot.inner.lock().abandoned = true;
    }
    // Gone already if somebody destroyed it; being taken if the taker will.
    let _ = destroy(id);
}

/// Destroys a snapshot: its images go, writers are not held for it any more, memory and storage that no other one needs are free. Sleeps.
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
    let members = core::mem::take(&mut snapshot.inner.lock().members);
    members.iter().filter_map(|m| m.image.as_ref()).for_each(|image| image.shut());
    for mut member in members {
        // The image's device goes, then its requests are waited for, then its epoch ends.
        drop(member.disk.take());
        if let Some(image) = member.image.take() {
            image.close();
        }
    }
    drop(snapshot.stores.replace(None));
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

impl Lists {
    /// Whether a snapshot with this device is being taken.
    pub(crate) fn is_taking(&self, device: &Device) -> bool {
        self.with_device(device, |_, inner, _| inner.phase == Phase::Taking).any(|taking| taking)
    }

    /// What `f` says of each snapshot that has the device.
    fn with_device<'a, R>(
        &'a self,
        device: &'a Device,
        f: impl Fn(&Snapshot, &Inner, &Member) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a {
        self.snapshots.iter().filter_map(move |snapshot| {
            let inner = snapshot.inner.lock();
            let member = inner.members.iter().find(|m| core::ptr::eq(m.device.as_ref(), device))?;
            Some(f(snapshot, &inner, member))
        })
    }
}

/// Whether the device is in a snapshot that is taken, or about to be.
pub(crate) fn holds_taken(device: &Device) -> bool {
    let Ok(registry) = registry::get() else { return false };
    let lists = registry.lock();
    let held = lists.with_device(device, |_, inner, _| inner.phase != Phase::Created).any(|held| held);
    held
}

/// The device is going: out of the snapshots that are not taken.
pub(crate) fn forget_device(device: &Device) {
    let Ok(registry) = registry::get() else { return };
    for snapshot in &registry.lock().snapshots {
        let mut inner = snapshot.inner.lock();
        if inner.phase == Phase::Created {
            inner.members.retain(|m| !core::ptr::eq(m.device.as_ref(), device));
        }
    }
}

/// Calls `f` with the snapshot of that id that the device is in; without an id, with the one taken last, or if none is, made last.
pub(crate) fn find<R>(device: &Device, id: Option<&[u8; 16]>, f: impl FnOnce(&Snapshot, &Member) -> R) -> Option<R> {
    let registry = registry::get().ok()?;
    let lists = registry.lock();
    let all = lists.with_device(device, |snapshot, _, member| (member.image.as_ref().map_or(0, |i| i.number), snapshot.id));
    let wanted = all.filter(|(_, of)| id.is_none_or(|id| id == of)).enumerate().max_by_key(|&(at, (number, _))| (number, at));
    let (_, (_, id)) = wanted?;
    let snapshot = lists.snapshot(&id)?;
    let inner = snapshot.inner.lock();
    let member = inner.members.iter().find(|m| core::ptr::eq(m.device.as_ref(), device))?;
    Some(f(snapshot, member))
}
