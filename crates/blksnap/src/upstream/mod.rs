// SPDX-License-Identifier: MIT OR Apache-2.0
//! The older interface, typed: what clients written for the upstream block-filter and blksnap patch set ask.
//!
//! It is for programs that port such a client, or that need its byte map. What it lacks, the rest of this library has: numbers of
//! takes that never wrap, extents, several bases, several snapshots of a device, snapshots that end with their process.
//!
//! ```no_run
//! use blksnap::{Blksnap, upstream};
//!
//! # fn main() -> blksnap::Result<()> {
//! let blksnap = Blksnap::new();
//! let disk = blksnap.device("/dev/vdb")?;
//! disk.ensure_attached()?;
//! let tracked = upstream::Tracked::new(&disk);
//! let control = upstream::Control::open(&blksnap)?;
//! let id = control.create("/var/tmp", Some(4 << 30))?;
//! tracked.add(id)?;
//! control.take(id)?;
//! let image = tracked.image()?.expect("it is in a taken snapshot");
//! let map = tracked.map()?;
//! println!("{}: {} bytes of map, one a block of {}", image.display(), map.bytes().len(), map.info().block_size);
//! control.destroy(id)?;
//! # Ok(())
//! # }
//! ```
//!
//! | upstream | here |
//! |---|---|
//! | `BLKFILTER_ATTACH`, `_DETACH` | [`BlockDevice::attach`](crate::BlockDevice::attach), [`BlockDevice::detach`](crate::BlockDevice::detach) |
//! | `CBTINFO` | [`Tracked::info`] |
//! | `CBTMAP` | [`Tracked::read`], [`Tracked::map`] |
//! | `CBTDIRTY` | [`Tracked::mark`] |
//! | `SNAPSHOTADD` | [`Tracked::add`] |
//! | `SNAPSHOTINFO` | [`Tracked::image`] |
//! | `VERSION` | [`Blksnap::module_version`](crate::Blksnap::module_version) |
//! | `SNAPSHOT_CREATE`, `_TAKE`, `_DESTROY`, `_COLLECT` | [`Control::create`], [`Control::take`], [`Control::destroy`], [`Control::snapshots`] |
//! | `SNAPSHOT_WAIT_EVENT` | [`Control::wait_event`] |

mod control;
mod map;
mod tracked;

pub use control::{Control, Happened};
pub use map::{Info, Map};
pub use tracked::{Sectors, Tracked};

use crate::error::{Error, ErrorKind};
use crate::id::SnapshotId;

fn no_snapshot(id: SnapshotId) -> Error {
    Error::new(ErrorKind::NoSnapshot, format!("there is no snapshot {id}"))
}
