// SPDX-License-Identifier: GPL-2.0-only

//! The heads of the lists of attachments, which the hook looks at itself (`shim/hook_bio.c`).

use core::ffi::c_void;
use core::ptr;

use super::dev::Disk;
use crate::sync::atomic::AtomicPtr;

/// Which bits of a disk's address choose the list: `BSK_DISK_SHIFT`. A gendisk is larger than this.
const SHIFT: u32 = 10;
const LISTS: usize = 256;

/// The heads.
#[no_mangle]
static bsr_disks: [AtomicPtr<c_void>; LISTS] = [const { AtomicPtr::new(ptr::null_mut()) }; LISTS];

/// The head of a disk's list.
#[inline(always)]
pub(super) fn head(disk: Disk) -> *const AtomicPtr<c_void> {
    &bsr_disks[(disk.address() >> SHIFT) % LISTS]
}
