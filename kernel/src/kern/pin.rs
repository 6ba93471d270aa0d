// SPDX-License-Identifier: GPL-2.0-only

//! A file that is written past its file system, by the blocks that it has: pinned as a swap file is, until dropped.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::bdev::BlockDevice;
use crate::errno::{Errno, Result};
use crate::sys;

/// A pinned file. Nobody can write, cut, clone or remove it meanwhile, and its file system stays mounted.
pub struct Pin {
    raw: NonNull<c_void>,
    device: BlockDevice,
}

// SAFETY: what is behind it does not change after it was made.
unsafe impl Sync for Pin {}
// SAFETY: it has no ties to a thread.
unsafe impl Send for Pin {}

impl Pin {
    /// Pins the file behind a descriptor of the calling process, open for writing. `EOPNOTSUPP`: its file system cannot, and the log says
    /// why; `EBUSY`: it is pinned, by us or as a swap file; `EINVAL`: it has holes or shared blocks. Sleeps, with I/O.
    pub fn new(fd: i32) -> Result<Pin> {
        let mut raw = ptr::null_mut();
        // SAFETY: process context; the handle is written on success.
        Errno::check(unsafe { sys::bsk_pin_new(fd, &mut raw) } as i32)?;
        let raw = NonNull::new(raw).ok_or(Errno::EIO)?;
        // SAFETY: the handle is live.
        match NonNull::new(unsafe { sys::bsk_pin_bdev(raw.as_ptr()) }) {
            // SAFETY: the device is the mounted file system's, which the open file keeps mounted until the value is dropped.
            Some(device) => Ok(Pin { raw, device: unsafe { BlockDevice::from_raw(device) } }),
            None => {
                // SAFETY: not used any more.
                unsafe { sys::bsk_pin_free(raw.as_ptr()) };
                Err(Errno::EIO)
            }
        }
    }

    /// The device that its blocks are on.
    pub fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// Whether both are the same file.
    pub fn same(&self, other: &Pin) -> bool {
        // SAFETY: both live.
        unsafe { sys::bsk_pin_same(self.raw.as_ptr(), other.raw.as_ptr()) }
    }

    /// Its extents, in the order of the file: first page on the device, and how many.
    pub fn extents(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..).map_while(|index| {
            let (mut start, mut pages) = (0, 0);
            // SAFETY: live; the numbers are written when there is such an extent.
            unsafe { sys::bsk_pin_extent(self.raw.as_ptr(), index, &mut start, &mut pages) }.then_some((start, pages))
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // SAFETY: made by `new`, given back once; process context.
        unsafe { sys::bsk_pin_free(self.raw.as_ptr()) };
    }
}
