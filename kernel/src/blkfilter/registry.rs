// SPDX-License-Identifier: GPL-2.0-only

//! Which filters there are, and which is on which device.
//!
//! # Phases of an attachment
//!
//! 1. `New`: in the list, so that nobody else attaches; the filter's `attach()` is running, or writes from before are ending.
//! 2. `Live`: shown bios. Control requests count themselves in `users`.
//! 3. `Leaving`: claimed by the one that takes it off; no new users. See [`leave`].
//! 4. Out of the list. Bios that were in flight may still end: until then the structure stays, and blkfilter.ko with it.
//!
//! The lock is let go whenever a filter is called. Who needs an attachment to change its phase waits on the lock's condition.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::hook::control::{drain_wait, grace, grace_after, grace_tasks, Control, Guard};
use kern::hook::dev::{Caller, Device};
use kern::hook::ops::Ops;
use kern::hook::table::Removed;
use kern::hook::{module_hold, module_release};
use kern::vec::TryPush;
use kern::{pr_info, pr_warn, Errno, Result};

use crate::attachment::{self, Attachment};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Live,
    Leaving,
}

struct Entry {
    attachment: Arc<Attachment>,
    phase: Phase,
    users: u32,
    /// The worker is to take it off; it is out of the table already.
    by_worker: bool,
    removed: Option<Removed<Attachment>>,
}

struct Filter {
    ops: Ops,
    leaving: bool,
}

struct Registry {
    filters: Vec<Filter>,
    entries: Vec<Entry>,
}

static REGISTRY: Control<Registry> = Control::new(Registry { filters: Vec::new(), entries: Vec::new() });

/// How long taking off waits for bios in flight before it leaves the rest to the worker.
const DRAIN_MS: u32 = 2000;

/// How long attaching waits for bios that were under way before.
const SETTLE_MS: u32 = 5000;

impl Registry {
    fn of_device<'a>(&'a mut self, device: &'a Device) -> impl Iterator<Item = &'a mut Entry> {
        self.entries.iter_mut().filter(move |e| e.attachment.device() == device)
    }

    fn of(&mut self, attachment: &Arc<Attachment>) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| Arc::ptr_eq(&e.attachment, attachment))
    }
}

/// A filter becomes known by its name. `EEXIST`.
pub(crate) fn register(ops: Ops) -> Result {
    let mut registry = REGISTRY.lock();
    if registry.filters.iter().any(|f| f.ops.name() == ops.name()) {
        return Err(Errno::EEXIST);
    }
    registry.filters.try_push(Filter { ops, leaving: false }).map_err(|_| Errno::ENOMEM)
}

/// A filter goes: all its attachments are taken off first. Sleeps.
pub(crate) fn unregister(ops: Ops) {
    if let Some(filter) = REGISTRY.lock().filters.iter_mut().find(|f| f.ops == ops) {
        filter.leaving = true;
    }
    leave_all(|a| a.filter().ops() == ops);
    grace_after();
    let mut registry = REGISTRY.lock();
    registry.filters.retain(|f| f.ops != ops);
    if registry.filters.is_empty() {
        // Nothing drops a static when the module goes. Without filters there are no attachments.
        registry.filters = Vec::new();
        registry.entries = Vec::new();
    }
}

