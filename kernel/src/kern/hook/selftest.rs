// SPDX-License-Identifier: GPL-2.0-only

//! A disk of our own and a filter for it, on which the hook proves itself at load.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::dev::Device;
use super::ops::Ops;
use crate::errno::{Errno, Result};
use crate::sys;

/// The disk. Nobody else sees it; its driver ends each bio at once.
pub struct TestDisk {
    test: NonNull<c_void>,
    device: Device,
    ops: Ops,
}

/// What has happened on it since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Bios the filter was shown.
    pub shown: u32,
    /// Of these, in `submit_bio_noacct`; the others in `submit_bio_noacct_nocheck`.
    pub early: u32,
    /// Bios the driver saw.
    pub seen: u32,
}

impl TestDisk {
    /// Sleeps.
    pub fn new() -> Result<TestDisk> {
        let (mut test, mut bdev, mut ops) = (ptr::null_mut(), ptr::null_mut(), ptr::null());
        // SAFETY: all three are written on success.
        Errno::check(unsafe { sys::bsk_test_new(&mut test, &mut bdev, &mut ops) })?;
        // SAFETY: the device is live; the operations are static.
        let (device, ops) = unsafe { (Device::from_raw(bdev)?, Ops::from_raw(ops)?) };
        Ok(TestDisk { test: NonNull::new(test).ok_or(Errno::ENOMEM)?, device, ops })
    }

    /// The disk as a device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A filter that counts what it is shown, and holds it if [`TestDisk::hold`] says so.
    pub fn ops(&self) -> Ops {
        self.ops
    }

    /// Sends a bio of a page, and waits for its end. Sleeps.
    pub fn send(&self, write: bool, sector: u64) -> Result {
        // SAFETY: the disk is live.
        Errno::check(unsafe { sys::bsk_test_send(self.test.as_ptr(), write, sector) }).map(|_| ())
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let test = self.test.as_ptr();
        // SAFETY: the disk is live.
        unsafe { Counts { shown: sys::bsk_test_shown(test), early: sys::bsk_test_early(test), seen: sys::bsk_test_seen(test) } }
    }

    /// Whether the filter holds what it is shown, and sends it on a moment later. If the driver has seen it before, the count of
    /// what the driver saw is far off.
    pub fn hold(&self, on: bool) {
        // SAFETY: the disk is live.
        unsafe { sys::bsk_test_hold(self.test.as_ptr(), on) }
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        // SAFETY: made by `new`; the device's own reference keeps its structure a moment longer.
        unsafe { sys::bsk_test_free(self.test.as_ptr()) }
    }
}
