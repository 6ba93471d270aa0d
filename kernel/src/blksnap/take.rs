// SPDX-License-Identifier: GPL-2.0-only

//! The take: all devices of a snapshot at one instant.
//!
//! 1. Memory, origins and images are made, change histories prepared: all that may fail or last. A device that is in another taken snapshot
//!    has a chain, which the new one joins.
//! 2. File systems are frozen, so that they are clean.
//! 3. The gate of each device closes: new writes wait, those in flight and those held are waited for. Its time is bounded; past that the take
//!    fails and nothing has changed.
//! 4. The instant: each device's tracking switches, its new layer is the newest. Nothing here can fail, but for a chain that fails by itself
//!    or ends at this moment: then the take begins again.
//! 5. The gate opens, file systems thaw, the blocks of storages' own files are left out, the images appear.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use kern::bdev::{Frozen, Open};
use kern::disk::Disk;
use kern::errno::{Errno, Result};
use kern::misc::{monotonic_ns, param, real_ns, uuid, Param};
use kern::sync::{drop_retired, Retired};
use kern::vec::TryPush;
use kern::{pr_err, pr_warn, trace};

use crate::chain::{Chain, Layer};
use crate::device::Device;
use crate::image::Image;
use crate::registry::{self, Registry};
use crate::snapshot::{self, Phase, Snapshot};
use crate::store::{Store, Stores, SLOT};

/// How often a take begins again when a chain fails or ends during it.
const TRIES: u32 = 8;
/// How long a take that waits for another one sleeps at most before it looks again.
const WAIT_MS: u32 = 1000;
/// Blocks of memory for copies that a chain has at least and at most.
const POOL_LEAST: u32 = 64;
const POOL_MOST: u32 = 1 << 16;

/// One device's part. Taken apart when dropped before it was handed over.
struct Part {
    device: Arc<Device>,
    image: Option<Arc<Image>>,
    disk: Option<Arc<Disk>>,
}

