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
//! | `BLKFILTER_ATTACH`, `_DETACH` | [`BlockDevice::attach`], [`BlockDevice::detach`] |
//! | `CBTINFO` | [`Tracked::info`] |
//! | `CBTMAP` | [`Tracked::read`], [`Tracked::map`] |
//! | `CBTDIRTY` | [`Tracked::mark`] |
//! | `SNAPSHOTADD` | [`Tracked::add`] |
//! | `SNAPSHOTINFO` | [`Tracked::image`] |
//! | `VERSION` | [`Blksnap::module_version`] |
//! | `SNAPSHOT_CREATE`, `_TAKE`, `_DESTROY`, `_COLLECT` | [`Control::create`], [`Control::take`], [`Control::destroy`], [`Control::snapshots`] |
//! | `SNAPSHOT_WAIT_EVENT` | [`Control::wait_event`] |

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use blksnap_uapi::ctl::{CbtInfo, SectorRange};
use rustix::io::Errno;

use crate::changes::Extent;
use crate::client::{Blksnap, plain};
use crate::device::{BlockDevice, text};
use crate::door;
use crate::error::{Error, ErrorKind, Result, errno, snapshot_failure};
use crate::event::Event;
use crate::id::SnapshotId;

/// The state of change tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The device's size.
    pub size_bytes: u64,
    /// Bytes of a tracking block.
    pub block_size: u32,
    /// Tracking blocks, and bytes of the map.
    pub block_count: u32,
    /// Another one when the map has begun anew: numbers of two generations do not compare.
    pub generation: [u8; 16],
    /// Takes in this generation, 0 to 255.
    pub number: u8,
}

impl Info {
    fn new(info: &CbtInfo) -> Self {
        Self {
            size_bytes: info.device_capacity,
            block_size: info.block_size,
            block_count: info.block_count,
            generation: info.generation_id,
            number: info.changes_number,
        }
    }
}

/// A range of sectors of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The byte map of a device, as of its last take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    info: Info,
    bytes: Vec<u8>,
}

impl Map {
    /// The take it is of.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// For each tracking block the take before which it changed last; 0 for one that did not change in this generation.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What changed between take `number` and that of the map, in ascending order; neighbouring blocks are one extent.
    ///
    /// # Errors
    ///
    /// `generation` is another than the map's ([`ErrorKind::GenerationChanged`]), `number` is newer ([`ErrorKind::UnknownChange`]).
    pub fn changed_since(&self, generation: [u8; 16], number: u8) -> Result<Vec<Extent>> {
        if generation != self.info.generation {
            return Err(Error::new(
                ErrorKind::GenerationChanged,
                "change tracking began anew",
            ));
        }
        if number > self.info.number {
            let last = self.info.number;
            return Err(Error::new(
                ErrorKind::UnknownChange,
                format!("take {number} is newer than the last one, {last}"),
            ));
        }
        let mut extents: Vec<Extent> = Vec::new();
        for offset in (0u64..)
            .zip(&self.bytes)
            .filter(|(_, last)| **last > number)
            .map(|(at, _)| at * u64::from(self.info.block_size))
        {
            let length =
                u64::from(self.info.block_size).min(self.info.size_bytes.saturating_sub(offset));
            match extents.last_mut() {
                Some(extent) if extent.end() == offset => extent.length += length,
                _ => extents.push(Extent { offset, length }),
            }
        }
        Ok(extents)
    }
}

/// An attached device.
#[derive(Clone, Copy, Debug)]
pub struct Tracked<'a>(&'a BlockDevice);

impl<'a> Tracked<'a> {
    /// Of a device, which need not be attached yet.
    #[must_use]
    pub fn new(device: &'a BlockDevice) -> Self {
        Self(device)
    }

    fn error(&self, what: &str, error: io::Error) -> Error {
        self.0.filter_error(what, error)
    }

    /// `CBTINFO`.
    ///
    /// # Errors
    ///
    /// The device is not attached or went away, the module is missing, root is needed; so for all methods here.
    pub fn info(&self) -> Result<Info> {
        let info = self.0.door().cbt_info();
        info.map(|info| Info::new(&info))
            .map_err(|error| self.error("ask for the tracking of", error))
    }

