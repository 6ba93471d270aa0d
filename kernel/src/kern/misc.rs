// SPDX-License-Identifier: GPL-2.0-only

//! Time, identifiers, free memory, permission, module parameters.

use crate::sys;

/// Nanoseconds of the monotonic clock. Atomic.
pub fn monotonic_ns() -> u64 {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_ktime_ns() }
}

/// Nanoseconds of the clock of the timer tick: of no meaning by themselves, as coarse as the tick (1 to 10 ms), and cheap. Atomic.
pub fn tick_ns() -> u64 {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_tick_ns() }
}

/// Nanoseconds since 1970. Atomic.
pub fn real_ns() -> u64 {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_real_ns() }
}

/// Waits about that long. Sleeps.
pub fn sleep_ms(ms: u32) {
    // SAFETY: process context, as this function demands.
    unsafe { sys::bsk_msleep(ms) };
}

/// A fresh random UUID.
pub fn uuid() -> [u8; 16] {
    let mut id = [0; 16];
    // SAFETY: the buffer has the 16 bytes that are written.
    unsafe { sys::bsk_uuid(id.as_mut_ptr()) };
    id
}

/// How many processors are online. Atomic.
pub fn processors() -> u32 {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_processors() }
}

/// Bytes of memory that are free or easily made so.
pub fn free_memory() -> u64 {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_free_memory() }
}

/// Whether the calling process has `CAP_SYS_ADMIN`.
pub fn is_admin() -> bool {
    // SAFETY: process context.
    unsafe { sys::bsk_capable_admin() }
}

/// Whether the calling process is a 32-bit one.
pub fn is_compat() -> bool {
    // SAFETY: callable from any context.
    unsafe { sys::bsk_compat_caller() }
}

/// The module's parameters (`shim/params.c`).
#[derive(Clone, Copy)]
pub enum Param {
    /// `tracking_block_minimum_shift`.
    TrackingShift = 0,
    /// `tracking_block_maximum_shift`.
    TrackingMaximumShift = 1,
    /// `tracking_block_maximum_count`, 0: none.
    TrackingMaximumCount = 2,
    /// `diff_storage_minimum`, in sectors.
    StorePortion = 3,
    /// `store_timeout_seconds`.
    StoreTimeout = 4,
    /// `copy_memory_kib`.
    CopyMemory = 5,
    /// Not zero when one of the `chunk_*` parameters was given.
    Chunks = 6,
}

/// The value of a parameter now.
pub fn param(which: Param) -> u32 {
    // SAFETY: reads one number.
    unsafe { sys::bsk_param(which as u32) }
}
