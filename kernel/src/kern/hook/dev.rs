// SPDX-License-Identifier: GPL-2.0-only

//! A block device, its disk, and the process that asks something of it.

use core::ffi::{c_ulong, c_void};
use core::fmt;
use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::{Errno, Result};
use crate::state::Name;
use crate::sys;

/// A disk's identity. It says nothing of whether the disk is still there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Disk(usize);

impl Disk {
    pub(crate) fn of(raw: *mut c_void) -> Disk {
        Disk(raw as usize)
    }

    pub(crate) fn address(self) -> usize {
        self.0
    }
}

/// A block device's structure, referenced: it stays, though the device may go.
pub struct Device(NonNull<c_void>);

// SAFETY: the kernel's block_device is made to be used from everywhere.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    /// `raw` is a live block_device.
    pub(crate) unsafe fn from_raw(raw: *mut c_void) -> Result<Device> {
        let raw = NonNull::new(raw).ok_or(Errno::ENODEV)?;
        // SAFETY: live, as this function demands.
        unsafe { sys::bsk_dev_get(raw.as_ptr()) };
        Ok(Device(raw))
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Its disk.
    pub fn disk(&self) -> Disk {
        // SAFETY: referenced.
        Disk::of(unsafe { sys::bsk_dev_disk(self.raw()) })
    }

    /// Its name, padded with NUL.
    pub fn name(&self) -> [u8; 40] {
        let mut name = [0; 40];
        // SAFETY: referenced; at most the buffer's length is written.
        unsafe { sys::bsk_dev_name(self.raw(), name.as_mut_ptr(), name.len() as u32) };
        name
    }

    /// Major and minor number, and how many sectors it has now.
    pub fn facts(&self) -> (u32, u32, u64) {
        let (mut major, mut minor, mut sectors) = (0, 0, 0);
        // SAFETY: referenced; the places are written.
        unsafe { sys::bsk_dev_facts(self.raw(), &mut major, &mut minor, &mut sectors) };
        (major, minor, sectors)
    }

    /// First sector on the disk.
    pub fn first(&self) -> u64 {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_first(self.raw()) }
    }

    /// Its sectors on the disk.
    pub fn extent(&self) -> Extent {
        // SAFETY: referenced.
        let sectors = unsafe { sys::bsk_dev_sectors(self.raw()) };
        let mut extent =
            Extent { first: self.first(), sectors: NonNull::new(sectors.cast_mut().cast()), least: 0, device: self.clone() };
        extent.least = extent.end();
        extent
    }

    /// Whether its disk is being deleted, or was.
    pub fn is_dying(&self) -> bool {
        // SAFETY: referenced, and so is its disk.
        unsafe { sys::bsk_disk_dying(sys::bsk_dev_disk(self.raw())) }
    }

    /// Whether it has zones that must be written in order.
    pub fn is_zoned(&self) -> bool {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_zoned(self.raw()) }
    }

    /// Whether it can be mapped into memory, past every bio.
    pub fn is_dax(&self) -> bool {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_dax(self.raw()) }
    }

    /// Waits until the bios in its queue have ended; whether they did in time. New writes may come meanwhile. Sleeps.
    pub fn drain_queue(&self, timeout_ms: u32) -> bool {
        // SAFETY: referenced, and open: its queue is there.
        unsafe { sys::bsk_dev_settle(self.raw(), timeout_ms, false) }
    }

    /// The same, and for what a driver without requests has under way. No new write may come meanwhile. Sleeps.
    pub fn settle(&self, timeout_ms: u32) -> bool {
        // SAFETY: referenced, and open: its queue is there.
        unsafe { sys::bsk_dev_settle(self.raw(), timeout_ms, true) }
    }

    /// Whether there is no way to learn what its driver has under way.
    pub fn is_untold(&self) -> bool {
        // SAFETY: referenced, and open: its queue is there.
        unsafe { sys::bsk_dev_untold(self.raw()) }
    }

    /// Whether an active DM, MD or bcache device is made of it, of its disk, or of one of its partitions. Sleeps, for the disk's
    /// `open_mutex`; not under the lock of the control plane.
    pub fn is_leg(&self) -> bool {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_leg(self.raw()) }
    }

    /// Whether such a device sends it requests, past every bio, as DM's multipath does. Sleeps, as [`Device::is_leg`].
    pub fn is_bypassed(&self) -> bool {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_bypassed(self.raw()) }
    }
}