    /// `CBTMAP`: fills `map` from tracking block `first` on.
    ///
    /// # Errors
    ///
    /// As [`Tracked::info`]; the map ends before ([`ErrorKind::Invalid`]).
    pub fn read(&self, first: u32, map: &mut [u8]) -> Result<()> {
        let length = map.len();
        self.0
            .door()
            .cbt_map(first, map)
            .map_err(|error| match errno(&error) {
                Some(Errno::NODATA) => Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "{} has not {length} tracking blocks from {first} on",
                        self.0.shown()
                    ),
                ),
                _ => self.error("read the map of", error),
            })
    }

    /// All of the map, of one take: read again when another one came meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Tracked::info`].
    pub fn map(&self) -> Result<Map> {
        let mut info = self.info()?;
        loop {
            let mut bytes = vec![0; info.block_count as usize];
            let read = self.read(0, &mut bytes);
            let now = self.info()?;
            if now == info {
                return read.map(|()| Map { info, bytes });
            }
            info = now;
        }
    }

    /// `CBTDIRTY`: the next take tells these sectors as changed.
    ///
    /// # Errors
    ///
    /// As [`Tracked::info`]; a range ends behind the device, or there are more than a million of them ([`ErrorKind::Invalid`]).
    pub fn mark(&self, ranges: &[Sectors]) -> Result<()> {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&Sectors { first, count }| SectorRange {
                offset: first,
                count,
            })
            .collect();
        self.0
            .door()
            .cbt_dirty(&ranges)
            .map_err(|error| match errno(&error) {
                Some(Errno::INVAL) => Error::new(
                    ErrorKind::Invalid,
                    format!("cannot mark changes of {}", self.0.shown()),
                )
                .caused_by(error),
                _ => self.error("mark changes of", error),
            })
    }

    /// `SNAPSHOTADD`: puts it into a snapshot that was created and not taken.
    ///
    /// # Errors
    ///
    /// As [`Tracked::info`]; there is no such snapshot ([`ErrorKind::NoSnapshot`]), it is in this one already
    /// ([`ErrorKind::WrongState`]), it is in another one ([`ErrorKind::Busy`]).
    pub fn add(&self, snapshot: SnapshotId) -> Result<()> {
        self.0
            .door()
            .snapshot_add(snapshot.0, false)
            .map_err(|error| match errno(&error) {
                Some(Errno::SRCH) => no_snapshot(snapshot),
                Some(Errno::ALREADY) => Error::new(
                    ErrorKind::WrongState,
                    format!("{} is in snapshot {snapshot} already", self.0.shown()),
                ),
                _ => self.error("add to a snapshot", error),
            })
    }

    /// `SNAPSHOTINFO`: its image, or `None` when it is in no taken snapshot.
    ///
    /// # Errors
    ///
    /// As [`Tracked::info`]; the snapshot failed ([`ErrorKind::Overflow`], [`ErrorKind::SnapshotFailed`]).
    pub fn image(&self) -> Result<Option<PathBuf>> {
        let info = self
            .0
            .door()
            .snapshot_info()
            .map_err(|error| self.error("ask for the image of", error))?;
        if let Some(failure) = snapshot_failure(info.error_code) {
            return Err(failure);
        }
        Ok(text(&info.image).map(|name| self.0.system().image_path(&name)))
    }
}

/// The control device, open. What is made here lasts until it is destroyed.
#[derive(Debug)]
pub struct Control(Box<dyn door::Control>);

/// Something that happened to a snapshot, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub event: Event,
    /// When, by the clock of the system.
    pub time: SystemTime,
}

impl Control {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// The module is missing, root is needed.
    pub fn open(blksnap: &Blksnap) -> Result<Self> {
        blksnap.control().map(Self)
    }

    /// `SNAPSHOT_CREATE`: a snapshot, still without devices, whose differences go to a file, a folder or a block device, up to so
    /// many bytes, rounded up to sectors; `None` leaves that to the module.
    ///
    /// # Errors
    ///
    /// There is nothing at `store` ([`ErrorKind::NoDevice`]), it cannot be used; so for all methods here.
    pub fn create(&self, store: impl AsRef<Path>, limit_bytes: Option<u64>) -> Result<SnapshotId> {
        let sectors = limit_bytes.map_or(0, |bytes| bytes.div_ceil(512));
        let store = store.as_ref();
        let id = self.0.snapshot_create(store, sectors);
        id.map(SnapshotId).map_err(|error| {
            let context = format!("cannot store differences at {}", store.display());
            match errno(&error) {
                Some(Errno::NOENT) => Error::new(ErrorKind::NoDevice, context).caused_by(error),
                _ => plain(&context, error),
            }
        })
    }

