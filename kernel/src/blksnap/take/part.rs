// SPDX-License-Identifier: GPL-2.0-only

//! One device's part of a take: its image, made before the gate and shown after it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::bdev::Open;
use kern::disk::Disk;
use kern::errno::{Errno, Result};
use kern::misc::{param, Param};
use kern::pr_err;

use crate::chain::{Chain, Layer};
use crate::device::Device;
use crate::image::Image;
use crate::snapshot::Snapshot;
use crate::store::{Store, Stores, SLOT};

/// Blocks of memory for copies that a chain has at least and at most.
const POOL_LEAST: u32 = 64;
const POOL_MOST: u32 = 1 << 16;

/// One device's part. Taken apart when dropped before it was handed over.
pub(super) struct Part {
    pub(super) device: Arc<Device>,
    image: Option<Arc<Image>>,
    disk: Option<Arc<Disk>>,
}

impl Part {
    /// Makes the image and its disk, and the device's chain ready. `share`: how many devices share the memory for copies. Sleeps.
    /// `ENODEV`: the device went away; `EAGAIN`: its chain ended; `EOPNOTSUPP`: its blocks are too large.
    pub(super) fn new(device: &Arc<Device>, snapshot: &Snapshot, stores: &Arc<Stores>, share: u32) -> Result<Part> {
        if device.is_gone() {
            return Err(Errno::ENODEV);
        }
        let image = join(device, snapshot, stores, share)?;
        let mut part = Part { device: device.clone(), image: Some(image.clone()), disk: None };
        let origin = part.origin()?;
        let (logical, dma) = image.asks();
        if u64::from(logical) > SLOT {
            pr_err!("the device, or the difference storage, has blocks of {logical} bytes; more than {SLOT} are not supported");
            return Err(Errno::EOPNOTSUPP);
        }
        part.disk = Some(kern::alloc::try_arc(Disk::new(&origin, logical, dma, image.chain.sectors(), &image)?)?);
        Ok(part)
    }

    pub(super) fn image(&self) -> Result<&Arc<Image>> {
        self.image.as_ref().ok_or(Errno::EIO)
    }

    /// The device, open. `EAGAIN`: its chain ended meanwhile.
    pub(super) fn origin(&self) -> Result<Arc<Open>> {
        self.image()?.chain.origin().map_err(|_| Errno::EAGAIN)
    }

    /// Gives image and disk to the snapshot.
    pub(super) fn hand_over(&mut self) -> (Option<Arc<Image>>, Option<Arc<Disk>>) {
        (self.image.take(), self.disk.take())
    }

    /// Calls `f` with the ranges of the device that hold storages' own files: first sector and sectors.
    pub(super) fn left_out(&self, pinned: &[Arc<Store>], mut f: impl FnMut(u64, u64)) -> Result {
        let origin = self.origin()?;
        for extents in pinned.iter().filter_map(|store| store.extents()) {
            extents.ranges_on(&origin).for_each(|(sector, sectors)| f(sector, sectors));
        }
        Ok(())
    }

    /// After the instant: the image appears, without the storages' own files. Sleeps. `ENODEV`, `ESTALE`: the device went away, or has another size.
    pub(super) fn show(&self, pinned: &[Arc<Store>]) -> Result {
        if self.device.is_gone() {
            return Err(Errno::ENODEV);
        }
        let image = self.image()?;
        let now = self.device.tracking_for(&*self.origin()?)?;
        if !Arc::ptr_eq(&now, &image.chain.tracking) {
            return Err(Errno::ESTALE);
        }
        let mut result = Ok(());
        self.left_out(pinned, |sector, sectors| {
            now.mark(sector, sectors);
            result = result.and_then(|()| leave_out(image, sector, sectors));
        })?;
        result?;
        self.disk.as_ref().map_or(Ok(()), |disk| disk.add())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(image) = self.image.take() else { return };
        image.shut();
        self.disk = None;
        image.close();
    }
}

/// An image for a device's next take: of the chain that it has, or of a new one.
fn join(device: &Arc<Device>, snapshot: &Snapshot, stores: &Arc<Stores>, share: u32) -> Result<Arc<Image>> {
    device.tracking_for(&*Open::by_number(device.number())?)?;
    let old = device.chain().filter(|chain| chain.failure().is_none());
    let (chain, fresh) = match old {
        Some(chain) => (chain, false),
        None => {
            let kib = match snapshot.wishes.copy_memory_kib {
                0 => param(Param::CopyMemory),
                kib => kib,
            };
            let pool_blocks = (kib / 4 / share.max(1)).clamp(POOL_LEAST, POOL_MOST);
            (Chain::new(device, pool_blocks, snapshot.wishes.policy)?, true)
        }
    };
    let image = Layer::new(&chain).and_then(|layer| Image::new(&layer, stores)).inspect_err(|_| {
        if fresh {
            chain.close();
        }
    })?;
    // From here on the image's end is the chain's, if nobody else has it.
    image.prepare().inspect_err(|_| image.close())?;
    Ok(image)
}

/// The order in which file systems are frozen and gates are closed: who is frozen first still has everything that it waits for.
///
/// A loop device is finished by writes to the file system that its file is on: it goes before the others, and the highest of them first.
/// A device and what it is made of are in one snapshot when the latter was attached by force: the upper one goes first, and of several
/// mappings the one made last. Where that is not so the gate of the upper one is not passed in time, and the take is refused.
/// The file system that holds a storage's file goes last: what the others write meanwhile has to be stored.
pub(super) fn stacked_first(parts: &mut [Part], stores: &[Arc<Store>]) -> Result {
    const LOOP_MAJOR: u32 = 7;
    let mut keys = Vec::new();
    keys.try_reserve_exact(parts.len()).map_err(|_| Errno::ENOMEM)?;
    for part in parts.iter() {
        let origin = part.origin()?;
        let (major, minor) = part.device.number();
        let order = match (major, stores.iter().any(|store| store.lies_on(&origin))) {
            (LOOP_MAJOR, _) => (0, u32::MAX - minor),
            (_, false) => (3 - origin.height().min(2), u32::MAX - minor),
            (_, true) => (4, minor),
        };
        let _ = kern::vec::TryPush::try_push(&mut keys, ((major, minor), order));
    }
    parts.sort_unstable_by_key(|part| {
        let number = part.device.number();
        keys.iter().find(|(of, _)| *of == number).map_or((1, 0), |(_, order)| *order)
    });
    Ok(())
}

/// Before the image appears, and before anything is stored there for it.
fn leave_out(image: &Image, sector: u64, sectors: u64) -> Result {
    const SLOT_SECTORS: u64 = SLOT / 512;
    if sector % SLOT_SECTORS != 0 || sectors % SLOT_SECTORS != 0 {
        pr_err!("the blocks of the difference storage do not begin at a multiple of 4 KiB of the device; use another storage");
        return Err(Errno::EINVAL);
    }
    image.free(sector * 512, sectors * 512).map(|_| ())
}
