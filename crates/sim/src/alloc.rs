// SPDX-License-Identifier: GPL-2.0-only
//! An allocator that fails when told to, and counts.
//!
//! What is told concerns the thread's calls into core alone: it is armed before such a call and disarmed after it.

#![allow(
    unsafe_code,
    reason = "a global allocator cannot be written without; it only hands on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What happens to the thread's allocations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They succeed.
    Free,
    /// So many succeed, then all fail.
    FailAfter(u32),
    /// There should be none; they succeed and are remembered.
    Forbidden,
    /// There was one where there should be none.
    Broken,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Free) };
    /// Bytes that the thread has allocated. Wraps where it gives back what others did.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that the thread has allocated and not given back. Tells by its difference alone: it may wrap.
pub fn allocated() -> usize {
    ALLOCATED.get()
}

/// Runs `call` with all allocations failing but the first `after`, if there is a number.
pub fn failing<R>(after: Option<u32>, call: impl FnOnce() -> R) -> R {
    MODE.set(after.map_or(Mode::Free, Mode::FailAfter));
    let result = call();
    MODE.set(Mode::Free);
    result
}

/// Runs `call`, and says whether it did without an allocation.
pub fn forbidden<R>(call: impl FnOnce() -> R) -> (R, bool) {
    MODE.set(Mode::Forbidden);
    let result = call();
    (result, MODE.replace(Mode::Free) == Mode::Forbidden)
}

/// The allocator of every program with this crate in it.
struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Counts an allocation or what becomes of one: bytes before and after.
fn count(before: usize, after: usize) {
    ALLOCATED.with(|all| all.set(all.get().wrapping_sub(before).wrapping_add(after)));
}

impl Failing {
    /// Whether the next allocation may succeed.
    fn allowed() -> bool {
        MODE.with(|mode| match mode.get() {
            Mode::Free | Mode::Broken => true,
            Mode::FailAfter(0) => false,
            Mode::FailAfter(left) => {
                mode.set(Mode::FailAfter(left - 1));
                true
            }
            Mode::Forbidden => {
                mode.set(Mode::Broken);
                true
            }
        })
    }
}

// SAFETY: Everything is handed on to `System` as it came; a null pointer is what the contract has for failure.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::allowed() {
            count(0, layout.size());
            // SAFETY: The caller's promise about `layout` is the one that `System` asks for.
            unsafe { System.alloc(layout) }
        } else {
            std::ptr::null_mut()
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: `ptr` came from `System` with this `layout`, for all of ours do.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::allowed() {
            count(layout.size(), size);
            // SAFETY: As in `dealloc`, and `size` is the caller's promise.
            unsafe { System.realloc(ptr, layout, size) }
        } else {
            std::ptr::null_mut()
        }
    }
}
