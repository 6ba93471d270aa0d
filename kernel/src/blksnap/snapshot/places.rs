// SPDX-License-Identifier: GPL-2.0-only

//! Which difference storages a snapshot may have, by what lies where.

use alloc::sync::Arc;

use kern::errno::{Errno, Result};
use kern::pr_err;

use crate::device::Device;
use crate::registry::{self, Lists};
use crate::store::Store;

/// One more storage. `ESRCH`; `EINVAL`: it lies on one of the devices, or is for larger blocks than the images are. Sleeps.
pub(crate) fn add_store(id: &[u8; 16], store: Arc<Store>) -> Result {
    let registry = registry::get()?;
    // Dropped after the lock: the last reference to a storage closes it.
    let (others, stores);
    let mut lists = registry.lock();
    let snapshot = lists.snapshot(id).ok_or(Errno::ESRCH)?.clone();
    others = lists.stores()?;
    check_store(&lists, &others, &store)?;
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

/// Whether a device can be in a snapshot that has this storage. `EINVAL`.
pub(super) fn check_place(store: &Store, device: &Device) -> Result {
    if !device.is_gone() && store.lies_on(device.block_device()) {
        pr_err!("the difference storage lies on a device of the snapshot; choose another place, or give the file by its extents");
        return Err(Errno::EINVAL);
    }
    Ok(())
}
