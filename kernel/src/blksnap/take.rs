// SPDX-License-Identifier: GPL-2.0-only

//! The take: all devices of a snapshot at one instant.
//!
//! 1. Memory, origins and images are made, change histories prepared: all that may fail or last.
//! 2. File systems are frozen, so that they are clean.
//! 3. The gate of each device closes: new writes wait, those in flight are waited for. Its time is bounded; past that the take fails and nothing
//!    has changed.
//! 4. The instant: each device's tracking switches, its copy-on-write is set. Nothing here can fail.
//! 5. The gate opens, file systems thaw, the images appear.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::bdev::Frozen;
use kern::disk::Disk;
use kern::errno::{Errno, Result};
use kern::misc::{monotonic_ns, real_ns, uuid};
use kern::pr_warn;
use kern::vec::TryPush;

use crate::cow::Cow;
use crate::device::Device;
use crate::registry::{self, Registry};
use crate::snapshot::{self, Phase, Snapshot};

/// One device's part. Taken apart when dropped before it was handed over.
struct Part {
    device: Arc<Device>,
    cow: Option<Arc<Cow>>,
    disk: Option<Arc<Disk>>,
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(cow) = self.cow.take() else { return };
        cow.fail(Errno::ESHUTDOWN);
        self.device.set_cow(None);
        self.disk = None;
        cow.close();
    }
}

/// When it was.
struct Instant {
    gate_ns: u64,
    taken_ns: u64,
}

/// Takes a snapshot. Sleeps. `ESRCH`: there is none; `EALREADY`: taken; `ENODEV`: nothing to take, or a device went away;
/// `ESTALE`: a device changed its size meanwhile; `ETIMEDOUT`: writes in flight did not end in time.
pub(crate) fn take(id: &[u8; 16]) -> Result {
    let registry = registry::get()?;
    let snapshot = registry.snapshot(id).ok_or(Errno::ESRCH)?;
    let mut parts = Vec::new();
    {
        let mut inner = snapshot.inner.lock();
        match inner.phase {
            Phase::Created => {}
            Phase::Taking | Phase::Taken => return Err(Errno::EALREADY),
            Phase::Destroyed => return Err(Errno::ESRCH),
        }
        if inner.members.is_empty() {
            return Err(Errno::ENODEV);
        }
        for member in &inner.members {
            let part = Part { device: member.device.clone(), cow: None, disk: None };
            parts.try_push(part).map_err(|_| Errno::ENOMEM)?;
        }
        inner.phase = Phase::Taking;
    }
    stacked_first(&mut parts);
    let taken = take_parts(&registry, &snapshot, &mut parts);
    // A failed take is taken apart before anybody may try again.
    if taken.is_err() {
        drop(core::mem::take(&mut parts));
    }
    let (result, abandoned) = settle(&snapshot, taken, &mut parts);
    if abandoned {
        // Whoever it was bound to went away meanwhile.
        let _ = snapshot::destroy(id);
        return Err(Errno::ESRCH);
    }
    result
}

/// Hands the parts over, or goes back to before the take.
fn settle(snapshot: &Snapshot, taken: Result<Instant>, parts: &mut [Part]) -> (Result, bool) {
    let mut inner = snapshot.inner.lock();
    let result = match taken {
        Ok(instant) => {
            for part in parts {
                if let Some(member) = inner.members.iter_mut().find(|m| Arc::ptr_eq(&m.device, &part.device)) {
                    (member.cow, member.disk) = (part.cow.take(), part.disk.take());
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

fn take_parts(registry: &Registry, snapshot: &Snapshot, parts: &mut [Part]) -> Result<Instant> {
    let share = parts.len() as u32;
    for part in parts.iter_mut() {
        let cow = Cow::new(&part.device, &snapshot.store, &snapshot.events, share)?;
        part.cow = Some(cow.clone());
        let origin = cow.origin()?;
        let disk = snapshot.store.on_direct(|under| Disk::new(&origin, Some(under), cow.tracking.sectors, &cow));
        let disk = disk.unwrap_or_else(|| Disk::new(&origin, None, cow.tracking.sectors, &cow))?;
        part.disk = Some(kern::alloc::try_arc(disk)?);
    }
    let frozen = freeze(parts)?;
    for part in parts.iter() {
        let Some(cow) = &part.cow else { continue };
        let tracking = &cow.tracking;
        tracking.history.lock().prepare(&tracking.marks, uuid()).map_err(|_| Errno::ENOMEM)?;
    }
    let instant = gate(registry, snapshot, parts);
    drop(frozen);
    let instant = instant?;
    for part in parts.iter() {
        if part.device.is_gone() {
            return Err(Errno::ENODEV);
        }
        if let Some(cow) = &part.cow {
            let origin = cow.origin()?;
            let now = part.device.tracking_for(&origin)?;
            if !Arc::ptr_eq(&now, &cow.tracking) {
                return Err(Errno::ESTALE);
            }
        }
        if let Some(disk) = &part.disk {
            disk.add()?;
        }
    }
    Ok(instant)
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
        let Some(cow) = &part.cow else { continue };
        let one = cow.origin()?.freeze().inspect_err(|e| {
            let (major, minor) = part.device.number();
            pr_warn!("cannot freeze the file system on device {major}:{minor}: {e}; no snapshot is taken");
        })?;
        frozen.0.try_push(one).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(frozen)
}

fn gate(registry: &Registry, snapshot: &Snapshot, parts: &[Part]) -> Result<Instant> {
    let _one_at_a_time = registry.gate.lock();
    let begin = monotonic_ns();
    // One after the other: writes of a device that is stacked on another one must pass that one's gate to end.
    let drained = drain(snapshot.gate_timeout_ms, begin, parts);
    let taken_ns = real_ns();
    if drained.is_ok() {
        for part in parts {
            let Some(cow) = &part.cow else { continue };
            cow.tracking.history.lock().switch(&cow.tracking.marks);
            // Was empty, so that this does not wait.
            part.device.set_cow(Some(cow.clone()));
        }
    }
    for part in parts {
        part.device.attachment().gate_open();
    }
    drained.map(|()| Instant { gate_ns: monotonic_ns().saturating_sub(begin), taken_ns })
}

fn drain(timeout_ms: u32, begin: u64, parts: &[Part]) -> Result {
    for part in parts {
        part.device.attachment().gate_close();
        let spent = (monotonic_ns().saturating_sub(begin) / 1_000_000) as u32;
        part.device.attachment().gate_drain(timeout_ms.saturating_sub(spent).max(1)).inspect_err(|e| {
            let (major, minor) = part.device.number();
            pr_warn!("writes to device {major}:{minor} did not end within {timeout_ms} ms: {e}; no snapshot is taken");
        })?;
    }
    Ok(())
}
