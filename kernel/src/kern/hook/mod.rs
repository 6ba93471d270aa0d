// SPDX-License-Identifier: GPL-2.0-only

//! What blkfilter.ko needs of the kernel: hooks on bios, ioctls and removals, in safe types.
//!
//! A module implements [`Hooks`], makes its entry points with [`hooks!`](crate::hooks!), and switches them on with [`On`].
//!
//! | part | what it wraps |
//! |---|---|
//! | [`bio`] | a bio on its way, the list of those that wait |
//! | [`flight`] | the bios in flight of an attachment: their completions, their count |
//! | [`table`] | attachments by disk, read without a lock |
//! | [`control`] | the one lock of the control plane; waiting; grace periods |
//! | [`work`] | the worker that sends bios on |
//! | [`ops`] | a filter module's operations |
//! | [`dev`] | a block device, the caller of an ioctl |
//! | [`selftest`] | a disk of our own |
//! | [`entry`] | the functions C calls |
//!
//! The pointer that C knows as `struct blkfilter_dev *`, and as the owner of a counted bio, is always that of an
//! `Arc<Hooks::Device>`.

pub mod bio;
pub mod control;
pub mod dev;
pub mod entry;
pub mod flight;
mod heads;
pub mod ops;
pub mod selftest;
pub mod table;
pub mod work;

use core::ffi::{c_char, c_int, CStr};
use core::ptr;

use rust_alloc::sync::Arc;

use crate::errno::{Errno, Result};
use crate::sync::Atomic;
use crate::sys;

use bio::{Answer, Bio, Place};
use dev::{Caller, Device, Disk};
use ops::Ops;

/// Switches preemption off for as long as `f` runs, which may not sleep.
pub fn atomic<R>(f: impl FnOnce(&Atomic) -> R) -> R {
    // SAFETY: switched on again below.
    unsafe { sys::bsk_preempt_off() };
    // SAFETY: preemption is off.
    let result = f(&unsafe { Atomic::assume() });
    // SAFETY: switched off above.
    unsafe { sys::bsk_preempt_on() };
    result
}

/// What the hooks call. All functions are associated ones: there is one set of hooks in the kernel.
pub trait Hooks: 'static {
    /// An attachment: a filter on a device.
    type Device: Send + Sync + 'static;

    /// A bio that changes sectors of a disk. It is held by keeping it.
    fn bio(at: &Atomic, bio: Bio, place: &Place) -> Answer;
    /// The worker of `device` was queued. Sleeps.
    fn work(device: Arc<Self::Device>);
    /// One of the `BLKFILTER_*` ioctls. Sleeps.
    fn ioctl(device: &Device, cmd: u32, caller: Caller) -> Result;
    /// A disk is about to be deleted; returns when nothing is attached to it any more. Sleeps.
    fn disk_gone(disk: Disk);
    /// A partition was deleted. Sleeps, for [`control::Control`] alone.
    fn part_gone(device: &Device);

    /// `blkfilter_register()`. Sleeps.
    fn register(ops: Ops) -> Result;
    /// `blkfilter_unregister()`. Sleeps.
    fn unregister(ops: Ops);
    /// `blkfilter_submit()`. Sleeps.
    fn submit(device: &Self::Device, bio: Bio);
    /// `blkfilter_gate_close()`.
    fn gate_close(device: &Self::Device);
    /// `blkfilter_gate_drain()`. Sleeps.
    fn gate_drain(device: &Self::Device, timeout_ms: u32) -> Result;
    /// `blkfilter_gate_open()`.
    fn gate_open(device: &Self::Device);
}

/// The hooks are on while this lives. After its drop nobody is in a hook, nor in a function that one leads to.
pub struct On(());

impl On {
    /// All but that on `submit_bio_noacct`: bios are seen where `submit_bio_noacct_nocheck` begins. Sleeps. On failure the log says
    /// which hook could not be set.
    pub fn new() -> Result<On> {
        // SAFETY: process context at load; undone below and in drop.
        Errno::check(unsafe { sys::bsk_ends_init() })?;
        // SAFETY: as above.
        if let Err(e) = Errno::check(unsafe { sys::bsk_held_init() }) {
            // SAFETY: initialised above, nothing uses it.
            unsafe { sys::bsk_ends_exit() };
            return Err(e);
        }
        // SAFETY: process context at load; the name is written before any hook is tried.
        if let Err(e) = set(|what| unsafe { sys::bsk_hooks_on(what) }) {
            // SAFETY: initialised above, nothing uses them.
            unsafe {
                sys::bsk_held_exit();
                sys::bsk_ends_exit();
            }
            return Err(e);
        }
        let mut on = On(());
        on.direct().map(|()| on)
    }

    /// The last one: bios are seen where `submit_bio_noacct` begins. Called once. Sleeps. On failure the log says why.
    pub fn early(&mut self) -> Result {
        self.direct()
    }

    fn direct(&mut self) -> Result {
        // SAFETY: process context at load; the name is written before the hook is tried; called twice, as there are two.
        set(|what| unsafe { sys::bsk_hooks_direct(what) })
    }
}

/// Sets hooks; on failure says which one could not be set. `f` writes the name of each before it tries it, a static string of the shim's.
fn set(f: impl FnOnce(*mut *const c_char) -> c_int) -> Result {
    let mut what = ptr::null();
    Errno::check(f(&mut what)).map(|_| ()).inspect_err(|e| {
        // SAFETY: as said above.
        let what = unsafe { CStr::from_ptr(what) };
        crate::pr_err!(
            "cannot hook {}: {e} (is there a live patch, a BPF program or another filter on it, or is ftrace disabled?)",
            what.to_str().unwrap_or("?")
        );
    })
}

impl Drop for On {
    fn drop(&mut self) {
        // SAFETY: each was initialised by `new`. The worker may still be returning from its last run: destroying its queue
        // waits for it.
        unsafe {
            sys::bsk_hooks_off();
            sys::bsk_held_exit();
            sys::bsk_ends_exit();
        }
    }
}

/// One attachment more, or less, is not alone on its disk, or is leaving it. While there is any, bios that come back from a cgroup's limit are
/// looked at even when they are counted, as that may be by another one alone.
pub fn crowd(more: bool) {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_crowd(if more { 1 } else { -1 }) }
}

/// Keeps the module loaded until [`module_release`]; fails when it is being unloaded.
pub fn module_hold() -> bool {
    // SAFETY: always allowed.
    unsafe { sys::bsk_module_hold() != 0 }
}

/// Undoes one [`module_hold`].
pub fn module_release() {
    // SAFETY: paired with a hold by the callers; unloading waits for whoever is still in the module's text.
    unsafe { sys::bsk_module_release() }
}
