// SPDX-License-Identifier: GPL-2.0-only
//! What is around `table.rs` in the kernel.

#[allow(
    dead_code,
    unsafe_code,
    unreachable_pub,
    reason = "the kernel's file, as it is"
)]
#[path = "../../../kernel/src/kern/hook/table.rs"]
pub(crate) mod table;

pub(crate) mod dev {
    /// A disk, by its address.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Disk(pub(crate) usize);
}

pub(crate) mod heads {
    use std::ffi::c_void;
    use std::ptr;

    use loom::sync::atomic::AtomicPtr;

    loom::lazy_static! {
        static ref HEAD: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    }

    /// All disks have one list, which is the worst there is.
    pub(crate) fn head(_disk: super::dev::Disk) -> *const AtomicPtr<c_void> {
        &*HEAD
    }
}
