// SPDX-License-Identifier: MIT OR Apache-2.0
//! Backups of live block devices: a full qcow2 image, then overlays with only what changed.
//!
//! # The files in DIR
//!
//! One pair a backup, of any number of devices side by side:
//!
//! ```text
//! NAME.SEQ.KIND.qcow2    NAME: the device's stable name; SEQ: 000001, 000002, …
//! NAME.SEQ.KIND.json     KIND: full, incr (since the newest before it), diff (since the newest full)
//! ```
//!
//! The qcow2 is an ordinary image whose backing file is its parent, by relative name: every
//! QEMU tool opens any of them as the whole device at that instant. The JSON is the
//! [`manifest`]: what it is, what it follows, the checksums.
//!
//! # Whole or not there
//!
//! 1. The data is written to `.blksnap-tmp.NAME.SEQ.KIND.qcow2` and synced.
//! 2. The manifest is written to `.blksnap-tmp.NAME.SEQ.KIND.json` and synced, then the folder:
//!    from here on the backup is whole.
//! 3. The qcow2 gets its name, then the manifest, then the folder is synced.
//!
//! A run killed before 2 leaves a temporary file without a manifest, which the next run
//! removes; one killed after 2 leaves both, and the next run does 3. A backup is removed the same
//! way back: its manifest gets the name `.blksnap-tmp.removed.NAME.SEQ.KIND.json`, and is gone with that.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`job`], `copy` | [`backup`]: attach, snapshot, plan, copy, publish |
//! | [`session`], [`store`] | the snapshot, and where its differences are stored |
//! | [`plan`] | full, incremental or differential, and why |
//! | [`mod@restore`], [`mod@verify`] | back to a device or file; are all files what they were |
//! | [`mod@prune`] | old backups go |
//! | [`folder`], [`names`], [`manifest`] | DIR |
//! | [`layer`], [`digest`] | one qcow2 file, and the checksum of what it holds |
//! | `free`, [`runs`] | what a file system did not use is neither saved nor backed up |
//! | [`source`] | reads an image ahead of its writer |
//! | [`observe`] | progress, notes, cancelling |
//!
//! Why `imago` writes the qcow2 and not code of our own: it is kept by the maintainer of QEMU's
//! block layer, MIT, creates images with backing files, has a synchronous build without a
//! runtime, and is far better tested than what we would write. Why XXH3-128: it recognises every
//! accidental change, at memory speed also where vector instructions are emulated; it is no
//! defence against someone who changes data *and* manifest on purpose.
#![forbid(unsafe_code)]

mod copy;
pub mod digest;
mod errors;
pub mod extents;
pub mod folder;
mod free;
pub mod job;
pub mod layer;
pub mod manifest;
pub mod names;
pub mod observe;
pub mod plan;
pub mod prune;
pub mod restore;
pub mod runs;
pub mod session;
pub mod source;
pub mod store;
pub mod target;
pub mod verify;

pub use folder::Folder;
pub use free::Unused;
pub use job::{Company, DeviceReport, Held, Options, Report, backup};
pub use manifest::Manifest;
pub use names::Kind;
pub use observe::{Cancel, Observer, Silent, Task};
pub use plan::Mode;
pub use prune::{PruneReport, prune};
pub use restore::{RestoreReport, restore};
pub use verify::{VerifyReport, verify};
