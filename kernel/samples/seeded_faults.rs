// SPDX-License-Identifier: GPL-2.0-only

//! Faults on purpose, each of which the debug kernel has to report (`make test-debug`, `xtask/src/seeded_faults.rs`); built for no other
//! kernel. A kernel that says nothing of them would say nothing of ours.
//!
//! | when | fault | who has to see it |
//! |---|---|---|
//! | load | memory that nothing points to any more | kmemleak |
//! | unload | memory is asked for below a spin lock | DEBUG_ATOMIC_SLEEP |
//! | unload | two locks, taken in one order and then in the other | PROVE_LOCKING |
//! | unload | memory is read after it was given back | KASAN |
//!
//! In this order, as lockdep stops after its first report, and after one of KASAN.

#![no_std]

use core::hint::black_box;
use core::mem;

use kern::alloc::{try_box, try_vec};
use kern::sync::{Class, SpinLock};
use kern::{pr_info, Result};

/// Bytes; no other object of ours has this size.
const SIZE: usize = 3000;

#[inline(never)]
fn leaks() -> Result {
    mem::forget(black_box(try_vec(SIZE, 0x5a_u8)?));
    Ok(())
}

#[inline(never)]
fn sleeps_below_a_spin_lock(lock: &SpinLock<u64>) {
    let _ = lock.with(|sum| try_vec(SIZE, 1_u8).map(|v| *sum += black_box(v).len() as u64));
}

#[inline(never)]
fn locks_in_both_orders(one: &SpinLock<u64>, other: &SpinLock<u64>) {
    one.with(|a| other.with(|b| *b += *a));
    other.with(|b| one.with(|a| *a += *b));
}

#[inline(never)]
fn reads_after_free() -> Result<u8> {
    let memory = black_box(try_box([1_u8; SIZE])?);
    let place = memory.as_ptr();
    drop(memory);
    // SAFETY: none, which is the fault.
    Ok(unsafe { black_box(place).read_volatile() })
}

struct Module {
    one: SpinLock<u64>,
    other: SpinLock<u64>,
}

impl kern::Module for Module {
    fn init() -> Result<Self> {
        // Many: an old pointer to the last may still lie on some stack.
        for _ in 0..32 {
            leaks()?;
        }
        Ok(Module { one: SpinLock::new(Class::Events, 0)?, other: SpinLock::new(Class::Store, 0)? })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        sleeps_below_a_spin_lock(&self.one);
        locks_in_both_orders(&self.one, &self.other);
        let read = reads_after_free();
        pr_info!("read {read:?}");
    }
}

kern::module!(Module);
