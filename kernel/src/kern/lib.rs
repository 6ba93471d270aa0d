// SPDX-License-Identifier: GPL-2.0-only

//! The kernel as safe Rust sees it.
//!
//! `kern` wraps the C shim (`shim/shim.h`, mirrored by [`sys`]) in safe types. It is the only crate with `unsafe`; the
//! modules' logic above it forbids unsafe code, calls no C and knows no kernel version.
//!
//! # Rules
//!
//! Each module has its own build of `kern`, with `cfg(blkfilter)` or `cfg(blksnap)` set.
//!
//! 1. **Context.** Each function says in its documentation whether it may sleep. "Sleeps" means process context, no spin lock
//!    held, no RCU read side; "atomic" means any context but NMI. What says nothing never sleeps.
//! 2. **Allocation** is fallible and happens only where sleeping is allowed: `Box`, `Vec` and `Arc` come from
//!    [`alloc`](mod@crate::alloc), which never waits for I/O and so may be used below the block layer. Anything needed in atomic context
//!    is made beforehand. Freeing more than a page sleeps as well.
//! 3. **Panics** are bugs of ours and end in `BUG()`. Indexing and arithmetic that could fail are written so that they cannot.
//! 4. **Callbacks** from C do three things: convert in, call safe code, convert out. The opaque pointer becomes `&T`, never
//!    `&mut T`.
//! 5. **Errors** are [`errno::Errno`], one type, at this border and above.
//!
//! # Writing a module
//!
//! ```ignore
//! struct Snap { /* everything the module owns */ }
//! impl kern::Module for Snap {
//!     fn init() -> kern::Result<Self> { kern::pr_info!("loaded"); Ok(Snap {}) }
//! }
//! impl Drop for Snap { fn drop(&mut self) { kern::pr_info!("bye"); } }
//! kern::module!(Snap);
//! ```

#![no_std]
#![allow(internal_features, reason = "module! writes entry points into crates that forbid unsafe code")]
#![feature(allocator_api, allow_internal_unsafe)]

extern crate alloc as rust_alloc;

pub mod alloc;
pub mod errno;
pub mod module;
mod panic;
pub mod print;
mod rcu;
pub mod state;
pub mod sync;
pub mod vec;

// For blkfilter.ko.
#[cfg(blkfilter)]
pub mod hook;

// For blksnap.ko.
#[cfg(blksnap)]
pub mod bdev;
#[cfg(blksnap)]
pub mod bio;
#[cfg(blksnap)]
pub mod control;
#[cfg(blksnap)]
pub mod disk;
#[cfg(blksnap)]
pub mod file;
#[cfg(blksnap)]
pub mod filter;
#[cfg(blksnap)]
pub mod io;
#[cfg(blksnap)]
pub mod lazy;
#[cfg(blksnap)]
pub mod misc;
#[cfg(blksnap)]
pub mod page;
#[cfg(blksnap)]
pub mod pin;
#[cfg(blksnap)]
pub mod trace;
#[cfg(blksnap)]
pub mod user;
#[cfg(blksnap)]
pub mod worker;

#[path = "../sys.rs"]
#[allow(dead_code, reason = "each module uses its part")]
pub(crate) mod sys;

pub use errno::{Errno, Result};
pub use module::Module;
