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

mod attach;
mod leave;
mod show;

use alloc::sync::Arc;
use alloc::vec::Vec;

use kern::hook::control::{grace_after, Control};
use kern::hook::dev::Device;
use kern::hook::ops::Ops;
use kern::hook::table::Removed;
use kern::vec::TryPush;
use kern::{Errno, Result};

use crate::attachment::Attachment;
pub(crate) use attach::attach;
use leave::leave;
pub(crate) use leave::{leave_all, part_gone, work};
pub(crate) use show::show;

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

impl Registry {
    /// The filter of that name. `ENOENT`.
    fn filter(&self, name: &[u8]) -> Result<Ops> {
        self.filters.iter().find(|f| f.ops.name() == name && !f.leaving).map(|f| f.ops).ok_or(Errno::ENOENT)
    }

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