/// `BLKFILTER_ATTACH`: `ENOENT`, `EALREADY`, `EBUSY`, `ENODEV`, `EOPNOTSUPP`, `ETIMEDOUT`, or what the filter says. Sleeps.
pub(crate) fn attach(device: &Device, name: &[u8], caller: &Caller, opt: u64, optlen: u32) -> Result {
    let is_leg = device.is_leg();
    let mut registry = REGISTRY.lock();
    let filter = registry.filters.iter().find(|f| f.ops.name() == name && !f.leaving).ok_or(Errno::ENOENT)?;
    let ops = filter.ops;
    let _hold = ops.hold()?;
    if registry.of_device(device).any(|e| e.attachment.filter().ops() == ops) {
        return Err(Errno::EALREADY);
    }
    suits(&registry, device, ops, is_leg)?;

    let attachment = Attachment::new(device, ops)?;
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

/// Finds the filter named on a device, and keeps it there while `f` runs without the lock. `ENOENT`: no filter is attached;
/// `EINVAL`: another one is. Sleeps.
fn with_live<R>(device: &Device, name: &[u8], f: impl FnOnce(&Arc<Attachment>) -> Result<R>) -> Result<R> {
    let mut registry = REGISTRY.lock();
    let others = if registry.of_device(device).next().is_some() { Errno::EINVAL } else { Errno::ENOENT };
    let entry = registry.of_device(device).find(|e| e.attachment.filter().ops().name() == name).ok_or(others)?;
    match entry.phase {
        Phase::New => return Err(Errno::EBUSY),
        Phase::Leaving => return Err(Errno::ENOENT),
        Phase::Live => {}
    }
    entry.users += 1;
    let attachment = entry.attachment.clone();
    drop(registry);

    let result = f(&attachment);

    let mut registry = REGISTRY.lock();
    if let Some(entry) = registry.of(&attachment) {
        entry.users -= 1;
    }
    registry.changed();
    result
}

/// `BLKFILTER_CTL`. Sleeps.
pub(crate) fn ctl(device: &Device, name: &[u8], cmd: u32, opt: u64, optlen: &mut u32) -> Result {
    with_live(device, name, |attachment| attachment.filter().ctl(cmd, opt, optlen))
}

/// `BLKFILTER_DETACH`. Sleeps.
pub(crate) fn detach(device: &Device, name: &[u8]) -> Result {
    let attachment = with_live(device, name, |attachment| {
        attachment.filter().may_detach()?;
        Ok(attachment.clone())
    })?;
    let mut registry = REGISTRY.lock();
    match registry.of(&attachment) {
        Some(entry) if entry.phase == Phase::Live => entry.phase = Phase::Leaving,
        // Somebody else takes it off: for the caller it is gone.
        _ => return Err(Errno::ENOENT),
    }
    leave(registry, &attachment);
    Ok(())
}

/// Takes off all attachments that `which` says yes to, and waits for those that others take off. Sleeps.
pub(crate) fn leave_all(which: impl Fn(&Attachment) -> bool) {
    loop {
        let mut registry = REGISTRY.lock();
        let mut found = registry.entries.iter_mut().filter(|e| which(&e.attachment)).peekable();
        if found.peek().is_none() {
            return;
        }
        match found.find(|e| e.phase == Phase::Live) {
            Some(entry) => {
                entry.phase = Phase::Leaving;
                let attachment = entry.attachment.clone();
                leave(registry, &attachment);
            }
            None => registry.wait(),
        }
    }
}

/// A partition's device was removed. It cannot be waited for here: bios are not shown any more at once, the rest is the worker's.
pub(crate) fn part_gone(device: &Device) {
    let mut registry = REGISTRY.lock();
    for entry in registry.of_device(device).filter(|e| e.phase == Phase::Live) {
        entry.phase = Phase::Leaving;
        entry.by_worker = true;
        entry.attachment.filter().leaving();
        entry.removed = attachment::remove(&entry.attachment);
        entry.attachment.queue();
    }
}

/// Takes an attachment off, whose phase the caller has made `Leaving`. Sleeps.
///
/// 1. No request uses it. 2. It is out of the table, and whoever found it there is done. 3. The gate is open for good, what waited
/// goes on. 4. The filter lets go of what it holds. 5. What is in flight ends.
fn leave(mut registry: Guard<'_, Registry>, attachment: &Arc<Attachment>) {
    while registry.of(attachment).is_some_and(|e| e.users > 0) {
        registry.wait();
    }
    let blind = registry.of(attachment).and_then(|e| e.removed.take());
    let removed = blind.or_else(|| {
        attachment.filter().leaving();
        attachment::remove(attachment)
    });
    drop(registry);

    grace();
    attachment.gone();
    attachment.send_held();
    attachment.filter().detach();
    drop(removed.map(|r| r.release()));

    let lingers = !drain_wait(&|| attachment.idle(), DRAIN_MS);
    if lingers && module_hold() {
        pr_info!("{}: bios are still in flight; blkfilter stays loaded until they end", attachment.device());
        attachment.lingers.store(true, Ordering::SeqCst);
    }
    // Who counted the last one out may still be looking at the gate.
    grace();

    let mut registry = REGISTRY.lock();
    registry.entries.retain(|e| !Arc::ptr_eq(&e.attachment, attachment));
    registry.changed();
    drop(registry);
    if lingers {
        attachment.queue();
    }
}

/// Waits for what is in flight of an attachment that lingers. Sleeps.
fn linger(attachment: &Attachment) {
    if attachment.lingers.swap(false, Ordering::SeqCst) {
        while !drain_wait(&|| attachment.idle(), 1000) {}
        grace();
        module_release();
    }
}

/// An attachment's worker. Sleeps.
pub(crate) fn work(attachment: Arc<Attachment>) {
    attachment.send_held();
    let mut registry = REGISTRY.lock();
    match registry.of(&attachment) {
        Some(entry) if entry.by_worker => {
            entry.by_worker = false;
            leave(registry, &attachment);
        }
        Some(_) => {}
        None => {
            drop(registry);
            linger(&attachment);
        }
    }
}
