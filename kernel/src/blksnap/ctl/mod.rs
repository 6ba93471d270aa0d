// SPDX-License-Identifier: GPL-2.0-only

//! Commands to a device: `BLKFILTER_CTL` of the filter `blksnap`.
//!
//! Numbers below 64 are those that existing clients know; the others are ours and begin with their size (see `blksnap_uapi`).

mod cbt;

use blksnap_uapi::compat::{self, CbtDirty32};
use blksnap_uapi::ctl::{self, CbtDirty, CbtInfo, SnapshotAdd, SnapshotInfo};
use blksnap_uapi::extended::{self, Add, CbtExtents, CbtState, Consumer, Extent, Free, ImageStat};
use blksnap_uapi::{Abi, Versioned};
use kern::errno::{Errno, Result};
use kern::misc::is_compat;
use kern::user::UserPtr;

use crate::device::Device;
use crate::snapshot;

/// Ranges that can be marked in one command.
const RANGES_MOST: u32 = 1 << 20;

pub(crate) fn command(device: &Device, cmd: u32, opt: UserPtr, optlen: &mut u32) -> Result {
    match cmd {
        ctl::BLKFILTER_CTL_BLKSNAP_CBTINFO => {
            let size = if is_compat() { compat::CBTINFO_SIZE } else { CbtInfo::SIZE };
            answer(opt, optlen, &cbt::info(device)?, size)
        }
        ctl::BLKFILTER_CTL_BLKSNAP_CBTMAP => cbt::map(device, question(opt, *optlen)?),
        ctl::BLKFILTER_CTL_BLKSNAP_CBTDIRTY => cbt::dirty(device, ranges(opt, *optlen)?),
        ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD => snapshot::add(&question::<SnapshotAdd>(opt, *optlen)?.id, device, false),
        ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO => answer(opt, optlen, &snapshot_info(device), SnapshotInfo::SIZE),
        extended::BLKFILTER_CTL_BLKSNAP_CBT_STATE => {
            let asked = read_versioned::<CbtState>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &cbt::state(device, asked)?)
        }
        extended::BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS => {
            let asked = read_versioned::<CbtExtents>(opt, Some(*optlen))?;
            write_versioned(opt, asked.size, &cbt::extents(device, asked)?)
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
            write_versioned(opt, asked.size, &cbt::consumer(device, asked)?)
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

/// The ranges to be marked, as the caller's compiler lays them out.
fn ranges(opt: UserPtr, optlen: u32) -> Result<CbtDirty> {
    if is_compat() && optlen as usize == CbtDirty32::SIZE {
        return Ok(question::<CbtDirty32>(opt, optlen)?.into());
    }
    question(opt, optlen)
}

/// Writes a struct of fixed size, which has `size` bytes to its caller.
fn answer<T: Abi>(opt: UserPtr, optlen: &mut u32, value: &T, size: usize) -> Result {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..size).ok_or(Errno::EINVAL)?;
    if (*optlen as usize) < size {
        return Err(Errno::EINVAL);
    }
    value.write_to(bytes);
    opt.write(bytes)?;
    *optlen = size as u32;
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

fn snapshot_info(device: &Device) -> SnapshotInfo {
    snapshot::find(device, None, |_, member| SnapshotInfo {
        error_code: member.image.as_ref().and_then(|i| i.failure()).map_or(0, Errno::to_c),
        image: member.disk.as_ref().map_or([0; 32], |d| d.name()),
    })
    .unwrap_or(SnapshotInfo::ZERO)
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
            stat.pool_waits = engine.pool_waits;
            stat.pool_wait_ns = engine.pool_wait_ns;
            stat.pool_wait_longest_ns = engine.pool_wait_longest_ns;
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
