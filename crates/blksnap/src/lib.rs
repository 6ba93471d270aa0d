// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots and changed block tracking of any Linux block device, by the kernel modules
//! `blkfilter` and `blksnap`.
//!
//! ```no_run
//! use blksnap::{Blksnap, SnapshotOptions};
//!
//! # fn main() -> blksnap::Result<()> {
//! let blksnap = Blksnap::new();
//! let disk = blksnap.device("/dev/vdb")?;
//! disk.ensure_attached()?;
//!
//! // Bound: gone when `snapshot` is dropped, or when this process ends in any way.
//! let mut snapshot = blksnap.create(&SnapshotOptions::bound())?;
//! snapshot.add(&disk)?;
//! let info = snapshot.take()?;
//! let image = disk.image()?.expect("the device is in a taken snapshot");
//! println!("read {} at leisure; writes were held for {:?}", image.path.display(), info.gate);
//!
//! // What changed since an earlier take, told as extents.
//! let base = "6b1f…/41".parse()?;
//! for extent in disk.changes(base)? {
//!     let extent = extent?;
//!     println!("{} bytes at {}", extent.length, extent.offset);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`client`] | [`Blksnap`]: the way in |
//! | [`device`] | [`BlockDevice`]: attach, detach, tracking, image |
//! | [`changes`] | [`Changes`]: the extents that changed since a take |
//! | [`consumer`] | named bases of changes |
//! | [`snapshot`], [`event`] | [`Snapshot`]: create, add, take, information, events, destroy |
//! | [`store`] | [`Store`]: where differences are stored |
//! | [`free`] | free space is not saved, and not read |
//! | [`upstream`] | the older interface: byte map, marks, its snapshots and events |
//! | [`mounts`], [`fsmap`] | what the system tells of mounts and of free space |
//! | [`id`] | [`SnapshotId`], [`ChangeId`] |
//! | [`error`] | [`Error`]: a kind, what happened, and what to do about it |
//! | [`door`] | the one door to the kernel, as traits; a test puts a simulated kernel behind it |
//!
//! The only unsafe code is the ioctl call in the private module `sys`.
#![warn(missing_docs)]

pub mod changes;
pub mod client;
pub mod consumer;
pub mod device;
pub mod door;
pub mod error;
pub mod event;
pub mod free;
pub mod fsmap;
pub mod id;
pub mod mounts;
pub mod snapshot;
pub mod store;
mod sys;
mod sysfs;
pub mod upstream;

pub use blksnap_uapi as uapi;
pub use changes::{Changes, Extent};
pub use client::{Attached, Blksnap, Features};
pub use consumer::Consumer;
pub use device::{BlockDevice, Image, Tracking};
pub use error::{Error, ErrorKind, Result};
pub use event::Event;
pub use free::Mounted;
pub use id::{ChangeId, SnapshotId};
pub use snapshot::{Member, Policy, Snapshot, SnapshotInfo, SnapshotOptions, State};
pub use store::{OwnFile, Storage, Store};
