// SPDX-License-Identifier: GPL-2.0-only

//! A work item that owns its queues: bios of others and completed I/O of our own are pushed from any context, and one thread
//! at a time runs [`Work::run`] to deal with them.
//!
//! States of a worker: 1 made: pushes are kept, nothing runs. 2 started: it holds a reference to its owner, each push or kick
//! makes `run` run at least once afterwards. 3 stopped: the reference is given back, nothing runs any more.
//! A worker that is started must be stopped, or its owner lives for ever.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use rust_alloc::sync::Arc;

use crate::bio::Bio;
use crate::errno::{Errno, Result};
use crate::io::Done;
use crate::sys;

/// Runs `f` on a thread that goes before usual ones, whoever else wants the processor and whatever the caller's priority is, and waits for its
/// end; on the caller's own, where none is to be had within 100 ms. Sleeps.
pub fn urgently<F: FnMut() + Send>(f: &mut F) {
    unsafe extern "C" fn call<F: FnMut()>(ctx: *mut c_void) {
        // SAFETY: `ctx` is the reference below, which nobody else uses during the call.
        unsafe { (*ctx.cast::<F>())() }
    }
    // SAFETY: process context, as this function demands; `f` outlives the call, which has ended when this returns.
    unsafe { sys::bsk_call_urgent(call::<F>, ptr::from_mut(f).cast()) }
}

/// What a worker's owner does. An owner with several workers implements it once for each, by a number.
pub trait Work<const N: u8 = 0>: Send + Sync + 'static {
    /// Runs in process context, on one thread at a time; never waits for a page to be written by ourselves.
    fn run(&self);

    /// A part of it on another's thread, for [`Worker::here`], without waiting for locks. Whether nothing is left.
    fn round_here(&self) -> bool {
        false
    }
}

/// Which queue a worker runs on.
#[derive(Clone, Copy)]
pub enum Queue {
    /// Copy-on-write: soon.
    Fast = 0,
    /// Store I/O on files: sleeps long.
    Slow = 1,
    /// A take's, which nobody waits for to get memory: may flush other work queues.
    Take = 2,
    /// A storage's growth, beside what is slow: work of that queue may drop the storage, and then waits for its growth, which never waits
    /// for that work.
    Growth = 3,
}

/// The two lists for bios of others.
#[derive(Clone, Copy)]
pub enum List {
    /// Writes to the origin that are held.
    Held = 0,
    /// Requests to the image.
    Requests = 1,
}

/// A work item of the owner `T`.
pub struct Worker<T: Work<N>, const N: u8 = 0> {
    raw: NonNull<c_void>,
    owner: AtomicPtr<T>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: the C side is made for pushes from everywhere; the owner is Send + Sync.
unsafe impl<T: Work<N>, const N: u8> Sync for Worker<T, N> {}
// SAFETY: as above.
unsafe impl<T: Work<N>, const N: u8> Send for Worker<T, N> {}

unsafe extern "C" fn run<T: Work<N>, const N: u8>(ctx: *mut c_void) {
    // SAFETY: ctx is the owner that `start` gave, which is alive until `stop`.
    let owner = unsafe { &*ctx.cast_const().cast::<T>() };
    owner.run();
}

impl<T: Work<N>, const N: u8> Worker<T, N> {
    /// Sleeps; `ENOMEM`.
    pub fn new(queue: Queue) -> Result<Self> {
        // SAFETY: process context, as this function demands.
        let raw = NonNull::new(unsafe { sys::bsk_worker_new(queue as u32, run::<T, N>) }).ok_or(Errno::ENOMEM)?;
        Ok(Worker { raw, owner: AtomicPtr::new(ptr::null_mut()), _owner: PhantomData })
    }

    /// Starts it for its owner, the one that holds this worker. Once.
    pub fn start(&self, owner: &Arc<T>) {
        let ptr = Arc::into_raw(owner.clone()).cast_mut();
        if self.owner.compare_exchange(ptr::null_mut(), ptr, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: taken from into_raw just above and not stored.
            drop(unsafe { Arc::from_raw(ptr) });
            return;
        }
        // SAFETY: the context stays alive until `stop`, by the reference taken above.
        unsafe { sys::bsk_worker_start(self.raw.as_ptr(), ptr.cast()) };
        self.kick();
    }

    /// Runs it soon. Atomic.
    pub fn kick(&self) {
        // SAFETY: `raw` is live until `self` is dropped.
        unsafe { sys::bsk_worker_kick(self.raw.as_ptr()) };
    }

    /// Runs it after `ms` milliseconds; the last call counts. Atomic.
    pub fn kick_in(&self, ms: u32) {
        // SAFETY: `raw` is live until `self` is dropped.
        unsafe { sys::bsk_worker_kick_in(self.raw.as_ptr(), ms) };
    }

    /// Whether what [`Worker::kick_in`] asked for has not come yet: a run begins after it has. Atomic.
    pub fn comes(&self) -> bool {
        // SAFETY: `raw` is live until `self` is dropped.
        unsafe { sys::bsk_worker_comes(self.raw.as_ptr()) }
    }

