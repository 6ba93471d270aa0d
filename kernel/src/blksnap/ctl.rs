// SPDX-License-Identifier: GPL-2.0-only

//! Commands to a device: `BLKFILTER_CTL` of the filter `blksnap`.
//!
//! Numbers below 64 are those that existing clients know; the others are ours and begin with their size (see `blksnap_uapi`).

use alloc::sync::Arc;

use blksnap_core::cbt::ConsumerError;
use blksnap_uapi::ctl::{self, CbtDirty, CbtInfo, CbtMap, SectorRange, SnapshotAdd, SnapshotInfo};
use blksnap_uapi::extended::{self, Add, CbtExtents, CbtState, Consumer, Extent, Free, ImageStat};
use blksnap_uapi::{Abi, Versioned};
use kern::errno::{Errno, Result};
use kern::user::UserPtr;

use crate::device::Device;
use crate::snapshot;
use crate::tracking::Tracking;

/// Bytes of the map, or of extents, that go to the caller at once, so that no lock is held meanwhile.
const SLICE: usize = 1024;

/// Ranges that can be marked in one command.
const RANGES_MOST: u32 = 1 << 20;

pub(crate) fn command(device: &Device, cmd: u32, opt: UserPtr, optlen: &mut u32) -> Result {
    match cmd {
        ctl::BLKFILTER_CTL_BLKSNAP_CBTINFO => answer(opt, optlen, &cbt_info(device)?),
        ctl::BLKFILTER_CTL_BLKSNAP_CBTMAP => cbt_map(device, question(opt, *optlen)?),
        ctl::BLKFILTER_CTL_BLKSNAP_CBTDIRTY => cbt_dirty(device, question(opt, *optlen)?),
        ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD => snapshot::add(&question::<SnapshotAdd>(opt, *optlen)?.id, device, false),
        ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO => answer(opt, optlen, &snapshot_info(device)),
        extended::BLKFILTER_CTL_BLKSNAP_CBT_STATE => {
            let asked = read_versioned::<CbtState>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &cbt_state(device, asked)?)
        }
        extended::BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS => {
            let asked = read_versioned::<CbtExtents>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &cbt_extents(device, asked)?)
        }
        extended::BLKFILTER_CTL_BLKSNAP_IMAGE_STAT => {
            let asked = read_versioned::<ImageStat>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &image_stat(device, asked)?)
        }
        extended::BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD => {
            let asked = read_versioned::<Add>(opt, Some(*optlen))?;
            if asked.flags & !extended::BLKSNAP_ADD_SHARED != 0 {
                return Err(Errno::EINVAL);
            }
            snapshot::add(&asked.id, device, asked.flags & extended::BLKSNAP_ADD_SHARED != 0)
        }
        extended::BLKFILTER_CTL_BLKSNAP_FREE => {
            let asked = read_versioned::<Free>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &free(device, asked)?)
        }
        extended::BLKFILTER_CTL_BLKSNAP_CONSUMER => {
            let asked = read_versioned::<Consumer>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &consumer(device, asked)?)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// Reads a struct of fixed size.
pub(crate) fn question<T: Abi>(opt: UserPtr, optlen: u32) -> Result<T> {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..T::SIZE).ok_or(Errno::EINVAL)?;
    if (optlen as usize) < T::SIZE {
        return Err(Errno::EINVAL);
    }
    opt.read(bytes)?;
    Ok(T::read_from(bytes))
}

fn answer<T: Abi>(opt: UserPtr, optlen: &mut u32, value: &T) -> Result {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..T::SIZE).ok_or(Errno::EINVAL)?;
    if (*optlen as usize) < T::SIZE {
        return Err(Errno::EINVAL);
    }
    value.write_to(bytes);
    opt.write(bytes)?;
    *optlen = T::SIZE as u32;
    Ok(())
}

/// Reads a struct that begins with the size its caller knows. What the caller knows and we do not must be zero.
pub(crate) fn read_versioned<T: Versioned>(opt: UserPtr, optlen: Option<u32>) -> Result<T> {
    let mut size = [0; 4];
    opt.read(&mut size)?;
    let size = u32::from_ne_bytes(size);
    if optlen.is_some_and(|len| len < size) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0; 256];
    let bytes = bytes.get_mut(..size as usize).ok_or(Errno::E2BIG)?;
    opt.read(bytes)?;
    T::from_versioned(bytes).map_err(|e| match e {
        blksnap_uapi::Mismatch::TooSmall => Errno::EINVAL,
        blksnap_uapi::Mismatch::UnknownBytes => Errno::E2BIG,
    })
}

