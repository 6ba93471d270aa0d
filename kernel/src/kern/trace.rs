// SPDX-License-Identifier: GPL-2.0-only

//! The tracepoints of `shim/trace.h`. All may be called from anywhere, and cost next to nothing while nobody traces.

use crate::bio::Bio;
use crate::errno::{Errno, Result};
use crate::sys;

/// A write waits until what it overwrites is copied.
pub fn hold(bio: &Bio) {
    // SAFETY: the bio is live.
    unsafe { sys::bsk_trace_hold(bio.raw()) };
}

/// A held write goes on.
pub fn resubmit(bio: &Bio) {
    // SAFETY: the bio is live.
    unsafe { sys::bsk_trace_resubmit(bio.raw()) };
}

/// Blocks of a device, by its major and minor number, are read to be stored.
pub fn copy((major, minor): (u32, u32), sector: u64, sectors: u64) {
    // SAFETY: numbers only.
    unsafe { sys::bsk_trace_copy(major, minor, sector, sectors) };
}

/// Copies of a device's blocks have their place in a storage.
pub fn store((major, minor): (u32, u32), sectors: u64) {
    // SAFETY: numbers only.
    unsafe { sys::bsk_trace_store(major, minor, sectors) };
}

/// A take has passed its gate.
pub fn take(devices: usize, gate_ns: u64, result: Result) {
    let error = result.map_or_else(Errno::to_c, |()| 0);
    // SAFETY: numbers only.
    unsafe { sys::bsk_trace_take(devices as u32, gate_ns, error) };
}
