// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! The control interface of `blkfilter` and `blksnap`, defined once.
//!
//! The kernel modules and user space compile this very crate; the C headers under
//! `include/` are written from it (`cargo run -p blksnap_uapi --example header`) and a
//! test fails when they are stale.
//!
//! | module | what it defines | who asks |
//! |---|---|---|
//! | [`filter`] | `BLKFILTER_*` on a block device's descriptor | any filter's client |
//! | [`ctl`] | the `BLKFILTER_CTL` commands 0..4 of the filter `blksnap` | existing clients |
//! | [`control`] | the ioctls 0..5 on `/dev/blksnap-control` | existing clients |
//! | [`extended`] | everything numbered from 64 up, ours | the library `blksnap` |
//! | [`compat`] | what of these is different for 32-bit programs | the kernel modules |
//! | [`ioc`] | how an ioctl number is made | all of them |
//!
//! # Invariants
//!
//! * No struct has implicit padding: padding is a field whose name begins with `_`.
//!   A constant assertion in [`abi_struct`](macro@crate::abi_struct) holds that line.
//! * Every field type is an integer or an array of bytes, so each bit pattern is a value and
//!   `from_bytes` cannot fail.
//!
//! # Bytes without `unsafe`
//!
//! ```
//! use blksnap_uapi::{ctl::CbtMap, Abi};
//!
//! let asked = CbtMap { offset: 0, length: 4096, buffer: 0x7000 };
//! let bytes = asked.to_bytes();
//! assert_eq!(bytes.len(), CbtMap::SIZE);
//! assert_eq!(CbtMap::from_bytes(&bytes), asked);
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    clippy::allow_attributes_without_reason
)]

#[macro_use]
mod bytes;
pub mod compat;
pub mod control;
pub mod ctl;
#[cfg(feature = "describe")]
pub mod describe;
pub mod extended;
pub mod filter;
pub mod ioc;

pub use bytes::{Abi, Field, Mismatch, Versioned};