impl Part {
    fn image(&self) -> Result<&Arc<Image>> {
        self.image.as_ref().ok_or(Errno::EIO)
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

/// When it was.
struct Instant {
    gate_ns: u64,
    taken_ns: u64,
}

/// Takes a snapshot. Sleeps. `ESRCH`: there is none; `EALREADY`: taken; `ENODEV`: nothing to take, or a device went away;
/// `ESTALE`: a device changed its size meanwhile; `ETIMEDOUT`: writes in flight did not end in time; `EINTR`: while another take of one of the
/// devices was waited for.
pub(crate) fn take(id: &[u8; 16]) -> Result {
    let registry = registry::get()?;
    let (snapshot, devices) = begin(&registry, id)?;
    let stores = snapshot.stores();
    let mut parts = Vec::new();
    let mut taken = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        taken = stores.as_ref().map_err(|e| *e).and_then(|stores| {
            for device in &devices {
                let part = Part { device: device.clone(), image: None, disk: None };
                parts.try_push(part).map_err(|_| Errno::ENOMEM)?;
            }
            stacked_first(&mut parts);
            take_parts(&registry, &snapshot, stores, &mut parts)
        });
        if taken.is_ok() {
            break;
        }
        // A failed take is taken apart before anybody may try again.
        drop(core::mem::take(&mut parts));
        if !matches!(taken, Err(Errno::EAGAIN)) {
            break;
        }
    }
    drop(stores);
    let (result, abandoned) = settle(&snapshot, taken, &mut parts);
    registry.takes.fetch_add(1, Ordering::SeqCst);
    registry.take_ended.wake();
    if abandoned {
        // Whoever it was bound to went away meanwhile.
        let _ = snapshot::destroy(id);
        return Err(Errno::ESRCH);
    }
    result
}

/// Makes sure that nobody else takes it, or another snapshot of one of its devices: that is waited for.
fn begin(registry: &Registry, id: &[u8; 16]) -> Result<(Arc<Snapshot>, Vec<Arc<Device>>)> {
    loop {
        let seen = registry.takes.load(Ordering::SeqCst);
        {
            let lists = registry.lock();
            let snapshot = lists.snapshot(id).ok_or(Errno::ESRCH)?.clone();
            let mut devices = Vec::new();
            {
                let inner = snapshot.inner.lock();
                match inner.phase {
                    Phase::Created => {}
                    Phase::Taking | Phase::Taken => return Err(Errno::EALREADY),
                    Phase::Destroyed => return Err(Errno::ESRCH),
                }
                for member in &inner.members {
                    devices.try_push(member.device.clone()).map_err(|_| Errno::ENOMEM)?;
                }
            }
            if devices.is_empty() {
                return Err(Errno::ENODEV);
            }
            if !devices.iter().any(|device| lists.is_taking(device)) {
                snapshot.inner.lock().phase = Phase::Taking;
                return Ok((snapshot, devices));
            }
        }
        registry.take_ended.until(WAIT_MS, true, || registry.takes.load(Ordering::SeqCst) != seen)?;
    }
}

/// Hands the parts over, or goes back to before the take.
fn settle(snapshot: &Snapshot, taken: Result<Instant>, parts: &mut [Part]) -> (Result, bool) {
    let mut inner = snapshot.inner.lock();
    let result = match taken {
        Ok(instant) => {
            for part in parts {
                if let Some(member) = inner.members.iter_mut().find(|m| Arc::ptr_eq(&m.device, &part.device)) {
                    (member.image, member.disk) = (part.image.take(), part.disk.take());
                }
            }
            (inner.gate_ns, inner.taken_ns) = (instant.gate_ns, instant.taken_ns);
            inner.phase = Phase::Taken;
            Ok(())
        }
        Err(e) => {
            inner.members.retain(|m| !m.device.is_gone());
            inner.phase = Phase::Created;
            Err(e)
        }
    };
    (result, inner.abandoned)
}

/// A loop device is finished by writes to the file system that its file is on: it is frozen and drained first, and the highest of
/// them before the others.
fn stacked_first(parts: &mut [Part]) {
    const LOOP_MAJOR: u32 = 7;
    parts.sort_unstable_by_key(|part| match part.device.number() {
        (LOOP_MAJOR, minor) => (0, u32::MAX - minor),
        (_, minor) => (1, minor),
    });
}

fn take_parts(registry: &Registry, snapshot: &Snapshot, stores: &Arc<Stores>, parts: &mut [Part]) -> Result<Instant> {
    let share = parts.len() as u32;
    for part in parts.iter_mut() {
        let image = join(&part.device, snapshot, stores, share)?;
        part.image = Some(image.clone());
        let chain = &image.chain;
        let origin = chain.origin()?;
        let (logical, dma) = stores.asks(&origin);
        part.disk = Some(kern::alloc::try_arc(Disk::new(&origin, logical, dma, chain.sectors(), &image)?)?);
    }
    let pinned = registry.lock().stores()?;
    let frozen = freeze(parts)?;
    for part in parts.iter() {
        let tracking = &part.image()?.chain.tracking;
        tracking.history.lock().prepare(&tracking.marks, uuid()).map_err(|_| Errno::ENOMEM)?;
        // What they hold changes past the tracking: before this take, and after it.
        left_out(&pinned, part, |sector, sectors| tracking.mark(sector, sectors));
    }
    let instant = gate(registry, snapshot, stores, parts);
    drop(frozen);
    let instant = instant?;
    for part in parts.iter() {
        if part.device.is_gone() {
            return Err(Errno::ENODEV);
        }
        let image = part.image()?;
        let now = part.device.tracking_for(&*image.chain.origin()?)?;
        if !Arc::ptr_eq(&now, &image.chain.tracking) {
            return Err(Errno::ESTALE);
        }
        let mut result = Ok(());
        left_out(&pinned, part, |sector, sectors| {
            now.mark(sector, sectors);
            result = result.and_then(|()| leave_out(image, sector, sectors));
        });
        result?;
        if let Some(disk) = &part.disk {
            disk.add()?;
        }
    }
    Ok(instant)
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

/// Calls `f` with the ranges of the part's device that hold storages' own files: first sector and sectors.
fn left_out(pinned: &[Arc<Store>], part: &Part, mut f: impl FnMut(u64, u64)) {
    let Ok(origin) = part.image().and_then(|image| image.chain.origin()) else { return };
    for extents in pinned.iter().filter_map(|store| store.extents()) {
        extents.ranges_on(&origin).for_each(|(sector, sectors)| f(sector, sectors));
    }
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

/// File systems that are frozen. The last one frozen is thawed first: thawing the one on a loop device writes to the one below.
struct AllFrozen(Vec<Frozen>);

impl Drop for AllFrozen {
    fn drop(&mut self) {
        while let Some(one) = self.0.pop() {
            drop(one);
        }
    }
}

fn freeze(parts: &[Part]) -> Result<AllFrozen> {
    let mut frozen = AllFrozen(Vec::new());
    for part in parts {
        let one = part.image()?.chain.origin()?.freeze().inspect_err(|e| {
            let (major, minor) = part.device.number();
            pr_warn!("cannot freeze the file system on device {major}:{minor}: {e}; no snapshot is taken");
        })?;
        frozen.0.try_push(one).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(frozen)
}

fn gate(registry: &Registry, snapshot: &Snapshot, stores: &Arc<Stores>, parts: &[Part]) -> Result<Instant> {
    let mut retired = Vec::new();
    retired.try_reserve_exact(parts.len()).map_err(|_| Errno::ENOMEM)?;
    let _one_at_a_time = registry.gate.lock();
    let begin = monotonic_ns();
    // One after the other: writes of a device that is stacked on another one must pass that one's gate to end.
    let mut result = parts.iter().try_for_each(|part| drain(snapshot.wishes.gate_timeout_ms, begin, part));
    let taken_ns = real_ns();
    if result.is_ok() {
        result = parts.iter().try_for_each(|part| switch(snapshot, stores, part, &mut retired));
    }
    for part in parts {
        part.device.attachment().gate_open();
    }
    let gate_ns = monotonic_ns().saturating_sub(begin);
    trace::take(parts.len(), gate_ns, result);
    drop_retired(retired);
    result.map(|()| Instant { gate_ns, taken_ns })
}

fn drain(timeout_ms: u32, begin: u64, part: &Part) -> Result {
    let attachment = part.device.attachment();
    attachment.gate_close();
    let left = || timeout_ms.saturating_sub((monotonic_ns().saturating_sub(begin) / 1_000_000) as u32).max(1);
    let drained = attachment.gate_drain(left()).and_then(|()| part.image()?.chain.quiesce(left()));
    drained.inspect_err(|e| {
        let (major, minor) = part.device.number();
        pr_warn!("writes to device {major}:{minor} did not end within {timeout_ms} ms: {e}; no snapshot is taken");
    })
}

/// The instant, for one device. `EAGAIN`: its chain has failed or ended.
fn switch(snapshot: &Snapshot, stores: &Arc<Stores>, part: &Part, retired: &mut Vec<Retired<Layer>>) -> Result {
    let image = part.image()?;
    image.switch(stores, &snapshot.events)?;
    if let Some(old) = part.device.set_live(image.layer()) {
        // Never grows: there is room for all.
        let _ = retired.try_push(old);
    }
    image.chain.settle(image.layer());
    let tracking = &image.chain.tracking;
    tracking.history.lock().switch(&tracking.marks);
    Ok(())
}
