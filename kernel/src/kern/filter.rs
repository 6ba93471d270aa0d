// SPDX-License-Identifier: GPL-2.0-only

//! A block layer filter in Rust: the safe side of `linux/blk-filter.h`.
//!
//! A module implements [`Filter`] for the state it keeps about one attached device, and holds a [`Registration`] as long as it
//! is loaded. From then on user space can attach the filter by name; each attachment is one `Arc` of that state, made by
//! [`Filter::attach`] and given back to [`Filter::detach`].
//!
//! A bio is held by keeping the [`Bio`] that [`Filter::submit`] is given, and sent on by [`Attachment::submit`], which asks
//! `submit` once more with `again` set.
//!
//! ```ignore
//! impl Filter for Tracker {
//!     const NAME: &'static CStr = c"tracker";
//!     fn attach(at: Attachment, device: BlockDevice, _: UserPtr, _: u32) -> Result<Arc<Self>> { try_arc(Tracker::new(at, device)) }
//!     fn submit(&self, _: &Atomic, bio: Bio, sector: u64, sectors: u64, _: bool) -> Option<Bio> { self.marks.mark(sector, sectors); Some(bio) }
//!     fn detach(self: Arc<Self>) {}
//! }
//! ```

use core::ffi::{c_int, c_void, CStr};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use rust_alloc::sync::Arc;

use crate::bdev::BlockDevice;
use crate::bio::Bio;
use crate::errno::{Errno, Result};
use crate::sync::Atomic;
use crate::sys;
use crate::user::UserPtr;

/// What a filter does with one attached device.
pub trait Filter: Send + Sync + Sized + 'static {
    /// The filter's name in the `BLKFILTER_*` ioctls, at most 31 bytes.
    const NAME: &'static CStr;

    /// The filter is put on a device. No bio is shown before this has returned. `device` is valid until [`Filter::detach`] has
    /// returned; `opt` and `optlen` are the caller's. Sleeps.
    fn attach(at: Attachment, device: BlockDevice, opt: UserPtr, optlen: u32) -> Result<Arc<Self>>;

    /// Whether the caller insists, by its options, on a device that an active one (DM, MD, bcache) is made of: asked before
    /// [`Filter::attach`] of such a device, which is refused otherwise. Sleeps.
    fn insists(_opt: UserPtr, _optlen: u32) -> Result<bool> {
        Ok(false)
    }

    /// Whether an ioctl may detach. Not asked when the device goes away or the filter unregisters. Sleeps.
    fn may_detach(&self) -> Result {
        Ok(())
    }

    /// Bios are about to pass unseen: the attachment ends, [`Filter::detach`] follows. Atomic.
    fn leaving(&self) {}

    /// The filter is taken off. No [`Filter::submit`] and no [`Filter::ctl`] is running or will run. Bios still held must be
    /// sent on here. The block device may be gone when this returns. Sleeps.
    fn detach(self: Arc<Self>);

    /// The ioctl `BLKFILTER_CTL`. Sleeps.
    fn ctl(&self, _cmd: u32, _opt: UserPtr, _optlen: &mut u32) -> Result {
        Err(Errno::ENOTTY)
    }

    /// A bio that changes the device: give it back to let it pass, keep it to hold it. `sector` is relative to the device, and the
    /// range, never empty, is cut to the device; the bio itself may be larger. `again`: it was held before and is sent on.
    /// Atomic, with preemption off.
    fn submit(&self, at: &Atomic, bio: Bio, sector: u64, sectors: u64, again: bool) -> Option<Bio>;
}

/// The filter's hold on one attachment: how it sends held bios on, and the gate for a take.
///
/// May be kept longer than the attachment lasts: bios then just go on, and the gate does nothing.
pub struct Attachment(NonNull<c_void>);

// SAFETY: blkfilter's functions may be called from any thread, and at the same time.
unsafe impl Send for Attachment {}
// SAFETY: as above.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Sends a held bio on; [`Filter::submit`] is asked again, inside the accounting of bios in flight. Sleeps, as submitting does.
    pub fn submit(&self, bio: Bio) {
        // SAFETY: we have a reference to the attachment, and the bio is ours to give.
        unsafe { sys::blkfilter_submit(self.0.as_ptr(), bio.into_raw()) }
    }

    /// Bios that arrive from now on wait. Atomic.
    pub fn gate_close(&self) {
        // SAFETY: we have a reference.
        unsafe { sys::blkfilter_gate_close(self.0.as_ptr()) }
    }

    /// Waits until no bio that passed earlier is in flight, or `ETIMEDOUT`. Sleeps.
    pub fn gate_drain(&self, timeout_ms: u32) -> Result {
        // SAFETY: we have a reference.
        Errno::check(unsafe { sys::blkfilter_gate_drain(self.0.as_ptr(), timeout_ms) }).map(|_| ())
    }

    /// Bios that waited are shown to [`Filter::submit`] and go on. Atomic.
    pub fn gate_open(&self) {
        // SAFETY: we have a reference.
        unsafe { sys::blkfilter_gate_open(self.0.as_ptr()) }
    }
}

impl Clone for Attachment {
    fn clone(&self) -> Self {
        // SAFETY: we have a reference, and take another.
        unsafe { sys::blkfilter_dev_get(self.0.as_ptr()) };
        Attachment(self.0)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and is not used again.
        unsafe { sys::blkfilter_dev_put(self.0.as_ptr()) }
    }
}

/// What is done for a bio that is held, in its submitter's context.
pub trait After: Send + Sync + 'static {
    /// May sleep as submitting does, and is not to wait for anything else. The filter may be detached already.
    fn after(self: Arc<Self>);
}

