// SPDX-License-Identifier: GPL-2.0-only

//! A filter is put on a device: whether it can be, and from when on it has seen everything.

use alloc::sync::Arc;

use kern::hook::control::grace_tasks;
use kern::hook::dev::{Caller, Device};
use kern::hook::ops::Ops;
use kern::vec::TryPush;
use kern::{pr_warn, Errno, Result};

use super::{leave, Entry, Phase, Registry, REGISTRY};
use crate::attachment::{self, Attachment};

/// How long attaching waits for bios that were under way before.
const SETTLE_MS: u32 = 5000;

/// `BLKFILTER_ATTACH`: `ENOENT`, `EALREADY`, `EBUSY`, `ENODEV`, `EOPNOTSUPP`, `ETIMEDOUT`, or what the filter says. Sleeps.
pub(crate) fn attach(device: &Device, name: &[u8], caller: &Caller, opt: u64, optlen: u32) -> Result {
    let (ops, hold) = {
        let registry = REGISTRY.lock();
        let ops = registry.filter(name)?;
        (ops, ops.hold()?)
    };
    let is_leg = device.is_leg();
    let insists = is_leg && ops.insists(&hold, opt, optlen)?;
    if insists && device.is_bypassed() {
        pr_warn!("cannot attach to {device}: a multipath device sends it requests, which no filter sees; attach to that one");
        return Err(Errno::EOPNOTSUPP);
    }
    let mut registry = REGISTRY.lock();
    // The lock was let go: it may be leaving now.
    registry.filter(name)?;
    if registry.of_device(device).any(|e| e.attachment.filter().ops() == ops) {
        return Err(Errno::EALREADY);
    }
    suits(&registry, device, ops, is_leg && !insists)?;

    let attachment = Attachment::new(device, ops, is_leg)?;
    let entry = Entry { attachment: attachment.clone(), phase: Phase::New, users: 0, by_worker: false, removed: None };
    registry.entries.try_push(entry).map_err(|_| Errno::ENOMEM)?;
    drop(registry);

    if let Err(e) = attachment.filter().attach(&attachment, device, caller, opt, optlen) {
        let mut registry = REGISTRY.lock();
        registry.entries.retain(|e| !Arc::ptr_eq(&e.attachment, &attachment));
        registry.changed();
        return Err(e);
    }

    let registry = REGISTRY.lock();
    attachment::insert(&attachment);
    drop(registry);
    if insists {
        pr_warn!("{device} is a part of an active device (LVM, device-mapper, RAID, bcache): what that one has not written yet is in no snapshot of this one");
    }
    if device.is_untold() {
        pr_warn!("{device}: writes begun before the attach cannot be waited for, as the driver does not say how many there are (queue/iostats)");
    }
    let settled = settle(&attachment);

    let mut registry = REGISTRY.lock();
    if let Some(entry) = registry.of(&attachment) {
        entry.phase = if settled { Phase::Live } else { Phase::Leaving };
    }
    registry.changed();
    if !settled {
        leave(registry, &attachment);
        pr_warn!("cannot attach to {device}: writes begun before did not end within {SETTLE_MS} ms");
        return Err(Errno::ETIMEDOUT);
    }
    Ok(())
}

/// Every write that is not shown has ended when this is done: those that were past the hook before the attachment stood in the
/// table are in nobody's count, and a snapshot taken at once would not wait for them. Whether it succeeded. Sleeps.
fn settle(attachment: &Attachment) -> bool {
    // Who was between the hook and the device's queue is in the queue now.
    grace_tasks();
    // He may have the rest of a long write with him, which has passed the hook, too, and enters the queue when its first part was sent: it
    // sleeps there, or has come to it, when that part has ended.
    if !attachment.device().drain_queue(SETTLE_MS) {
        return false;
    }
    grace_tasks();
    attachment.gate_close();
    let settled = attachment.device().settle(SETTLE_MS);
    attachment.gate_open();
    settled
}

/// Whether a filter can do its work on a device. The log says why not.
fn suits(registry: &Registry, device: &Device, ops: Ops, is_leg: bool) -> Result {
    let refuse = |error: Errno, why: &str| {
        pr_warn!("cannot attach to {device}: {why}");
        Err(error)
    };
    if device.is_dying() {
        return Err(Errno::ENODEV);
    }
    if registry.entries.iter().any(|e| e.attachment.filter().ops() == ops && e.attachment.overlaps(device)) {
        return refuse(Errno::EBUSY, "the filter is attached to an overlapping part of the disk");
    }
    if is_leg {
        let why = "an active device (LVM, device-mapper, RAID, bcache) is made of it, or of a partition; attach to that one";
        return refuse(Errno::EBUSY, why);
    }
    if device.is_zoned() {
        return refuse(Errno::EOPNOTSUPP, "zoned devices are not supported");
    }
    if device.is_dax() {
        return refuse(Errno::EOPNOTSUPP, "it can be written through memory mappings (DAX), which no filter sees");
    }
    Ok(())
}
