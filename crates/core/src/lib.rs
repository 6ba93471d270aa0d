// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What blk-snap decides, apart from what it does.
//!
//! This crate holds every decision of the snapshot filter and performs none: no I/O, no kernel, no `unsafe`. Each event
//! (a write arrives, a copy was read, a store was written, a take) is a synchronous call; what is to be done comes back
//! as values. The kernel module carries them out, and so does the simulator: the same code meets real disks and the
//! worst disks we can think of.
//!
//! # Parts
//!
//! | Module | Idea | Called from |
//! |---|---|---|
//! | [`cbt::Marks`] | one bit a tracking block, set before a write goes on | every write of a tracked device, atomic context |
//! | [`cbt::History`] | for each tracking block the last take it changed before | a take, an ioctl; process context |
//! | [`cow::Saved`] | one bit a 4 KiB block: its old content is safe | every write while a snapshot is held, atomic context |
//! | [`cow::Engine`] | one for all snapshots of a device: held writes, copies, stores, and where the images' blocks are | under one lock of the device |
//! | [`store::StoreSpace`] | slots of a difference storage, when it will be full | under the storage's lock |
//!
//! # A write while a snapshot is held
//!
//! 1. `Marks::mark` its range; `Saved::covers` says whether it may pass. Nearly all do.
//! 2. If not, it is parked and `Engine::write` hears of it. [`cow::Action::Read`] asks for the old data.
//! 3. `Engine::read_done`: the old data is in memory, the bits of `Saved` are set, [`cow::Action::Release`] sends the
//!    write on. The store follows: [`cow::Action::Store`], `Engine::store_done`, [`cow::Action::FreeCopy`].
//!
//! # Memory
//!
//! Every allocation can fail and says so with [`NoMemory`]; nothing here panics or aborts for lack of memory.
//! In the kernel `alloc` is built with `--cfg no_global_oom_handling`, so that the infallible calls do not even exist; this crate
//! is then given the same `--cfg`. The one thing safe Rust cannot do there on a stable compiler, putting a value in reserved room,
//! is one function in the private module `fallible`.
//!
//! # Units
//!
//! A *sector* has 512 bytes. A *block* is the unit of copy on write, [`BLOCK_SECTORS`] sectors (4 KiB), counted from the start of the device.
//! A *tracking block* is the unit of change tracking, a power of two of bytes. A *slot* is one block of the difference storage.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(no_global_oom_handling, feature(vec_push_within_capacity))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod cbt;
pub mod cow;
mod fallible;
pub mod store;
mod sync;
mod units;

pub use fallible::NoMemory;
pub use units::{BlockRange, BLOCK_SECTORS};