/// The sectors of a device on its disk. A partition may grow and shrink while it is in use, so its end is asked for each time; but it keeps
/// what it had, as it may be as large again before anybody has looked. A whole disk has no end, whatever its size becomes.
pub struct Extent {
    first: u64,
    /// The size of a partition, as the kernel keeps it; it is there as long as the device's structure.
    sectors: Option<NonNull<AtomicU64>>,
    /// Its end in the beginning.
    least: u64,
    device: Device,
}

// SAFETY: what the pointer leads to is read only, by atomic loads.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn end(&self) -> u64 {
        // SAFETY: the device is referenced. The kernel writes the number with plain stores of its size.
        let now = self.sectors.map_or(u64::MAX, |n| self.first.saturating_add(unsafe { n.as_ref() }.load(Ordering::Relaxed)));
        now.max(self.least)
    }

    /// Whether it is a whole disk.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.sectors.is_none()
    }

    /// The part of `sectors` sectors from `sector` of the disk that lies on the device, as its first sector there and their number.
    pub fn part(&self, sector: u64, sectors: u64) -> Option<(u64, u64)> {
        let (from, end) = (sector.max(self.first), sector.saturating_add(sectors).min(self.end()));
        (from < end).then(|| (from.wrapping_sub(self.first), end.wrapping_sub(from)))
    }

    /// Whether the two share sectors.
    pub fn meets(&self, other: &Extent) -> bool {
        self.device.disk() == other.device.disk() && self.first < other.end() && other.first < self.end()
    }
}

impl Clone for Device {
    fn clone(&self) -> Self {
        // SAFETY: referenced.
        unsafe { sys::bsk_dev_get(self.raw()) };
        Device(self.0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { sys::bsk_dev_put(self.raw()) }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name(&self.name()).fmt(f)
    }
}

/// The process that made an ioctl, and its argument.
pub struct Caller(pub(crate) u64);

/// Plain data that may be copied from and to a process.
///
/// # Safety
/// Every pattern of bits is a value, and there is no padding.
pub unsafe trait Plain: Copy {}

impl Caller {
    /// Nobody: for what the module does by itself.
    pub fn none() -> Caller {
        Caller(0)
    }

    /// Whether it may administer the system.
    pub fn is_admin(&self) -> bool {
        // SAFETY: process context.
        unsafe { sys::bsk_hook_admin() }
    }

    /// The argument. `EFAULT`. Sleeps.
    pub fn read<T: Plain>(&self) -> Result<T> {
        let mut value = mem::MaybeUninit::<T>::uninit();
        // SAFETY: the place has the size of T.
        if unsafe { sys::bsk_hook_read(value.as_mut_ptr().cast(), self.0, mem::size_of::<T>() as c_ulong) } {
            // SAFETY: all bytes were written, and any are a T.
            Ok(unsafe { value.assume_init() })
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Changes the argument. `EFAULT`. Sleeps.
    pub fn write<T: Plain>(&self, value: &T) -> Result {
        // SAFETY: the value has no padding.
        if unsafe { sys::bsk_hook_write(self.0, core::ptr::from_ref(value).cast(), mem::size_of::<T>() as c_ulong) } {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
}

/// `BLKFILTER_ATTACH`'s argument, without what pads it in a 64-bit program: a 32-bit one has no more.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct Attach {
    /// The filter, padded with NUL.
    pub name: [u8; 32],
    /// The filter's own argument.
    pub opt: u64,
    /// Its size.
    pub optlen: u32,
}

/// `BLKFILTER_DETACH`'s argument.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Detach {
    /// The filter, padded with NUL.
    pub name: [u8; 32],
}

/// `BLKFILTER_CTL`'s argument.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ctl {
    /// The filter, padded with NUL.
    pub name: [u8; 32],
    /// The filter's own command.
    pub cmd: u32,
    /// The size of its argument; may be changed.
    pub optlen: u32,
    /// Its argument.
    pub opt: u64,
}

// SAFETY: integers without padding between or behind them.
unsafe impl Plain for Attach {}
// SAFETY: as above.
unsafe impl Plain for Detach {}
// SAFETY: as above.
unsafe impl Plain for Ctl {}

const _: () = assert!(mem::size_of::<Attach>() == 44 && mem::size_of::<Detach>() == 32 && mem::size_of::<Ctl>() == 48);
