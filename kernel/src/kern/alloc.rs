// SPDX-License-Identifier: GPL-2.0-only

//! Rust's global allocator: kernel memory, kmalloc when small, vmalloc when large.
//!
//! Context: process context that may sleep; reclaim never starts or waits for I/O (`GFP_NOIO`), failures are silent and come
//! back as errors. `alloc` is built with `no_global_oom_handling`, so that only fallible calls exist: `Vec::try_reserve`,
//! then `push` within the capacity is written as `extend`-free code, see [`try_box`] and [`try_vec`] for the common cases.

use core::alloc::{GlobalAlloc, Layout};

use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;
use rust_alloc::vec::Vec;

use crate::errno::{Errno, Result};
use crate::sys;

struct Kernel;

#[global_allocator]
static ALLOCATOR: Kernel = Kernel;

// SAFETY: bsk_alloc gives memory of at least the size and alignment asked for, or null; bsk_free takes back only such memory.
unsafe impl GlobalAlloc for Kernel {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not zero (the caller's duty) and the context may sleep (rule 2 of the crate).
        unsafe { sys::bsk_alloc(layout.size(), layout.align(), false).cast() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { sys::bsk_alloc(layout.size(), layout.align(), true).cast() }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        // SAFETY: the pointer came from `alloc` or `alloc_zeroed` (the caller's duty).
        unsafe { sys::bsk_free(ptr.cast()) }
    }
}

/// A `Box` of `value`, or `ENOMEM`. Sleeps.
pub fn try_box<T>(value: T) -> Result<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        // SAFETY: a box of a type without size owns no memory; a dangling, aligned pointer is what it holds.
        return Ok(unsafe {
            let ptr = core::ptr::NonNull::<T>::dangling().as_ptr();
            ptr.write(value);
            Box::from_raw(ptr)
        });
    }
    // SAFETY: the layout's size is not zero.
    let ptr = unsafe { rust_alloc::alloc::alloc(layout) }.cast::<T>();
    if ptr.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: `ptr` is fresh memory of T's layout from the global allocator, which is the one Box frees to.
    Ok(unsafe {
        ptr.write(value);
        Box::from_raw(ptr)
    })
}

/// An `Arc` of `value`, or `ENOMEM`. Sleeps.
pub fn try_arc<T>(value: T) -> Result<Arc<T>> {
    Arc::try_new(value).map_err(|_| Errno::ENOMEM)
}

/// An `Arc` of a value, or the value back when there is no memory. Sleeps.
pub fn try_arc_or<T>(value: T) -> core::result::Result<Arc<T>, T> {
    match Arc::<T>::try_new_uninit() {
        Ok(mut arc) => {
            match Arc::get_mut(&mut arc) {
                Some(place) => {
                    place.write(value);
                }
                None => return Err(value),
            }
            // SAFETY: written just above.
            Ok(unsafe { arc.assume_init() })
        }
        Err(_) => Err(value),
    }
}

/// A `Vec` of `len` values that `make` gives, or `ENOMEM`. Sleeps.
pub fn try_vec_with<T>(len: usize, mut make: impl FnMut() -> T) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    for slot in v.spare_capacity_mut().iter_mut().take(len) {
        slot.write(make());
    }
    // SAFETY: the capacity is at least `len` and the first `len` slots were just written.
    unsafe { v.set_len(len) };
    Ok(v)
}

/// A `Vec` of `len` copies of `value`, or `ENOMEM`. Sleeps.
pub fn try_vec<T: Clone>(len: usize, value: T) -> Result<Vec<T>> {
    let mut v = Vec::new();
    v.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    for slot in v.spare_capacity_mut().iter_mut().take(len) {
        slot.write(value.clone());
    }
    // SAFETY: the capacity is at least `len` and the first `len` slots were just written.
    unsafe { v.set_len(len) };
    Ok(v)
}
