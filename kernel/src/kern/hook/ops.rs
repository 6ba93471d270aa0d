// SPDX-License-Identifier: GPL-2.0-only

//! A filter module's operations: `struct blkfilter_ops`.
//!
//! The filter stays loaded while it is registered, and its functions may be called until it is unregistered: that is the promise
//! of `blkfilter_register()`'s caller.

use core::ffi::{c_int, c_void, CStr};
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::sync::Arc;

use super::dev::{Caller, Device};
use crate::errno::{Errno, Result};
use crate::sync::Atomic;
use crate::sys;

/// A registered filter's operations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ops(NonNull<c_void>);

// SAFETY: the structure is constant and may be used from everywhere.
unsafe impl Send for Ops {}
// SAFETY: as above.
unsafe impl Sync for Ops {}

/// Keeps a filter's module loaded.
pub struct OpsHold(Ops);

/// A filter's state of one attachment, and its function that is asked about bios.
pub struct Private {
    ops: Ops,
    submit: unsafe extern "C" fn(*mut c_void, *mut c_void, u64, u64, u32) -> c_int,
    state: AtomicPtr<c_void>,
    text: (usize, usize),
}

impl Ops {
    /// # Safety
    /// `raw` is null, or a `struct blkfilter_ops` that stays until it is unregistered.
    pub(crate) unsafe fn from_raw(raw: *const c_void) -> Result<Ops> {
        // SAFETY: as this function demands.
        if unsafe { sys::bsk_ops_valid(raw) } {
            NonNull::new(raw.cast_mut()).map(Ops).ok_or(Errno::EINVAL)
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(crate) fn raw(self) -> *const c_void {
        self.0.as_ptr()
    }

    /// The filter's name.
    pub fn name(&self) -> &[u8] {
        // SAFETY: a valid structure has a name that ends in NUL.
        unsafe { CStr::from_ptr(sys::bsk_ops_name(self.raw())) }.to_bytes()
    }

    /// Keeps the filter's module; `ENOENT` when it is being unloaded.
    pub fn hold(self) -> Result<OpsHold> {
        // SAFETY: the structure and its owner are there while it is registered, which the control plane's lock keeps.
        if unsafe { sys::bsk_ops_get(self.raw()) } {
            Ok(OpsHold(self))
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// Asks the filter whether the caller insists on a device that it is better not attached to. Sleeps.
    pub fn insists(self, _hold: &OpsHold, opt: u64, optlen: u32) -> Result<bool> {
        // SAFETY: the filter's module is held.
        Errno::check(unsafe { sys::bsk_ops_insists(self.raw(), opt, optlen) }).map(|answer| answer > 0)
    }

    /// What a new attachment knows of the filter.
    pub fn private(self) -> Private {
        let (mut start, mut len) = (0, 0);
        // SAFETY: a valid structure.
        unsafe { sys::bsk_ops_text(self.raw(), &mut start, &mut len) };
        // SAFETY: the shim gives the member `submit`, which is not null in a valid structure and has this type.
        let submit = unsafe { mem::transmute::<*mut c_void, _>(sys::bsk_ops_submit(self.raw())) };
        Private { ops: self, submit, state: AtomicPtr::new(ptr::null_mut()), text: (start as usize, len as usize) }
    }
}

impl Drop for OpsHold {
    fn drop(&mut self) {
        // SAFETY: held by `Ops::hold`.
        unsafe { sys::bsk_ops_put(self.0.raw()) }
    }
}

impl Private {
    /// The filter.
    pub fn ops(&self) -> Ops {
        self.ops
    }

    /// Whether an address is in the filter's own text.
    #[inline]
    pub fn is_own(&self, address: usize) -> bool {
        address.wrapping_sub(self.text.0) < self.text.1
    }

    /// Asks the filter to attach. `owner` is the attachment, as the filter will know it. Sleeps.
    pub fn attach<T>(&self, owner: &Arc<T>, device: &Device, caller: &Caller, opt: u64, optlen: u32) -> Result {
        let _ = caller;
        let mut state = ptr::null_mut();
        let fdev = Arc::as_ptr(owner).cast_mut().cast();
        // SAFETY: the filter's module is held by the caller; the pointers are valid during the call, and the attachment until
        // `detach` has returned.
        Errno::check(unsafe { sys::bsk_ops_attach(self.ops.raw(), fdev, device.raw(), opt, optlen, &mut state) })?;
        self.state.store(state, Ordering::Release);
        Ok(())
    }

    /// Asks whether an ioctl may detach. Sleeps.
    pub fn may_detach(&self) -> Result {
        // SAFETY: attached, and detach waits for us.
        Errno::check(unsafe { sys::bsk_ops_may_detach(self.ops.raw(), self.state.load(Ordering::Acquire)) }).map(|_| ())
    }

    /// Tells the filter that bios are about to pass unseen. Before [`Private::detach`]. Atomic.
    pub fn leaving(&self) {
        // SAFETY: attached, and detach comes later.
        unsafe { sys::bsk_ops_leaving(self.ops.raw(), self.state.load(Ordering::Acquire)) }
    }

    /// Tells the filter that it is detached. Once, last. Sleeps.
    pub fn detach(&self) {
        // SAFETY: attached, and nobody else calls the filter for this attachment any more.
        unsafe { sys::bsk_ops_detach(self.ops.raw(), self.state.load(Ordering::Acquire)) }
    }

    /// Passes an ioctl to the filter. Sleeps.
    pub fn ctl(&self, cmd: u32, opt: u64, optlen: &mut u32) -> Result {
        // SAFETY: attached, and detach waits for us.
        Errno::check(unsafe { sys::bsk_ops_ctl(self.ops.raw(), self.state.load(Ordering::Acquire), cmd, opt, optlen) })
            .map(|_| ())
    }

    /// Shows the filter a bio: whether the filter has kept it.
    #[inline]
    pub(super) fn submit(&self, _at: &Atomic, bio: NonNull<c_void>, sector: u64, sectors: u64, again: bool) -> bool {
        // SAFETY: attached, and detach waits until nobody is here with preemption off. The bio is the caller's to show.
        unsafe { (self.submit)(self.state.load(Ordering::Relaxed), bio.as_ptr(), sector, sectors, again.into()) != 0 }
    }
}