    /// Waits for a run in progress; none starts afterwards. Not from within `run`.
    pub fn stop(&self) {
        self.end(true);
    }

    /// The same for one that nobody but the caller kicks, and that has no I/O: saves a grace period.
    pub fn stop_own(&self) {
        self.end(false);
    }

    fn end(&self, kicked: bool) {
        // SAFETY: process context, as this function demands.
        unsafe { sys::bsk_worker_stop(self.raw.as_ptr(), kicked) };
        let ptr = self.owner.swap(ptr::null_mut(), Ordering::AcqRel);
        if !ptr.is_null() {
            // SAFETY: from into_raw in `start`; the swap makes sure that it is given back once.
            drop(unsafe { Arc::from_raw(ptr) });
        }
    }

    /// Deals with what there is on the caller's thread, if nobody else does at the moment; what is left of it, and what came in
    /// meanwhile, soon after. Sleeps as [`Work::round_here`] does.
    pub fn here(&self) {
        unsafe extern "C" fn round<T: Work<N>, const N: u8>(ctx: *mut c_void) -> bool {
            // SAFETY: as in `run`; `stop` waits for us as well.
            let owner = unsafe { &*ctx.cast_const().cast::<T>() };
            owner.round_here()
        }
        // SAFETY: `raw` is live until `self` is dropped; process context, as this function demands.
        if !unsafe { sys::bsk_worker_here(self.raw.as_ptr(), round::<T, N>) } {
            self.kick();
        }
    }

    /// Inside of [`Work::round_here`]: what was pushed up to now is dealt with by what follows. Atomic.
    pub fn again(&self) {
        // SAFETY: `raw` is live, and the thread is the one that runs it.
        unsafe { sys::bsk_worker_again(self.raw.as_ptr()) }
    }

    /// Puts a bio on a list, for [`Worker::here`] or [`Worker::kick`], which has to follow. Atomic.
    pub fn put(&self, list: List, bio: Bio) {
        // SAFETY: the bio is ours, and the list owns it from here.
        unsafe { sys::bsk_worker_put(self.raw.as_ptr(), list as u32, bio.into_raw()) };
    }

    /// Puts a bio on a list and runs soon. Atomic.
    pub fn push(&self, list: List, bio: Bio) {
        // SAFETY: the bio is ours, and the list owns it from here.
        unsafe { sys::bsk_worker_push(self.raw.as_ptr(), list as u32, bio.into_raw()) };
    }

    /// Whether nothing is on its lists. Atomic.
    pub fn is_empty(&self) -> bool {
        // SAFETY: `raw` is live.
        unsafe { sys::bsk_worker_empty(self.raw.as_ptr()) }
    }

    /// All bios of a list, oldest first.
    pub fn take(&self, list: List) -> Chain {
        // SAFETY: `raw` is live.
        Chain(unsafe { sys::bsk_worker_take(self.raw.as_ptr(), list as u32) })
    }

    /// All completed I/O, oldest first.
    pub fn done(&self) -> DoneChain {
        // SAFETY: `raw` is live.
        DoneChain(unsafe { sys::bsk_worker_done(self.raw.as_ptr()) })
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.raw.as_ptr()
    }
}

impl List {
    /// Writes that need not be held any more, for the worker to send on.
    pub const RELEASED: List = List::Requests;
}

impl<T: Work<N>, const N: u8> Drop for Worker<T, N> {
    fn drop(&mut self) {
        // SAFETY: a started worker holds its owner, which holds this; so it was stopped, or never started.
        unsafe { sys::bsk_worker_free(self.raw.as_ptr()) };
    }
}

/// Bios taken from a list. Those not taken out are ended with an error when it is dropped.
pub struct Chain(*mut c_void);

impl Iterator for Chain {
    type Item = Bio;
    fn next(&mut self) -> Option<Bio> {
        let raw = NonNull::new(self.0)?;
        // SAFETY: the chain owns its bios; the first is unlinked here.
        self.0 = unsafe { sys::bsk_bio_next(raw.as_ptr()) };
        // SAFETY: as above.
        Some(unsafe { Bio::from_raw(raw) })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Completed I/O taken from a worker.
pub struct DoneChain(*mut c_void);

impl Iterator for DoneChain {
    type Item = Done;
    fn next(&mut self) -> Option<Done> {
        let raw = NonNull::new(self.0)?;
        // SAFETY: the chain owns its members; the first is unlinked here.
        self.0 = unsafe { sys::bsk_io_next(raw.as_ptr()) };
        // SAFETY: as above.
        Some(unsafe { Done::from_raw(raw) })
    }
}

impl Drop for DoneChain {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// The work queues, for as long as this value lives.
pub struct Queues(());

impl Queues {
    /// At module load. Sleeps; `ENOMEM`.
    pub fn new() -> Result<Queues> {
        // SAFETY: process context.
        Errno::check(unsafe { sys::bsk_worker_init() })?;
        Ok(Queues(()))
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // SAFETY: process context; destroying a queue waits for what runs on it.
        unsafe { sys::bsk_worker_exit() };
    }
}