    /// `SNAPSHOT_TAKE`: all its devices at one instant.
    ///
    /// # Errors
    ///
    /// There is no such snapshot ([`ErrorKind::NoSnapshot`]), it is taken already or has no devices ([`ErrorKind::WrongState`]), writes in
    /// flight did not end in time ([`ErrorKind::GateTimeout`]).
    pub fn take(&self, id: SnapshotId) -> Result<()> {
        let context = || format!("cannot take snapshot {id}");
        self.0
            .snapshot_take(id.0)
            .map_err(|error| match errno(&error) {
                Some(Errno::SRCH) => no_snapshot(id),
                Some(Errno::ALREADY | Errno::NODEV) => {
                    Error::new(ErrorKind::WrongState, context()).caused_by(error)
                }
                Some(Errno::TIMEDOUT) => {
                    Error::new(ErrorKind::GateTimeout, context()).caused_by(error)
                }
                _ => plain(&context(), error),
            })
    }

    /// `SNAPSHOT_DESTROY`.
    ///
    /// # Errors
    ///
    /// There is no such snapshot ([`ErrorKind::NoSnapshot`]), an image is in use ([`ErrorKind::Busy`]).
    pub fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.0
            .snapshot_destroy(id.0)
            .map_err(|error| match errno(&error) {
                Some(Errno::NODEV) => no_snapshot(id),
                _ => plain(&format!("cannot destroy snapshot {id}"), error),
            })
    }

    /// `SNAPSHOT_COLLECT`: all snapshots.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn snapshots(&self) -> Result<Vec<SnapshotId>> {
        let ids = self
            .0
            .snapshot_collect()
            .map_err(|error| plain("cannot list snapshots", error))?;
        Ok(ids.into_iter().map(SnapshotId).collect())
    }

    /// `SNAPSHOT_WAIT_EVENT`: waits so long, in milliseconds, for the next event of a snapshot; `None` when there was none. Each event is
    /// told once.
    ///
    /// # Errors
    ///
    /// There is no such snapshot ([`ErrorKind::NoSnapshot`]), a signal came ([`ErrorKind::Interrupted`]).
    pub fn wait_event(&self, id: SnapshotId, timeout: Duration) -> Result<Option<Happened>> {
        match self.0.wait_event(id.0, timeout) {
            Ok(event) => Ok(Some(Happened {
                event: Event::new(&event),
                time: SystemTime::UNIX_EPOCH
                    + Duration::from_nanos(event.time_label.unsigned_abs()),
            })),
            Err(error) => match errno(&error) {
                Some(Errno::NOENT) => Ok(None),
                Some(Errno::SRCH) => Err(no_snapshot(id)),
                _ => Err(plain(
                    &format!("cannot wait for events of snapshot {id}"),
                    error,
                )),
            },
        }
    }
}

fn no_snapshot(id: SnapshotId) -> Error {
    Error::new(ErrorKind::NoSnapshot, format!("there is no snapshot {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bytes: &[u8]) -> Map {
        let info = Info {
            size_bytes: 4096 * 5 - 512,
            block_size: 4096,
            block_count: 5,
            generation: [1; 16],
            number: 3,
        };
        Map {
            info,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn neighbouring_blocks_are_one_extent_and_the_last_is_as_short_as_the_device() {
        let extents = map(&[3, 2, 0, 1, 3]).changed_since([1; 16], 1).unwrap();
        let expected = [(0, 8192), (16384, 3584)].map(|(offset, length)| Extent { offset, length });
        assert_eq!(extents, expected);
        assert_eq!(map(&[3, 2, 0, 1, 3]).changed_since([1; 16], 3).unwrap(), []);
    }

    #[test]
    fn numbers_of_another_generation_or_of_the_future_do_not_compare() {
        let kind = |generation, number| {
            map(&[0; 5])
                .changed_since(generation, number)
                .unwrap_err()
                .kind()
        };
        assert_eq!(kind([2; 16], 1), ErrorKind::GenerationChanged);
        assert_eq!(kind([1; 16], 4), ErrorKind::UnknownChange);
    }
}
