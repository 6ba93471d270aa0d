// SPDX-License-Identifier: GPL-2.0-only

//! The take: all devices of a snapshot at one instant.
//!
//! 1. Memory, origins and images are made, change histories prepared ([`part`]): all that may fail or last. A device that is in another taken
//!    snapshot has a chain, which the new one joins.
//! 2. The take waits for its [`Turn`]: one at a time from here on, so that nobody has anything frozen while another one is at the gate.
//! 3. File systems are frozen, so that they are clean ([`freeze`]). The time for that is bounded; past it the take fails and nothing has changed.
//! 4. The gate of each device closes: new writes wait, those in flight and those held are waited for ([`gate`]). Bounded, in the same way.
//! 5. The instant: each device's tracking switches, its new layer is the newest. Nothing here can fail, but for a chain that fails by itself
//!    or ends at this moment: then the take begins again.
//! 6. The gate opens, file systems thaw, the blocks of storages' own files are left out, the images appear.

mod freeze;
mod gate;
mod part;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use kern::errno::{Errno, Result};
use kern::misc::uuid;
use kern::vec::TryPush;

use crate::device::Device;
use crate::registry::{self, Registry};
use crate::snapshot::{self, Phase, Snapshot};
use crate::store::{Store, Stores};
pub(crate) use freeze::{end, Freezers};
use gate::Instant;
use part::{stacked_first, Part};

/// How often a take begins again when a chain fails or ends during it.
const TRIES: u32 = 8;
/// How long a take that waits for another one sleeps at most before it looks again.
const WAIT_MS: u32 = 1000;

/// Takes a snapshot. Sleeps. `ESRCH`: there is none; `EALREADY`: taken; `ENODEV`: nothing to take, or a device went away;
/// `ESTALE`: a device changed its size meanwhile; `ETIMEDOUT`: a file system could not be frozen, or writes in flight did not end, in time;
/// `EINTR`: while another take was waited for.
pub(crate) fn take(id: &[u8; 16]) -> Result {
    let registry = registry::get()?;
    let (snapshot, devices) = begin(&registry, id)?;
    let stores = snapshot.stores();
    let mut parts = Vec::new();
    let mut taken = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        taken = stores.as_ref().map_err(|e| *e).and_then(|stores| take_once(&registry, &snapshot, stores, &devices, &mut parts));
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
    registry.take_ended();
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
        registry.wait_for_take(WAIT_MS, || registry.takes.load(Ordering::SeqCst) != seen)?;
    }
}

/// Hands the parts over, or goes back to before the take.
fn settle(snapshot: &Snapshot, taken: Result<Instant>, parts: &mut [Part]) -> (Result, bool) {
    let mut inner = snapshot.inner.lock();
    let result = match taken {
        Ok(instant) => {
            for part in parts {
                if let Some(member) = inner.members.iter_mut().find(|m| Arc::ptr_eq(&m.device, &part.device)) {
                    (member.image, member.disk) = part.hand_over();
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

/// The turn of a take to freeze and to pass the gate. One at a time.
struct Turn<'a>(&'a Registry);

impl<'a> Turn<'a> {
    /// Waits for it. Sleeps; `EINTR`.
    fn wait(registry: &'a Registry) -> Result<Turn<'a>> {
        while registry.at_gate.swap(true, Ordering::SeqCst) {
            registry.wait_for_take(WAIT_MS, || !registry.at_gate.load(Ordering::SeqCst))?;
        }
        Ok(Turn(registry))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.at_gate.store(false, Ordering::SeqCst);
        self.0.take_ended();
    }
}

fn take_once(
    registry: &Registry,
    snapshot: &Snapshot,
    stores: &Arc<Stores>,
    devices: &[Arc<Device>],
    parts: &mut Vec<Part>,
) -> Result<Instant> {
    for device in devices {
        let part = Part::new(device, snapshot, stores, devices.len() as u32)?;
        parts.try_push(part).map_err(|_| Errno::ENOMEM)?;
    }
    let mut pinned = registry.lock().stores()?;
    stacked_first(parts, &pinned)?;
    pinned.retain(|store| store.extents().is_some());
    let turn = Turn::wait(registry)?;
    let instant = freeze_and_pass(registry, snapshot, stores, parts, &pinned);
    drop(turn);
    let instant = instant?;
    parts.iter().try_for_each(|part| part.show(&pinned))?;
    Ok(instant)
}

/// From the first freeze to the last thaw.
fn freeze_and_pass(
    registry: &Registry,
    snapshot: &Snapshot,
    stores: &Arc<Stores>,
    parts: &[Part],
    pinned: &[Arc<Store>],
) -> Result<Instant> {
    let _frozen = freeze::freeze(&registry.freezers, parts)?;
    for part in parts {
        let tracking = &part.image()?.chain.tracking;
        tracking.history.lock().prepare(&tracking.marks, uuid()).map_err(|_| Errno::ENOMEM)?;
        // What they hold changes past the tracking: before this take, and after it.
        part.left_out(pinned, |sector, sectors| tracking.mark(sector, sectors))?;
    }
    gate::pass(snapshot, stores, parts)
}
