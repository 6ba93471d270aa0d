// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of the older interface, and what happens to them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::no_snapshot;
use crate::client::{Blksnap, plain};
use crate::door;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::event::Event;
use crate::id::SnapshotId;

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
