// SPDX-License-Identifier: GPL-2.0-only

//! A module's life: made at load, dropped at unload.
//!
//! States of the slot: 1 empty; 2 being initialised; 3 holds the module; 4 being dropped; then 1. The kernel calls init and
//! exit once each, in order, from process context, so that nothing else ever looks at the slot.

use core::cell::UnsafeCell;
use core::ffi::c_int;

use crate::errno::Result;

/// What a kernel module's crate implements, once. `Drop` is its exit.
pub trait Module: Sized + Send + Sync + 'static {
    /// The load. An error refuses it. Sleeps.
    fn init() -> Result<Self>;
}

/// Where [`module!`](crate::module!) keeps the module. Used by the macro only.
#[doc(hidden)]
pub struct Slot<T>(UnsafeCell<Option<T>>);

// SAFETY: only `init` and `exit` touch the cell, and the kernel never runs them at the same time.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}

impl<T: Module> Slot<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Slot(UnsafeCell::new(None))
    }

    /// # Safety
    /// Called by the kernel's module loader only, once, before `exit`.
    pub unsafe fn init(&self) -> c_int {
        match T::init() {
            Ok(module) => {
                // SAFETY: nothing else looks at the slot (see the module's states).
                unsafe { *self.0.get() = Some(module) };
                0
            }
            Err(e) => e.to_c(),
        }
    }

    /// # Safety
    /// Called by the kernel's module loader only, once, after an `init` that returned zero.
    pub unsafe fn exit(&self) {
        // SAFETY: as in `init`.
        drop(unsafe { (*self.0.get()).take() });
    }
}

impl<T: Module> Default for Slot<T> {
    fn default() -> Self {
        Slot::new()
    }
}

/// Makes a type that implements [`Module`] the kernel module: the two entry points that `shim/module.c` calls.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! module {
    ($type:ty) => {
        const _: () = {
            static SLOT: $crate::module::Slot<$type> = $crate::module::Slot::new();

            #[no_mangle]
            extern "C" fn bsr_module_init() -> core::ffi::c_int {
                // SAFETY: called from module_init only.
                unsafe { SLOT.init() }
            }

            #[no_mangle]
            extern "C" fn bsr_module_exit() {
                // SAFETY: called from module_exit only, which the kernel does after a successful init.
                unsafe { SLOT.exit() }
            }
        };
    };
}
