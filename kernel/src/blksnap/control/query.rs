// SPDX-License-Identifier: GPL-2.0-only

//! Questions to `/dev/blksnap-control`: what there is, and how it is. Nothing changes by them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::cow::Policy;
use blksnap_uapi::control::{SnapshotCollect, Version};
use blksnap_uapi::extended::{self, Devices, Features, Members, SnapshotStat};
use blksnap_uapi::Abi;
use kern::errno::{Errno, Result};
use kern::user::UserPtr;
use kern::vec::TryPush;

use super::write;
use crate::ctl::{read_versioned, write_versioned};
use crate::registry;
use crate::snapshot::Phase;

pub(super) fn version(arg: UserPtr) -> Result {
    write(arg, &Version { major: 0, minor: 1, revision: 0, build: 0 })
}

/// Its first member alone is answered, which is where it is for every caller.
pub(super) fn collect(arg: UserPtr, asked: SnapshotCollect) -> Result {
    let mut ids = Vec::new();
    for snapshot in &registry::get()?.lock().snapshots {
        ids.try_push(snapshot.id).map_err(|_| Errno::ENOMEM)?;
    }
    let count = (ids.len() as u32).to_ne_bytes();
    let to = UserPtr::new(asked.ids);
    if to.is_null() {
        return arg.write(&count);
    }
    if (asked.count as usize) < ids.len() {
        arg.write(&count)?;
        return Err(Errno::ENODATA);
    }
    for (i, id) in ids.iter().enumerate() {
        to.add(i as u64 * 16).write(id)?;
    }
    arg.write(&count)
}

pub(super) fn features(arg: UserPtr) -> Result {
    let asked = read_versioned::<Features>(arg, None)?;
    let answer = Features {
        size: asked.size,
        abi: extended::BLKSNAP_ABI,
        features: extended::BLKSNAP_FEATURE_MEMORY_STORE
            | extended::BLKSNAP_FEATURE_EXTENTS
            | extended::BLKSNAP_FEATURE_BOUND
            | extended::BLKSNAP_FEATURE_WRITABLE_IMAGE
            | extended::BLKSNAP_FEATURE_SHARED
            | extended::BLKSNAP_FEATURE_FREE
            | extended::BLKSNAP_FEATURE_CONSUMERS
            | extended::BLKSNAP_FEATURE_POLICY
            | extended::BLKSNAP_FEATURE_STORE_ADD
            | extended::BLKSNAP_FEATURE_STORE_EXTENTS
            | extended::BLKSNAP_FEATURE_MEMBERS
            | extended::BLKSNAP_FEATURE_PREDICTION
            | extended::BLKSNAP_FEATURE_POLL
            | extended::BLKSNAP_FEATURE_ATTACH_FORCE,
        block_size: 4096,
        ..Features::ZERO
    };
    write_versioned(arg, asked.size, &answer)
}

pub(super) fn stat(arg: UserPtr) -> Result {
    let asked = read_versioned::<SnapshotStat>(arg, None)?;
    let snapshot = registry::get()?.snapshot(&asked.id).ok_or(Errno::ESRCH)?;
    let stores = snapshot.stores()?;
    let sizes = stores.sizes();
    let inner = snapshot.inner.lock();
    let images = || inner.members.iter().filter_map(|m| m.image.as_ref());
    let failure = images().find_map(|image| image.failure());
    let state = match (inner.phase, failure) {
        (_, Some(_)) => extended::BLKSNAP_STATE_FAILED,
        (Phase::Taken, None) => extended::BLKSNAP_STATE_TAKEN,
        _ => extended::BLKSNAP_STATE_CREATED,
    };
    let memory = images().map(|image| image.memory() + image.chain.figures().memory).sum::<u64>();
    let answer = SnapshotStat {
        size: asked.size,
        state,
        id: asked.id,
        error: failure.map_or(0, Errno::to_c),
        devices: inner.members.len() as u32,
        gate_ns: inner.gate_ns,
        taken_ns: inner.taken_ns,
        store_capacity: sizes.capacity,
        store_used: sizes.used,
        store_limit: sizes.limit,
        memory: memory + stores.memory(),
        full_in_ms: sizes.full_in_ms,
        policy: match snapshot.wishes.policy {
            Policy::Hold => extended::BLKSNAP_POLICY_HOLD,
            Policy::GiveUp => extended::BLKSNAP_POLICY_GIVE_UP,
        },
        ..SnapshotStat::ZERO
    };
    drop(inner);
    write_versioned(arg, asked.size, &answer)
}

pub(super) fn devices(arg: UserPtr) -> Result {
    let mut asked = read_versioned::<Devices>(arg, None)?;
    let mut all = Vec::new();
    {
        let registry = registry::get()?;
        let lists = registry.lock();
        for device in &lists.devices {
            let tracking = device.tracking()?;
            let history = tracking.history.lock();
            let (major, minor) = device.number();
            let entry = extended::Device {
                major,
                minor,
                capacity: tracking.capacity(),
                generation: history.generation(),
                number: history.number(),
                snapshot: [0; 16],
                block_size: tracking.block_size(),
                snapshots: 0,
            };
            drop(history);
            all.try_push((device.clone(), entry)).map_err(|_| Errno::ENOMEM)?;
        }
        for snapshot in &lists.snapshots {
            let inner = snapshot.inner.lock();
            for (device, entry) in &mut all {
                if inner.members.iter().any(|m| Arc::ptr_eq(&m.device, device)) {
                    entry.snapshot = snapshot.id;
                    entry.snapshots += 1;
                }
            }
        }
    }
    let filled = fill(&mut asked.count, asked.entries, all.iter().map(|(_, entry)| entry));
    write_versioned(arg, asked.size, &asked)?;
    filled
}

pub(super) fn members(arg: UserPtr) -> Result {
    let mut asked = read_versioned::<Members>(arg, None)?;
    let snapshot = registry::get()?.snapshot(&asked.id).ok_or(Errno::ESRCH)?;
    let mut all = Vec::new();
    for member in &snapshot.inner.lock().members {
        let (major, minor) = member.device.number();
        let entry = extended::Member {
            major,
            minor,
            error: member.image.as_ref().and_then(|image| image.failure()).map_or(0, Errno::to_c),
            flags: 0,
            image: member.disk.as_ref().map_or([0; 32], |disk| disk.name()),
            number: member.image.as_ref().map_or(0, |image| image.number),
        };
        all.try_push(entry).map_err(|_| Errno::ENOMEM)?;
    }
    let filled = fill(&mut asked.count, asked.entries, all.iter());
    write_versioned(arg, asked.size, &asked)?;
    filled
}

/// Fills the caller's array of `count` entries at `to`; `count` says then how many there are. `ENODATA` where they have no room, and nothing
/// is written. Sleeps.
fn fill<'a, T: Abi + 'a>(count: &mut u32, to: u64, all: impl ExactSizeIterator<Item = &'a T>) -> Result {
    let room = core::mem::replace(count, all.len() as u32);
    if (room as usize) < all.len() {
        return Err(Errno::ENODATA);
    }
    for (i, entry) in all.enumerate() {
        write(UserPtr::new(to).add((i * T::SIZE) as u64), entry)?;
    }
    Ok(())
}