/// Inside of [`Filter::submit`], for a bio that is about to be held: [`After::after`] is called as soon as its submitter may sleep, and
/// before it goes on. `false`: it will not be, and a worker has to; see `blkfilter_after()`. Atomic.
pub fn after<T: After>(_at: &Atomic, bio: &Bio, what: &Arc<T>) -> bool {
    unsafe extern "C" fn call<T: After>(what: *mut c_void) {
        // SAFETY: the reference that was given up below, once.
        T::after(unsafe { Arc::from_raw(what.cast::<T>()) });
    }
    let raw = Arc::into_raw(what.clone());
    // SAFETY: inside of `submit`, with preemption off; the bio is there; the reference is for the one call.
    let asked = unsafe { sys::blkfilter_after(bio.raw(), call::<T>, raw.cast_mut().cast()) };
    if !asked {
        // SAFETY: given up above, and nobody took it. Not the last one: `what` is another.
        drop(unsafe { Arc::from_raw(raw) });
    }
    asked
}

/// The filter `F` is known by its name while this lives. One a module.
pub struct Registration<F: Filter>(PhantomData<F>);

impl<F: Filter> Registration<F> {
    /// Makes the filter known. `EEXIST` when the name is taken. Sleeps.
    pub fn new() -> Result<Self> {
        let name = F::NAME.as_ptr().cast();
        // SAFETY: the name is static and ends in NUL; the callbacks are those of the same `F`, and Registration's drop takes
        // them back before the module goes.
        let result = unsafe {
            sys::bsk_filter_register(
                name,
                attach::<F>,
                insists::<F>,
                may_detach::<F>,
                leaving::<F>,
                detach::<F>,
                ctl::<F>,
                submit::<F>,
            )
        };
        Errno::check(result).map(|_| Registration(PhantomData))
    }
}

impl<F: Filter> Drop for Registration<F> {
    fn drop(&mut self) {
        // SAFETY: registered by `new`.
        unsafe { sys::bsk_filter_unregister() }
    }
}

// The callbacks. INVARIANT: `private` is what `attach` wrote: a pointer from `Arc::<F>::into_raw`, whose count `detach` takes back.

unsafe extern "C" fn attach<F: Filter>(
    fdev: *mut c_void,
    bdev: *mut c_void,
    opt: *const c_void,
    optlen: u32,
    private: *mut *mut c_void,
) -> c_int {
    let (Some(fdev), Some(bdev)) = (NonNull::new(fdev), NonNull::new(bdev)) else {
        return Errno::EINVAL.to_c();
    };
    // SAFETY: blkfilter keeps the attachment alive during the call; the reference taken here is the value's own.
    unsafe { sys::blkfilter_dev_get(fdev.as_ptr()) };
    // SAFETY: blkfilter keeps the block device until `detach` has returned.
    let device = unsafe { BlockDevice::from_raw(bdev) };
    match F::attach(Attachment(fdev), device, UserPtr::new(opt as u64), optlen) {
        Ok(state) => {
            // SAFETY: blkfilter gives a place for the pointer.
            unsafe { *private = Arc::into_raw(state).cast_mut().cast() };
            0
        }
        Err(e) => e.to_c(),
    }
}

unsafe extern "C" fn insists<F: Filter>(opt: *const c_void, optlen: u32) -> c_int {
    F::insists(UserPtr::new(opt as u64), optlen).map_or_else(Errno::to_c, c_int::from)
}

unsafe extern "C" fn may_detach<F: Filter>(private: *mut c_void) -> c_int {
    // SAFETY: INVARIANT above; the count is not taken back before `detach`, which blkfilter calls later.
    let state = unsafe { &*private.cast::<F>() };
    state.may_detach().map_or_else(Errno::to_c, |()| 0)
}

unsafe extern "C" fn leaving<F: Filter>(private: *mut c_void) {
    // SAFETY: INVARIANT above; the count is not taken back before `detach`, which blkfilter calls later.
    let state = unsafe { &*private.cast::<F>() };
    state.leaving();
}

unsafe extern "C" fn detach<F: Filter>(private: *mut c_void) {
    // SAFETY: INVARIANT above; blkfilter calls this once, last.
    F::detach(unsafe { Arc::from_raw(private.cast::<F>()) });
}

unsafe extern "C" fn ctl<F: Filter>(private: *mut c_void, cmd: u32, opt: *mut c_void, optlen: *mut u32) -> c_int {
    // SAFETY: INVARIANT above; no ctl runs after `detach` began. `optlen` is blkfilter's own variable.
    let (state, optlen) = unsafe { (&*private.cast::<F>(), &mut *optlen) };
    state.ctl(cmd, UserPtr::new(opt as u64), optlen).map_or_else(Errno::to_c, |()| 0)
}

/// Not null by its type, so that what passes is known to.
unsafe extern "C" fn submit<F: Filter>(
    private: *mut c_void,
    bio: NonNull<c_void>,
    sector: u64,
    sectors: u64,
    flags: u32,
) -> c_int {
    // SAFETY: INVARIANT above; no submit runs after `detach` began.
    let state = unsafe { &*private.cast::<F>() };
    // SAFETY: blkfilter gives a bio, which is the submitter's and stands still until this returns; if it is kept, blkfilter lets go of it.
    let bio = unsafe { Bio::from_raw(bio) };
    // SAFETY: blkfilter calls with preemption off.
    match state.submit(&unsafe { Atomic::assume() }, bio, sector, sectors, flags & 1 != 0) {
        Some(bio) => {
            // It goes on without us: not a bio that was lost.
            let _ = ManuallyDrop::new(bio);
            0
        }
        None => 1,
    }
}
