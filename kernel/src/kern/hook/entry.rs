// SPDX-License-Identifier: GPL-2.0-only

//! The functions that C calls, for one implementation of [`Hooks`]. [`hooks!`](crate::hooks!) gives them their names.
//!
//! Each does three things: convert in, call safe code, convert out.
//!
//! # Safety
//!
//! All are called by the shim, or by a filter module as `linux/blk-filter.h` allows, with live pointers of the kinds named there.
//! A `device` is an `Arc<H::Device>` of which the caller has a reference, or which has a bio in flight.

use core::ffi::{c_int, c_long, c_void};
use core::ptr::NonNull;

use rust_alloc::sync::Arc;

use super::bio::{Bio, Place};
use super::dev::{Caller, Device, Disk};
use super::ops::Ops;
use super::Hooks;
use crate::errno::Errno;
use crate::sync::Atomic;

/// # Safety
/// See the module; preemption is off.
#[inline(always)]
pub unsafe fn bio<H: Hooks>(end_io: *mut c_void, bio: *mut c_void, sector: u64, sectors: u64, disk: *mut c_void) -> *mut c_void {
    // SAFETY: preemption is off; the bio is there, and its submitter's, who waits for the answer.
    let (at, bio) = unsafe { (Atomic::assume(), Bio::from_raw(NonNull::new_unchecked(bio), end_io)) };
    let place = Place { disk: Disk::of(disk), sector, sectors };
    H::bio(&at, bio, &place).raw()
}

/// # Safety
/// See the module; the reference that queueing took is given to us.
pub unsafe fn work<H: Hooks>(device: *mut c_void) {
    // SAFETY: as this function demands.
    H::work(unsafe { Arc::from_raw(device.cast::<H::Device>()) });
}

/// # Safety
/// See the module.
pub unsafe fn ioctl<H: Hooks>(bdev: *mut c_void, cmd: u32, arg: u64) -> c_long {
    // SAFETY: the device is open during the ioctl.
    let result = unsafe { Device::from_raw(bdev) }.and_then(|device| H::ioctl(&device, cmd, Caller(arg)));
    result.map_or_else(|e| c_long::from(e.to_c()), |()| 0)
}

/// # Safety
/// See the module.
pub unsafe fn disk_gone<H: Hooks>(disk: *mut c_void) {
    H::disk_gone(Disk::of(disk));
}

/// # Safety
/// See the module.
pub unsafe fn part_gone<H: Hooks>(bdev: *mut c_void) {
    // SAFETY: the class holds the device during the call.
    if let Ok(device) = unsafe { Device::from_raw(bdev) } {
        H::part_gone(&device);
    }
}

/// # Safety
/// See the module.
pub unsafe fn register<H: Hooks>(ops: *const c_void) -> c_int {
    // SAFETY: as blkfilter_register() demands of its caller.
    unsafe { Ops::from_raw(ops) }.and_then(H::register).map_or_else(Errno::to_c, |()| 0)
}

/// # Safety
/// See the module.
pub unsafe fn unregister<H: Hooks>(ops: *const c_void) {
    // SAFETY: as blkfilter_unregister() demands of its caller.
    if let Ok(ops) = unsafe { Ops::from_raw(ops) } {
        H::unregister(ops);
    }
}

/// # Safety
/// See the module; the bio is given up.
pub unsafe fn submit<H: Hooks>(device: *mut c_void, bio: *mut c_void) {
    if let Some(bio) = NonNull::new(bio) {
        // SAFETY: as this function demands.
        unsafe { H::submit(&*device.cast::<H::Device>(), Bio::held(bio)) }
    }
}

/// # Safety
/// See the module.
pub unsafe fn gate_close<H: Hooks>(device: *mut c_void) {
    // SAFETY: as this function demands.
    H::gate_close(unsafe { &*device.cast::<H::Device>() });
}

/// # Safety
/// See the module.
pub unsafe fn gate_drain<H: Hooks>(device: *mut c_void, timeout_ms: u32) -> c_int {
    // SAFETY: as this function demands.
    H::gate_drain(unsafe { &*device.cast::<H::Device>() }, timeout_ms).map_or_else(Errno::to_c, |()| 0)
}

/// # Safety
/// See the module.
pub unsafe fn gate_open<H: Hooks>(device: *mut c_void) {
    // SAFETY: as this function demands.
    H::gate_open(unsafe { &*device.cast::<H::Device>() });
}

/// # Safety
/// See the module.
pub unsafe fn get<H: Hooks>(device: *mut c_void) {
    // SAFETY: as this function demands.
    unsafe { Arc::increment_strong_count(device.cast::<H::Device>()) }
}

/// # Safety
/// See the module; the reference is given up.
pub unsafe fn put<H: Hooks>(device: *mut c_void) {
    // SAFETY: as this function demands.
    unsafe { Arc::decrement_strong_count(device.cast::<H::Device>()) }
}

/// Gives the entry points of a type that implements [`Hooks`] the names that the shim and `linux/blk-filter.h` know.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! hooks {
    ($type:ty) => {
        $crate::hooks! { @ $type,
            bsr_bio = bio(end_io: *mut c_void, bio: *mut c_void, sector: u64, sectors: u64, disk: *mut c_void) -> *mut c_void;
            bsr_work = work(ctx: *mut c_void) -> ();
            bsr_ioctl = ioctl(bdev: *mut c_void, cmd: u32, arg: u64) -> c_long;
            bsr_disk_gone = disk_gone(disk: *mut c_void) -> ();
            bsr_part_gone = part_gone(bdev: *mut c_void) -> ();
            blkfilter_register = register(ops: *const c_void) -> c_int;
            blkfilter_unregister = unregister(ops: *const c_void) -> ();
            blkfilter_submit = submit(fdev: *mut c_void, bio: *mut c_void) -> ();
            blkfilter_gate_close = gate_close(fdev: *mut c_void) -> ();
            blkfilter_gate_drain = gate_drain(fdev: *mut c_void, timeout_ms: u32) -> c_int;
            blkfilter_gate_open = gate_open(fdev: *mut c_void) -> ();
            blkfilter_dev_get = get(fdev: *mut c_void) -> ();
            blkfilter_dev_put = put(fdev: *mut c_void) -> ();
        }
    };
    (@ $type:ty, $($name:ident = $call:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        const _: () = {
            #[allow(unused_imports, reason = "which are used depends on the list")]
            use core::ffi::{c_int, c_long, c_void};
            $(
                #[no_mangle]
                unsafe extern "C" fn $name($($arg: $kind),*) -> $result {
                    // SAFETY: called by the shim, and by filters, as the entry point demands.
                    unsafe { $crate::hook::entry::$call::<$type>($($arg),*) }
                }
            )*
        };
    };
}
