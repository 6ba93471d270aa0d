// SPDX-License-Identifier: GPL-2.0-only
//! A deterministic simulator: the very `blksnap_core` that runs in the kernel, on simulated disks.
//!
//! A *world* has some devices, each tracked, and snapshots of them, several of one device at a time. Around the core it has the shell that the kernel module is:
//! submission, gate, take, copies, stores, image. What happens next is a *step*: an operation and three numbers, which choose
//! among what is possible at that moment. So any list of steps is a schedule, and leaving steps out of one gives another: a failing seed
//! shrinks by leaving out what is not needed, and is told in words.
//!
//! # What the disks do
//!
//! I/O completes in any order and after any delay; its sectors move one by one at any time until then, so that reads and writes are torn;
//! any of it can fail. Allocations in core fail at any point. The store is too small, grows late, or fails to. Takes time out.
//! Snapshots come and go in any order, or all at once when their holder crashes, in the middle of a take, too; their images are written to; free space is handed in,
//! and storages lie on the devices themselves. A device has one engine, or up to four with stripes of 64 blocks, whose workers run in any order.
//!
//! # What is checked
//!
//! - **P1**: what an image read returns is the plain copy made at the take, with what was written to the image since; or the snapshot failed.
//! - **P2**: when the disks are left alone for a while, every write has reached its device.
//! - **P3**: each tracking block that differs between the plain copies of two takes is in the delta of the two; no block that was not written is.
//! - Copies and stores stay within their bounds; nothing is copied or stored twice in an epoch; nothing leaks; takes, ends and failure never allocate.
//! - Blocks copied are at most 1.25 times those that had to be, and 64, for each engine, at every moment.
//!
//! After every event (`world/watch.rs`): the blocks that it moved, and another one of some image, would be read as they have to be, in memory,
//! in the storage, on the origin or by the bits alone; what differs from the last take's copy is marked; a write that has not ended is with
//! somebody who goes on with it, and no gate is closed but by a take; the bounds hold. After each take the deltas are compared, and after one event of 293,
//! which its own numbers choose, all blocks of all images, all marks and all writes are looked at. What can be told only at the end (that all ends, and that
//! nothing is left) is looked at every 400 events.
//!
//! `tests/mutants` holds defects, in core and in the shell, that this must find, each within a minute.
//!
//! # The long run
//!
//! 10⁹ events in 500000 worlds from seed 20300000000, half of them with two or four engines a device, with all that is looked at after each event, overflow
//! checks and debug assertions: nothing found, in 535 s of one processor. Three such runs of earlier cores, from seeds 20261124000, 20271000000 and
//! 20280000000, which looked at less, found nothing either. To repeat it:
//!
//! ```sh
//! CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
//!     cargo run --release -p blksnap_sim -- --seed 20300000000 --steps 1000000000
//! ```

pub mod alloc;
mod disk;
mod random;
mod run;
mod step;
mod world;

pub use run::{Failure, Outcome, check, episode, replay, search, trace};
pub use step::{Config, Defect, Op, Step, schedule};
