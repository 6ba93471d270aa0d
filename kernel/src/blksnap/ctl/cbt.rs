// SPDX-License-Identifier: GPL-2.0-only

//! Commands to a device's change tracking.

use alloc::sync::Arc;

use blksnap_core::cbt::ConsumerError;
use blksnap_uapi::ctl::{CbtDirty, CbtInfo, CbtMap, SectorRange};
use blksnap_uapi::extended::{self, CbtExtents, CbtState, Consumer, Extent};
use blksnap_uapi::Abi;
use kern::errno::{Errno, Result};
use kern::user::UserPtr;

use super::RANGES_MOST;
use crate::device::Device;
use crate::tracking::Tracking;

/// Bytes of the map, or of extents, that go to the caller at once, so that no lock is held meanwhile.
const SLICE: usize = 1024;

pub(super) fn info(device: &Device) -> Result<CbtInfo> {
    let tracking = current(device)?;
    let history = tracking.history.lock();
    let upstream = history.upstream();
    Ok(CbtInfo {
        device_capacity: tracking.capacity(),
        block_size: tracking.block_size(),
        block_count: u32::try_from(tracking.marks.block_count()).map_err(|_| Errno::EOVERFLOW)?,
        generation_id: upstream.generation,
        changes_number: upstream.changes_number,
        ..CbtInfo::ZERO
    })
}

/// The tracking, after a look at the device's size and medium.
fn current(device: &Device) -> Result<Arc<Tracking>> {
    device.tracking_for(device.block_device())
}

pub(super) fn map(device: &Device, asked: CbtMap) -> Result {
    let tracking = current(device)?;
    let end = u64::from(asked.offset) + u64::from(asked.length);
    if end > tracking.marks.block_count() {
        return Err(Errno::ENODATA);
    }
    let to = UserPtr::new(asked.buffer);
    let mut slice = [0; SLICE];
    let mut at = u64::from(asked.offset);
    while at < end {
        let n = (end - at).min(SLICE as u64) as usize;
        let bytes = slice.get_mut(..n).unwrap_or_default();
        tracking.history.lock().upstream_bytes(&tracking.marks, at, bytes);
        to.add(at - u64::from(asked.offset)).write(bytes)?;
        at += n as u64;
    }
    Ok(())
}

pub(super) fn dirty(device: &Device, asked: CbtDirty) -> Result {
    let tracking = current(device)?;
    let from = UserPtr::new(asked.dirty_sectors);
    if asked.count > RANGES_MOST {
        return Err(Errno::EINVAL);
    }
    // All of it is checked before any of it is done.
    for mark in [false, true] {
        for i in 0..u64::from(asked.count) {
            let mut bytes = [0; SectorRange::SIZE];
            from.add(i * SectorRange::SIZE as u64).read(&mut bytes)?;
            let range = SectorRange::from_bytes(&bytes);
            if range.offset.checked_add(range.count).is_none_or(|end| end > tracking.sectors) {
                return Err(Errno::EINVAL);
            }
            if mark {
                tracking.mark(range.offset, range.count);
            }
        }
    }
    Ok(())
}

pub(super) fn state(device: &Device, asked: CbtState) -> Result<CbtState> {
    let tracking = current(device)?;
    let history = tracking.history.lock();
    Ok(CbtState {
        size: asked.size,
        block_size: tracking.block_size(),
        capacity: tracking.capacity(),
        generation: history.generation(),
        number: history.number(),
        block_count: tracking.marks.block_count(),
        memory: (history.memory_bytes() + tracking.marks.memory_bytes()) as u64,
    })
}

pub(super) fn extents(device: &Device, mut asked: CbtExtents) -> Result<CbtExtents> {
    const EACH: usize = Extent::SIZE;
    let tracking = current(device)?;
    let capacity = tracking.capacity();
    let block = u64::from(tracking.block_size());
    let to = UserPtr::new(asked.extents);
    let room = u64::from(asked.count);
    let mut at = asked.offset / block;
    let mut filled = 0_u64;
    {
        // Also of a caller that wants no extents, or whose offset is none of this device any more.
        let history = tracking.history.lock();
        if history.generation() != asked.generation {
            return Err(Errno::ESTALE);
        }
        if asked.base > history.number() {
            return Err(Errno::ERANGE);
        }
    }
    while filled < room && at < tracking.marks.block_count() {
        let mut slice = [0; SLICE];
        let most = (room - filled).min((SLICE / EACH) as u64) as usize;
        let mut n = 0;
        {
            let history = tracking.history.lock();
            at = history.changed_since(&tracking.marks, asked.base, at, &mut |first, count| {
                let offset = first * block;
                let extent = Extent { offset, length: (count * block).min(capacity.saturating_sub(offset)) };
                if let Some(place) = slice.get_mut(n * EACH..(n + 1) * EACH) {
                    extent.write_to(place);
                    n += 1;
                }
                n < most
            });
        }
        to.add(filled * EACH as u64).write(slice.get(..n * EACH).unwrap_or_default())?;
        filled += n as u64;
        if n < most {
            at = tracking.marks.block_count();
        }
    }
    asked.count = filled as u32;
    asked.next = (at * block).min(capacity);
    Ok(asked)
}

pub(super) fn consumer(device: &Device, mut asked: Consumer) -> Result<Consumer> {
    let tracking = current(device)?;
    let mut history = tracking.history.lock();
    match asked.op {
        extended::BLKSNAP_CONSUMER_GET => asked.number = history.consumer(&asked.name).ok_or(Errno::ENOENT)?,
        extended::BLKSNAP_CONSUMER_SET => {
            if history.generation() != asked.generation {
                return Err(Errno::ESTALE);
            }
            history.set_consumer(&asked.name, asked.number).map_err(|e| match e {
                ConsumerError::Full => Errno::ENOSPC,
                ConsumerError::Number => Errno::ERANGE,
                ConsumerError::Memory => Errno::ENOMEM,
            })?;
        }
        extended::BLKSNAP_CONSUMER_REMOVE => {
            if !history.remove_consumer(&asked.name) {
                return Err(Errno::ENOENT);
            }
        }
        extended::BLKSNAP_CONSUMER_LIST => {
            let (name, number) = history.consumer_at(asked.index as usize).ok_or(Errno::ENOENT)?;
            (asked.name, asked.number) = (*name, number);
        }
        _ => return Err(Errno::EINVAL),
    }
    asked.generation = history.generation();
    Ok(asked)
}
