// SPDX-License-Identifier: GPL-2.0-only

//! The block device of a snapshot image.
//!
//! States: 1 made, holds a reference to its owner; 2 added: users open it and send requests to the owner; 3 removed: new
//! requests fail, the reference goes when the last user has closed it.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};

use rust_alloc::sync::Arc;

use crate::bdev::BlockDevice;
use crate::bio::Bio;
use crate::errno::{Errno, Result};
use crate::sys;

/// Who serves the requests to a disk.
pub trait Serve: Send + Sync + 'static {
    /// A request: to be ended by [`Bio::end`], now or later. May sleep as any submission.
    fn serve(self: &Arc<Self>, bio: Bio);
}

unsafe extern "C" fn serve<T: Serve>(ctx: *mut c_void, bio: *mut c_void) {
    // SAFETY: the disk holds a reference to the owner until it is released; only its address is borrowed here.
    let owner = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(ctx.cast_const().cast::<T>()) });
    if let Some(bio) = NonNull::new(bio) {
        // SAFETY: a request is the driver's until it ends it.
        owner.serve(unsafe { Bio::from_raw(bio) });
    }
}

unsafe extern "C" fn release<T: Serve>(ctx: *mut c_void) {
    // SAFETY: process context. Completions of forwarded requests touch the owner inside a read side, after they ended the request.
    unsafe { sys::bsk_synchronize_rcu() };
    // SAFETY: the reference that `new` gave to the disk.
    drop(unsafe { Arc::from_raw(ctx.cast_const().cast::<T>()) });
}

/// A disk; removed when dropped.
pub struct Disk {
    raw: NonNull<c_void>,
    added: AtomicBool,
}

// SAFETY: the gendisk is made to be used from everywhere.
unsafe impl Sync for Disk {}
// SAFETY: as above.
unsafe impl Send for Disk {}

impl Disk {
    /// A disk with the size of an origin, not yet seen by anybody. Its requests are multiples of `logical` bytes, their memory aligned by
    /// the mask `dma`. Sleeps.
    pub fn new<T: Serve>(origin: &BlockDevice, logical: u32, dma: u32, sectors: u64, owner: &Arc<T>) -> Result<Disk> {
        let ctx = Arc::into_raw(owner.clone());
        let mut raw = ptr::null_mut();
        // SAFETY: the callbacks get the context they were made for; its reference is the disk's.
        let err = unsafe {
            sys::bsk_disk_new(origin.raw(), logical, dma, sectors, ctx.cast_mut().cast(), serve::<T>, release::<T>, &mut raw)
        };
        match (Errno::check(err as i32), NonNull::new(raw)) {
            (Ok(_), Some(raw)) => Ok(Disk { raw, added: AtomicBool::new(false) }),
            (result, _) => {
                // SAFETY: not taken by a disk.
                drop(unsafe { Arc::from_raw(ctx) });
                Err(result.err().unwrap_or(Errno::ENOMEM))
            }
        }
    }

    /// Shows it to users: `/dev/NAME`. Sleeps. Once.
    pub fn add(&self) -> Result {
        // SAFETY: live; process context.
        Errno::check(unsafe { sys::bsk_disk_add(self.raw.as_ptr()) } as i32)?;
        self.added.store(true, Ordering::Release);
        Ok(())
    }

    /// Its name, NUL-padded.
    pub fn name(&self) -> [u8; 32] {
        let mut name = [0; 32];
        // SAFETY: the buffer has the size that is given.
        unsafe { sys::bsk_disk_name(self.raw.as_ptr(), name.as_mut_ptr(), 32) };
        name
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let added = *self.added.get_mut();
        // SAFETY: live, and not used any more; process context.
        unsafe { sys::bsk_disk_del(self.raw.as_ptr(), added) };
    }
}

/// At module unload: waits until the last disk is released. Sleeps.
pub fn wait_for_all() {
    // SAFETY: process context.
    unsafe { sys::bsk_disk_exit() };
}
