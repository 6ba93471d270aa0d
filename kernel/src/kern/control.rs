// SPDX-License-Identifier: GPL-2.0-only

//! `/dev/blksnap-control`: each open file is a session.

use core::ffi::{c_long, c_void};
use core::marker::PhantomData;

use rust_alloc::boxed::Box;
use rust_alloc::sync::Arc;

use crate::alloc::try_box;
use crate::errno::{Errno, Result};
use crate::sys;
use crate::user::UserPtr;

/// What an open control file is. Its `Drop` is the close.
pub trait Session: Sized + Send + Sync + 'static {
    /// What all sessions share.
    type Shared: Send + Sync + 'static;
    /// The open. Sleeps.
    fn open(shared: &Arc<Self::Shared>) -> Result<Self>;
    /// A command. Sleeps. Several may run at once. The value is what ioctl(2) returns.
    fn ioctl(&self, cmd: u32, arg: UserPtr) -> Result<u32>;
    /// Whether poll(2) finds something to be fetched. Sleeps. Asked when a poll begins, and after each [`wake`].
    fn ready(&self) -> bool;
}

/// Whoever polls a session looks again. From anywhere.
pub fn wake() {
    // SAFETY: the queue is static.
    unsafe { sys::bsk_control_wake() };
}

unsafe extern "C" fn open<S: Session>(ctx: *mut c_void, out: *mut *mut c_void) -> c_long {
    // SAFETY: ctx is the reference that `Control` keeps; only borrowed here.
    let shared = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(ctx.cast_const().cast::<S::Shared>()) });
    match S::open(&shared).and_then(try_box) {
        Ok(session) => {
            // SAFETY: `out` is the file's private pointer.
            unsafe { *out = Box::into_raw(session).cast() };
            0
        }
        Err(e) => e.to_c().into(),
    }
}

unsafe extern "C" fn release<S: Session>(session: *mut c_void) {
    // SAFETY: made by `open`, released once, after the last ioctl.
    drop(unsafe { Box::from_raw(session.cast::<S>()) });
}

unsafe extern "C" fn ioctl<S: Session>(session: *mut c_void, cmd: u32, arg: u64) -> c_long {
    // SAFETY: made by `open`, released only after this call.
    let session = unsafe { &*session.cast_const().cast::<S>() };
    match session.ioctl(cmd, UserPtr::new(arg)) {
        Ok(v) => c_long::from(v),
        Err(e) => e.to_c().into(),
    }
}

unsafe extern "C" fn poll<S: Session>(session: *mut c_void) -> bool {
    // SAFETY: made by `open`, released only after this call.
    unsafe { &*session.cast_const().cast::<S>() }.ready()
}

/// The control device, there until dropped.
pub struct Control<S: Session> {
    ctx: *const S::Shared,
    _session: PhantomData<fn() -> S>,
}

// SAFETY: the pointer is an `Arc`'s.
unsafe impl<S: Session> Sync for Control<S> {}
// SAFETY: as above.
unsafe impl<S: Session> Send for Control<S> {}

impl<S: Session> Control<S> {
    /// Makes the device. One at a time. Sleeps.
    pub fn new(shared: &Arc<S::Shared>) -> Result<Self> {
        let ctx = Arc::into_raw(shared.clone());
        // SAFETY: the callbacks get the context they were made for.
        let err = unsafe { sys::bsk_control_init(ctx.cast_mut().cast(), open::<S>, release::<S>, ioctl::<S>, poll::<S>) };
        if let Err(e) = Errno::check(err) {
            // SAFETY: not taken.
            drop(unsafe { Arc::from_raw(ctx) });
            return Err(e);
        }
        Ok(Control { ctx, _session: PhantomData })
    }
}

impl<S: Session> Drop for Control<S> {
    fn drop(&mut self) {
        // SAFETY: process context; no session is open, as an open file holds the module. Nothing uses ctx afterwards.
        unsafe {
            sys::bsk_control_exit();
            drop(Arc::from_raw(self.ctx));
        }
    }
}
