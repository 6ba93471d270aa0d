// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Allocation that can fail, for stable cargo and for the kernel's `alloc` alike.
//!
//! Only `try_reserve` and its kin allocate in this crate; these helpers put values into the room reserved.

use alloc::vec::Vec;
use core::fmt;

/// No memory was to be had. What was asked for did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for NoMemory {}

/// Puts `value` into room that was reserved before. Without room the value is dropped: a defect of the caller.
#[inline]
pub(crate) fn place<T>(vec: &mut Vec<T>, value: T) {
    debug_assert!(vec.len() < vec.capacity());
    #[cfg(no_global_oom_handling)]
    let _ = vec.push_within_capacity(value);
    #[cfg(not(no_global_oom_handling))]
    if vec.len() < vec.capacity() {
        vec.push(value);
    }
}

/// Makes room for `more` values, doubling so that many small steps stay cheap.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    vec.try_reserve(more).map_err(|_| NoMemory)
}

/// Appends a value.
pub(crate) fn push<T>(vec: &mut Vec<T>, value: T) -> Result<(), NoMemory> {
    reserve(vec, 1)?;
    place(vec, value);
    Ok(())
}

/// Inserts a value at `at <= len`, into reserved room.
pub(crate) fn place_at<T>(vec: &mut Vec<T>, at: usize, value: T) {
    place(vec, value);
    if let Some(tail) = vec.get_mut(at..) {
        tail.rotate_right(1);
    }
}

/// The same for values that are only bits.
#[inline]
pub(crate) fn insert_at<T: Copy>(vec: &mut Vec<T>, at: usize, value: T) {
    let len = vec.len();
    place(vec, value);
    if at < len && len < vec.len() {
        vec.copy_within(at..len, at + 1);
        vec[at] = value;
    }
}

/// A vector of exactly `len` values made by `make`.
pub(crate) fn filled<T>(len: usize, mut make: impl FnMut() -> T) -> Result<Vec<T>, NoMemory> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(|_| NoMemory)?;
    for _ in 0..len {
        place(&mut vec, make());
    }
    Ok(vec)
}

/// Bytes a vector has allocated.
pub(crate) fn bytes<T>(vec: &Vec<T>) -> usize {
    vec.capacity().saturating_mul(size_of::<T>())
}
