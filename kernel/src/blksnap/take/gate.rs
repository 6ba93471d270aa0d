// SPDX-License-Identifier: GPL-2.0-only

//! The gate: from the moment on when the first device's writes are held until those of all go on.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::errno::{Errno, Result};
use kern::misc::{monotonic_ns, real_ns};
use kern::pr_warn;
use kern::sync::{drop_retired, Retired};
use kern::trace;
use kern::vec::TryPush;
use kern::worker::urgently;

use super::part::Part;
use crate::chain::Layer;
use crate::snapshot::Snapshot;
use crate::store::Stores;

/// When it was.
pub(super) struct Instant {
    pub(super) gate_ns: u64,
    pub(super) taken_ns: u64,
}

/// Passes it with all parts. Sleeps, for a bounded time. `ETIMEDOUT`; `EAGAIN`: a chain has failed or ended.
///
/// On a thread that does not wait for its turn behind others when it is woken: writers wait for it.
pub(super) fn pass(snapshot: &Snapshot, stores: &Arc<Stores>, parts: &[Part]) -> Result<Instant> {
    let mut retired = Vec::new();
    retired.try_reserve_exact(parts.len()).map_err(|_| Errno::ENOMEM)?;
    let mut result = Err(Errno::EAGAIN);
    urgently(&mut || result = close_and_open(snapshot, stores, parts, &mut retired));
    drop_retired(retired);
    result
}

fn close_and_open(
    snapshot: &Snapshot,
    stores: &Arc<Stores>,
    parts: &[Part],
    retired: &mut Vec<Retired<Layer>>,
) -> Result<Instant> {
    let begin = monotonic_ns();
    // One after the other: writes of a device that is stacked on another one must pass that one's gate to end.
    let mut result = parts.iter().try_for_each(|part| drain(snapshot.wishes.gate_timeout_ms, begin, part));
    let taken_ns = real_ns();
    if result.is_ok() {
        result = parts.iter().try_for_each(|part| switch(snapshot, stores, part, retired));
    }
    for part in parts {
        part.device.attachment().gate_open();
    }
    let gate_ns = monotonic_ns().saturating_sub(begin);
    trace::take(parts.len(), gate_ns, result);
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
