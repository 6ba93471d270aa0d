// SPDX-License-Identifier: GPL-2.0-only

//! What is tracked and which snapshots there are, as text below `/sys/module/blksnap/parameters`. `docs/abi.md` has the format.
//!
//! For whoever looks at a machine without a program of ours. Locks are taken in their order, and none is held while one reads from a device.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use kern::errno::{Errno, Result};
use kern::state::Lines;
use kern::vec::TryPush;

use crate::registry;
use crate::snapshot::{Phase, Snapshot};

/// A line for each tracked device. Sleeps for locks.
pub(crate) fn devices(lines: &mut Lines<'_>) {
    let Ok(registry) = registry::get() else { return };
    let lists = registry.lock();
    for device in &lists.devices {
        let Ok(tracking) = device.tracking() else { continue };
        let (generation, number) = {
            let history = tracking.history.lock();
            (history.generation(), history.number())
        };
        let (major, minor) = device.number();
        let snapshots = lists.snapshots.iter().filter(|snapshot| snapshot.has(device)).count();
        lines.line(|to| {
            let (sectors, block) = (tracking.sectors, tracking.block_size());
            write!(to, "{major}:{minor} sectors={sectors} block={block}")?;
            write!(to, " change={}/{number} snapshots={snapshots}", Uuid(generation))
        });
    }
}

/// A line for each snapshot. Sleeps for locks.
pub(crate) fn snapshots(lines: &mut Lines<'_>) {
    // Without the registry's lock: the last reference to a storage closes it.
    for snapshot in all().unwrap_or_default() {
        let sizes = snapshot.stores().map(|stores| stores.sizes());
        let inner = snapshot.inner.lock();
        let failure = inner.members.iter().find_map(|m| m.image.as_ref()?.failure());
        let state = match (inner.phase, failure) {
            (Phase::Destroyed, _) => "ending",
            (_, Some(_)) => "failed",
            (Phase::Created, None) => "created",
            (Phase::Taking, None) => "taking",
            (Phase::Taken, None) => "taken",
        };
        let error = failure.map_or(0, Errno::to_c);
        let (used, limit) = sizes.map_or((0, 0), |sizes| (sizes.used, sizes.limit));
        lines.line(|to| {
            write!(to, "{} state={state} error={error} used={used} limit={limit} devices=", Uuid(snapshot.id))?;
            for (at, member) in inner.members.iter().enumerate() {
                let (major, minor) = member.device.number();
                write!(to, "{}{major}:{minor}", if at > 0 { "," } else { "" })?;
            }
            Ok(())
        });
    }
}

fn all() -> Result<Vec<Arc<Snapshot>>> {
    let mut all = Vec::new();
    for snapshot in &registry::get()?.lock().snapshots {
        all.try_push(snapshot.clone()).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(all)
}

/// Sixteen bytes as user space writes them.
struct Uuid([u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}