/// Writes as much of a struct as its caller knows.
pub(crate) fn write_versioned<T: Versioned>(opt: UserPtr, size: u32, value: &T) -> Result {
    let mut bytes = [0; 256];
    let bytes = bytes.get_mut(..T::SIZE).ok_or(Errno::EINVAL)?;
    value.write_to(bytes);
    let known = (size as usize).min(T::SIZE);
    opt.write(bytes.get(..known).unwrap_or_default())
}

fn cbt_info(device: &Device) -> Result<CbtInfo> {
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

fn cbt_map(device: &Device, asked: CbtMap) -> Result {
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

fn cbt_dirty(device: &Device, asked: CbtDirty) -> Result {
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

fn snapshot_info(device: &Device) -> SnapshotInfo {
    snapshot::find(device, None, |_, member| SnapshotInfo {
        error_code: member.image.as_ref().and_then(|i| i.failure()).map_or(0, Errno::to_c),
        image: member.disk.as_ref().map_or([0; 32], |d| d.name()),
    })
    .unwrap_or(SnapshotInfo::ZERO)
}

fn cbt_state(device: &Device, asked: CbtState) -> Result<CbtState> {
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

fn cbt_extents(device: &Device, mut asked: CbtExtents) -> Result<CbtExtents> {
    const EACH: usize = Extent::SIZE;
    let tracking = current(device)?;
    let capacity = tracking.capacity();
    let block = u64::from(tracking.block_size());
    let to = UserPtr::new(asked.extents);
    let room = u64::from(asked.count);
    let mut at = asked.offset / block;
    let mut filled = 0_u64;
    while filled < room && at < tracking.marks.block_count() {
        let mut slice = [0; SLICE];
        let most = (room - filled).min((SLICE / EACH) as u64) as usize;
        let mut n = 0;
        {
            let history = tracking.history.lock();
            if history.generation() != asked.generation {
                return Err(Errno::ESTALE);
            }
            if asked.base > history.number() {
                return Err(Errno::ERANGE);
            }
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
    if room == 0 {
        let history = tracking.history.lock();
        if history.generation() != asked.generation {
            return Err(Errno::ESTALE);
        }
    }
    asked.count = filled as u32;
    asked.next = (at * block).min(capacity);
    Ok(asked)
}

fn image_stat(device: &Device, asked: ImageStat) -> Result<ImageStat> {
    let id = (asked.snapshot != [0; 16]).then_some(&asked.snapshot);
    snapshot::find(device, id, |snapshot, member| {
        let mut stat = ImageStat { size: asked.size, snapshot: snapshot.id, ..ImageStat::ZERO };
        if let Some(disk) = &member.disk {
            stat.image = disk.name();
        }
        if let Some(image) = &member.image {
            let figures = image.chain.figures();
            let engine = figures.engine;
            (stat.image_reads, stat.image_writes) = image.counts();
            stat.error = image.failure().map_or(0, Errno::to_c);
            stat.number = image.number;
            stat.copy_reads = engine.copy_reads;
            stat.copy_read_bytes = engine.copy_read_blocks * 4096;
            stat.stores = engine.stores;
            stat.store_bytes = engine.store_blocks * 4096;
            stat.held = engine.held;
            stat.saved_blocks = engine.saved_blocks;
            stat.memory = figures.memory + image.memory();
            stat.spec_blocks = engine.spec_blocks;
            stat.spec_used = engine.spec_used;
            stat.free_bytes = image.free_bytes();
            stat.pool_bytes = u64::from(engine.pool_used) * 4096;
            stat.pool_limit = u64::from(engine.pool_limit) * 4096;
        }
        stat
    })
    .ok_or(Errno::ENOENT)
}

fn free(device: &Device, mut asked: Free) -> Result<Free> {
    if asked.count > RANGES_MOST {
        return Err(Errno::EINVAL);
    }
    let image = snapshot::find(device, Some(&asked.id), |_, member| member.image.clone());
    let image = image.ok_or(Errno::ENOENT)?.ok_or(Errno::ESRCH)?;
    let from = UserPtr::new(asked.extents);
    asked.accepted = 0;
    for i in 0..u64::from(asked.count) {
        let mut bytes = [0; Extent::SIZE];
        from.add(i * Extent::SIZE as u64).read(&mut bytes)?;
        let extent = Extent::from_bytes(&bytes);
        asked.accepted += image.free(extent.offset, extent.length)?;
    }
    Ok(asked)
}

fn consumer(device: &Device, mut asked: Consumer) -> Result<Consumer> {
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
