// SPDX-License-Identifier: GPL-2.0-only

//! A filter is taken off: by an ioctl, with its module, or because the device goes away.

use core::sync::atomic::Ordering;

use alloc::sync::Arc;

use kern::hook::control::{drain_wait, grace, Guard};
use kern::hook::dev::Device;
use kern::hook::{crowd, module_hold, module_release};
use kern::pr_info;

use super::{Phase, Registry, REGISTRY};
use crate::attachment::{self, Attachment};

/// How long taking off waits for bios in flight before it leaves the rest to the worker.
const DRAIN_MS: u32 = 2000;

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
pub(super) fn leave(mut registry: Guard<'_, Registry>, attachment: &Arc<Attachment>) {
    while registry.of(attachment).is_some_and(|e| e.users > 0) {
        registry.wait();
    }
    // A bio that it counts may be held back by a cgroup's limit, until another attachment is there which has to see it.
    crowd(true);
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
    } else {
        crowd(false);
    }
}

/// Waits for what is in flight of an attachment that lingers. Sleeps.
fn linger(attachment: &Attachment) {
    if attachment.lingers.swap(false, Ordering::SeqCst) {
        while !drain_wait(&|| attachment.idle(), 1000) {}
        crowd(false);
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
