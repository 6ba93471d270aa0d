// SPDX-License-Identifier: GPL-2.0-only

//! blkfilter.ko: filters above the request queue of live block devices.
//!
//! | part | what it decides |
//! |---|---|
//! | [`attachment`] | what becomes of a bio: pass, count, hold; the gate |
//! | [`registry`] | which filter is on which device; attaching and taking off |
//! | [`requests`] | the ioctls, and what they answer |
//! | [`selftest`] | whether the hook works on this kernel |
//!
//! Path of a bio: `shim/hook_bio.c` (called by ftrace) → [`Blkfilter::bio`] → [`attachment::pass`], [`attachment::route`]
//! → the filter's `submit()`; its end: `shim/hook_ends.c`, which counts it off.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod attachment;
mod registry;
mod requests;
mod selftest;

use alloc::sync::Arc;

use kern::hook::bio::{Answer, Bio, Place};
use kern::hook::dev::{Caller, Device, Disk};
use kern::hook::ops::Ops;
use kern::hook::table::Linked;
use kern::hook::{Hooks, On};
use kern::sync::Atomic;
use kern::Result;

use attachment::Attachment;

struct Blkfilter {
    _hooks: On,
}

impl Hooks for Blkfilter {
    type Device = Attachment;

    #[inline(always)]
    fn bio(at: &Atomic, bio: Bio, place: &Place) -> Answer {
        attachment::pass(at, bio, place)
    }

    fn work(device: Arc<Attachment>) {
        registry::work(device);
    }

    fn ioctl(device: &Device, cmd: u32, caller: Caller) -> Result {
        requests::ioctl(device, cmd, &caller)
    }

    fn disk_gone(disk: Disk) {
        registry::leave_all(|a| a.disk() == disk);
    }

    fn part_gone(device: &Device) {
        registry::part_gone(device);
    }

    fn register(ops: Ops) -> Result {
        registry::register(ops)
    }

    fn unregister(ops: Ops) {
        registry::unregister(ops);
    }

    fn submit(device: &Attachment, bio: Bio) {
        device.submit(bio);
    }

    fn gate_close(device: &Attachment) {
        device.gate_close();
    }

    fn gate_drain(device: &Attachment, timeout_ms: u32) -> Result {
        device.gate_drain(timeout_ms)
    }

    fn gate_open(device: &Attachment) {
        device.gate_open();
    }
}

impl kern::Module for Blkfilter {
    fn init() -> Result<Self> {
        let mut hooks = On::new()?;
        selftest::run(&mut hooks)?;
        kern::pr_info!("loaded: submit_bio_noacct and submit_bio_noacct_nocheck are hooked");
        Ok(Blkfilter { _hooks: hooks })
    }
}

kern::hooks!(Blkfilter);
kern::state! { bsr_state_attachments = registry::show; }
kern::module!(Blkfilter);
