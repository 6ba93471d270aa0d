// SPDX-License-Identifier: GPL-2.0-only

//! Which difference storages a snapshot may have, by what lies where.

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::store::leads_back;
use kern::errno::{Errno, Result};
use kern::pr_err;
use kern::vec::TryPush;

use super::Snapshot;
use crate::device::Device;
use crate::registry::{self, Lists};
use crate::store::{Store, Stores};

/// One more storage. `ESRCH`; `EINVAL`: it lies on one of the devices, or is for larger blocks than the images are; `ELOOP`: it lies on a device
/// whose own copies come back to one of these. Sleeps.
pub(crate) fn add_store(id: &[u8; 16], store: Arc<Store>) -> Result {
    let registry = registry::get()?;
    // Dropped after the lock: the last reference to a storage closes it.
    let (others, stores);
    let mut all = Vec::new();
    let mut lists = registry.lock();
    let snapshot = lists.snapshot(id).ok_or(Errno::ESRCH)?.clone();
    others = lists.stores()?;
    check_store(&lists, &others, &store)?;
    check_circle(&lists, &snapshot, None, Some(&store), &mut all)?;
    stores = snapshot.stores()?;
    let inner = snapshot.inner.lock();
    for member in &inner.members {
        check_place(&store, &member.device)?;
        if let Some(image) = &member.image {
            let (logical, dma) = stores.asks(&*image.chain.origin()?);
            let (own_logical, own_dma) = store.backend().asks();
            if own_logical > logical || own_dma & !dma != 0 {
                pr_err!(
                    "the difference storage has larger blocks than the images, which cannot change any more; choose another one"
                );
                return Err(Errno::EINVAL);
            }
        }
    }
    drop(inner);
    lists.add_store(&store)?;
    stores.add(store.clone())
}

/// Whether a storage can be one at all. `EBUSY`: it is in use, or tracked, or what lies there is needed.
pub(super) fn check_store(lists: &Lists, others: &[Arc<Store>], store: &Store) -> Result {
    if others.iter().any(|other| other.same_file(store)) {
        pr_err!("the file is the difference storage of another snapshot; choose another one");
        return Err(Errno::EBUSY);
    }
    for device in lists.devices.iter().filter(|d| !d.is_gone()) {
        if store.is_on(device.block_device()) {
            pr_err!("the block device is tracked, so that it cannot be difference storage; detach it or choose another one");
            return Err(Errno::EBUSY);
        }
        let meets = store.extents().is_some_and(|e| e.device().overlaps(device.block_device()));
        if meets && (device.chain().is_some_and(|c| c.failure().is_none()) || lists.is_taking(device)) {
            pr_err!(
                "the file lies on a device of a taken snapshot, which may need what its blocks held; give it before the take"
            );
            return Err(Errno::EBUSY);
        }
    }
    Ok(())
}

/// Whether copies come to an end when the snapshot has one more device, or one more storage: `ELOOP`, where they would be copied in turn, and
/// so on, back to where they came from. All snapshots of a device are one here, as a chain may use the storages of each. What is put
/// into `all` is to be dropped without the registry's lock.
pub(super) fn check_circle(
    lists: &Lists,
    snapshot: &Snapshot,
    device: Option<&Device>,
    store: Option<&Store>,
    all: &mut Vec<Arc<Stores>>,
) -> Result {
    let place = |device: &Device| lists.devices.iter().position(|d| core::ptr::eq(d.as_ref(), device));
    let mut writes_to = Vec::new();
    all.try_reserve(lists.snapshots.len()).map_err(|_| Errno::ENOMEM)?;
    for other in &lists.snapshots {
        let is_it = core::ptr::eq(other.as_ref(), snapshot);
        let Ok(stores) = other.stores() else { continue };
        let mut onto = Vec::new();
        let found = kern::file::without_reclaim(|| {
            stores.all(|store| lies_on(lists, store, &mut onto))?;
            store.filter(|_| is_it).map_or(Ok(()), |store| lies_on(lists, store, &mut onto))
        });
        let _ = all.try_push(stores);
        found?;
        let inner = other.inner.lock();
        let members = inner.members.iter().map(|m| m.device.as_ref()).chain(device.filter(|_| is_it));
        for from in members.filter_map(place) {
            for to in &onto {
                writes_to.try_push((from, *to)).map_err(|_| Errno::ENOMEM)?;
            }
        }
    }
    if leads_back(lists.devices.len(), &writes_to).map_err(|_| Errno::ENOMEM)? {
        pr_err!(
            "the difference storages lie on each other's devices, so that each copy would make another one; choose another place"
        );
        return Err(Errno::ELOOP);
    }
    Ok(())
}

/// Adds the tracked devices, by their places in the list, that storing there writes to.
fn lies_on(lists: &Lists, store: &Store, onto: &mut Vec<usize>) -> Result {
    for (at, device) in lists.devices.iter().enumerate() {
        if !device.is_gone() && store.lies_on(device.block_device()) {
            onto.try_push(at).map_err(|_| Errno::ENOMEM)?;
        }
    }
    Ok(())
}

/// Whether a device can be in a snapshot that has this storage. `EINVAL`.
pub(super) fn check_place(store: &Store, device: &Device) -> Result {
    if !device.is_gone() && store.lies_on(device.block_device()) {
        pr_err!("the difference storage lies on a device of the snapshot; choose another place, or give the file by its extents");
        return Err(Errno::EINVAL);
    }
    Ok(())
}
