// SPDX-License-Identifier: MIT OR Apache-2.0
//! An attached device, as the older interface has it.

use std::io;
use std::path::PathBuf;

use blksnap_uapi::ctl::SectorRange;
use rustix::io::Errno;

use super::{Info, Map, no_snapshot};
use crate::device::{BlockDevice, text};
use crate::error::{Error, ErrorKind, Result, errno, snapshot_failure};
use crate::id::SnapshotId;

/// A range of sectors of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sectors {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
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
