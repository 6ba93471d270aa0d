// SPDX-License-Identifier: GPL-2.0-only

//! Block devices: geometry, opening, and freezing the file systems on them.

use core::ffi::c_void;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::errno::{Errno, Result};
use crate::sys;

/// A block device that somebody keeps alive.
pub struct BlockDevice(NonNull<c_void>);

// SAFETY: the kernel's block_device is made to be used from everywhere.
unsafe impl Sync for BlockDevice {}
// SAFETY: as above.
unsafe impl Send for BlockDevice {}

impl BlockDevice {
    /// # Safety
    /// `raw` is a block_device that outlives the value.
    pub(crate) unsafe fn from_raw(raw: NonNull<c_void>) -> BlockDevice {
        BlockDevice(raw)
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Size in sectors.
    pub fn sectors(&self) -> u64 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_sectors(self.raw()) }
    }

    /// A number that changes when the disk gets another medium, as a loop device does with another file.
    pub fn sequence(&self) -> u64 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_sequence(self.raw()) }
    }

    /// Logical block size in bytes.
    pub fn logical_block(&self) -> u32 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_logical(self.raw()) }
    }

    /// How the memory of its I/O has to be aligned, as a mask.
    pub fn dma_mask(&self) -> u32 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_dma(self.raw()) }
    }

    /// Major and minor number.
    pub fn number(&self) -> (u32, u32) {
        // SAFETY: live.
        unsafe { (sys::bsk_bdev_major(self.raw()), sys::bsk_bdev_minor(self.raw())) }
    }

    /// How high its kind stands in a stack: 0 it takes requests, as what has a real disk below; 1 it takes bios; 2 it is of
    /// device-mapper, which is seldom below one of the second kind.
    pub fn height(&self) -> u32 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_height(self.raw()) }
    }

    /// First sector on the disk.
    pub fn start(&self) -> u64 {
        // SAFETY: live.
        unsafe { sys::bsk_bdev_start(self.raw()) }
    }

    /// Whether both lie on one disk and have sectors in common.
    pub fn overlaps(&self, other: &BlockDevice) -> bool {
        // SAFETY: both live.
        unsafe { sys::bsk_bdev_overlaps(self.raw(), other.raw()) }
    }

    /// Freezes the file systems on the device, and on its partitions; thawed when the value is dropped. Sleeps.
    pub fn freeze(&self) -> Result<Frozen> {
        let mut token = ptr::null_mut();
        // SAFETY: live; the token is written on success.
        Errno::check(unsafe { sys::bsk_bdev_freeze(self.raw(), &mut token) } as i32)?;
        Ok(Frozen(token))
    }
}

/// File systems that stand still until this is dropped.
pub struct Frozen(*mut c_void);

// SAFETY: a freeze may be undone by any thread.
unsafe impl Send for Frozen {}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: the token came from a freeze.
        unsafe { sys::bsk_bdev_thaw(self.0) };
    }
}

/// A block device that we hold open.
pub struct Open {
    handle: NonNull<c_void>,
    device: BlockDevice,
}

// SAFETY: the handle is a heap object without ties to a thread.
unsafe impl Sync for Open {}
// SAFETY: as above.
unsafe impl Send for Open {}

impl Open {
    fn of(handle: *mut c_void) -> Result<Open> {
        let handle = NonNull::new(handle).ok_or(Errno::ENODEV)?;
        // SAFETY: the handle is open.
        let raw = NonNull::new(unsafe { sys::bsk_bdev_of(handle.as_ptr()) }).ok_or(Errno::ENODEV)?;
        // SAFETY: the device lives as long as the handle, which is closed when the value is dropped.
        Ok(Open { handle, device: unsafe { BlockDevice::from_raw(raw) } })
    }

    /// By number, for reading, beside other users. Sleeps.
    pub fn by_number((major, minor): (u32, u32)) -> Result<Open> {
        let mut handle = ptr::null_mut();
        // SAFETY: process context; the handle is written on success.
        Errno::check(unsafe { sys::bsk_bdev_open_dev(major, minor, &mut handle) } as i32)?;
        Open::of(handle)
    }

    /// By path, a string that ends in NUL, for writing, and for us alone. Sleeps.
    pub fn exclusive(path: &[u8]) -> Result<Open> {
        if path.last() != Some(&0) {
            return Err(Errno::EINVAL);
        }
        let mut handle = ptr::null_mut();
        // SAFETY: the path ends in NUL; process context.
        Errno::check(unsafe { sys::bsk_bdev_open_path(path.as_ptr(), true, &mut handle) } as i32)?;
        Open::of(handle)
    }
}

impl Deref for Open {
    type Target = BlockDevice;
    fn deref(&self) -> &BlockDevice {
        &self.device
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once.
        unsafe { sys::bsk_bdev_close(self.handle.as_ptr()) };
    }
}
