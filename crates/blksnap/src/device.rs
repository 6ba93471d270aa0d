// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block device: attach, detach, its tracking, its changes, its image.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::changes::Changes;
use crate::client::{Blksnap, plain};
use crate::door::{Device, Door, Facts};
use crate::error::{Error, ErrorKind, Result, errno, snapshot_failure};
use crate::id::{ChangeId, SnapshotId};

/// An open block device.
#[derive(Debug)]
pub struct BlockDevice {
    blksnap: Blksnap,
    door: Box<dyn Device>,
}

/// The state of change tracking.
#[derive(Clone, Copy, Debug)]
pub struct Tracking {
    /// The last take.
    pub change_id: ChangeId,
    /// The device's size.
    pub size_bytes: u64,
    /// Bytes of a tracking block.
    pub block_size: u32,
    /// Tracking blocks.
    pub block_count: u64,
    /// Bytes of kernel memory it takes.
    pub memory_bytes: u64,
}

/// The image of a device in a taken snapshot, and what it has cost.
///
/// Where a device is in several snapshots, a block is copied once for all of them: what copies and
/// stores cost is that of the device.
#[derive(Clone, Debug)]
pub struct Image {
    /// The block device to read.
    pub path: PathBuf,
    /// The snapshot it belongs to.
    pub snapshot: SnapshotId,
    /// The take it shows, within the device's generation.
    pub number: u64,
    /// Reads of the original for copies.
    pub copy_reads: u64,
    /// Bytes they read.
    pub copy_read_bytes: u64,
    /// Writes to the difference storage.
    pub stores: u64,
    /// Bytes they wrote.
    pub store_bytes: u64,
    /// Writes to the device that were held.
    pub held: u64,
    /// Reads of the image.
    pub image_reads: u64,
    /// Writes to the image.
    pub image_writes: u64,
    /// Blocks saved.
    pub saved_blocks: u64,
    /// Bytes of kernel memory it takes.
    pub memory_bytes: u64,
    /// Blocks copied beside those written, because their neighbours were.
    pub spec_blocks: u64,
    /// Of these, blocks that were written later.
    pub spec_used: u64,
    /// Bytes that were free at the take: not saved, zeros in the image.
    pub free_bytes: u64,
    /// Bytes of copies in memory, not yet stored.
    pub pool_bytes: u64,
    /// The bound of these.
    pub pool_limit: u64,
    /// Writes that found no room below that bound, and were held until there was.
    pub pool_waits: u64,
    /// For how long they were, summed, with those that still are.
    pub pool_wait: Duration,
    /// Of these, the longest of one write.
    pub pool_wait_longest: Duration,
}

impl BlockDevice {
    pub(crate) fn open(blksnap: Blksnap, path: &Path) -> Result<Self> {
        let door = blksnap.door().open(path).map_err(|error| {
            let path = path.display();
            match errno(&error) {
                Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                    Error::new(ErrorKind::NoDevice, format!("there is no device {path}"))
                        .with_help("`lsblk -p` lists the block devices of this machine")
                }
                Some(Errno::NOTBLK) => Error::new(
                    ErrorKind::NotBlockDevice,
                    format!("{path} is not a block device"),
                )
                .with_help("name a disk, a partition, or another block device such as /dev/sda"),
                _ => plain(&format!("cannot open {path}"), error),
            }
        })?;
        Ok(Self { blksnap, door })
    }

    /// What the system knows of the device.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.door.facts()
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.facts().path
    }

    pub(crate) fn door(&self) -> &dyn Device {
        &*self.door
    }

    pub(crate) fn system(&self) -> &dyn Door {
        self.blksnap.door()
    }

    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path().display()
    }

    /// Attaches: from now on its changes are tracked, and it can be in snapshots.
    ///
    /// # Errors
    ///
    /// It is attached already ([`ErrorKind::WrongState`]), another filter is, it is a part of
    /// another device ([`ErrorKind::Leg`]), its disk or a partition of it is attached
    /// ([`ErrorKind::Busy`]), the module is missing, root is needed.
    pub fn attach(&self) -> Result<()> {
        self.door
            .attach(false)
            .map_err(|error| self.filter_error("attach", error))
    }

    /// Attaches unless it is attached, also where it is a part of an active LVM, device-mapper, RAID or
    /// bcache device; says whether it did. What that device writes as requests (multipath) is not
    /// seen, and what it has not written yet is in no snapshot of this one.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::attach`], but for "attached already" and [`ErrorKind::Leg`].
    pub fn ensure_attached_by_force(&self) -> Result<bool> {
        if self.tracking()?.is_some() {
            return Ok(false);
        }
        self.door
            .attach(true)
            .map_err(|error| self.filter_error("attach", error))?;
        Ok(true)
    }

    /// Attaches unless it is attached; says whether it did.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::attach`], but for "attached already".
    pub fn ensure_attached(&self) -> Result<bool> {
        if self.tracking()?.is_some() {
            return Ok(false);
        }
        self.attach()?;
        Ok(true)
    }

    /// Detaches: its changes are no longer tracked, and the next backup is a full one.
    ///
    /// # Errors
    ///
    /// It is not attached, it is in a snapshot ([`ErrorKind::Busy`]), root is needed.
    pub fn detach(&self) -> Result<()> {
        self.door
            .detach()
            .map_err(|error| self.filter_error("detach", error))
    }

    /// What an answer to a `BLKFILTER_*` ioctl means.
    pub(crate) fn filter_error(&self, verb: &str, error: io::Error) -> Error {
        let device = self.shown();
        let context = format!("cannot {verb} {device}");
        match errno(&error) {
            Some(Errno::NOTTY) if !self.blksnap.is_loaded() => self.blksnap.module_missing(),
            Some(Errno::NOENT) if verb == "attach" => self.blksnap.module_missing(),
            Some(Errno::NOENT) => Error::new(ErrorKind::NotAttached, format!("{device} is not attached")),
            Some(Errno::ALREADY) => Error::new(ErrorKind::WrongState, format!("{device} is attached already")),
            Some(Errno::BUSY) if verb == "attach" => self.in_the_way(),
            Some(Errno::BUSY) => Error::new(ErrorKind::Busy, format!("{device} is in a snapshot"))
                .with_help("destroy the snapshot first: blksnap snapshot list; blksnap snapshot destroy ID"),
            Some(Errno::INVAL) if verb == "detach" => {
                Error::new(ErrorKind::OtherFilter, format!("another filter is attached to {device}")).caused_by(error)
            }
            Some(Errno::OPNOTSUPP) if verb == "attach" && !self.facts().holders.is_empty() => {
                let upper = self.facts().holders.join(", ");
                Error::new(ErrorKind::Unsupported, format!("{context}: {upper} sends it requests, which cannot be seen"))
                    .with_help("name that device instead")
            }
            Some(Errno::OPNOTSUPP) => Error::new(ErrorKind::Unsupported, context)
                .caused_by(error)
                .with_help("the kernel log says why this device cannot be tracked: dmesg | grep blk"),
            _ => plain(&context, error),
        }
    }

    /// Why the module answered that the device is busy when it was to be attached.
    fn in_the_way(&self) -> Error {
        let (device, facts) = (self.shown(), self.facts());
        if let [upper, ..] = &facts.holders[..] {
            let all = facts.holders.join(", ");
            return Error::new(ErrorKind::Leg, format!("{device} is a part of {all}"))
                .with_help(format!("name that device instead: /dev/{upper}; if it has to be this one: blksnap attach --force {device}"));
        }
        let attached = self.blksnap.attached().unwrap_or_default();
        let relative = attached
            .iter()
            .find(|other| facts.relatives.contains(&other.number));
        if let Some(relative) = relative {
            let other = match &relative.path {
                Some(path) => path.display().to_string(),
                None => relative.number.to_string(),
            };
            return Error::new(
                ErrorKind::Busy,
                format!("{device} overlaps {other}, which is attached"),
            )
            .with_help(format!(
                "use {other}, or detach it first: blksnap detach {other}"
            ));
        }
        Error::new(
            ErrorKind::OtherFilter,
            format!("another filter is attached to {device}"),
        )
        .with_help("detach that filter first; the kernel log may say more: dmesg | grep blkfilter")
    }

    /// The state of change tracking, or `None` when the device is not attached.
    ///
    /// # Errors
    ///
    /// The module is missing, root is needed, the device went away.
    pub fn tracking(&self) -> Result<Option<Tracking>> {
        match self.door.cbt_state() {
            Ok(state) => Ok(Some(Tracking {
                change_id: ChangeId {
                    generation: state.generation,
                    number: state.number,
                },
                size_bytes: state.capacity,
                block_size: state.block_size,
                block_count: state.block_count,
                memory_bytes: state.memory,
            })),
            // Invalid: other filters are attached, but not this one.
            Err(error) if matches!(errno(&error), Some(Errno::NOENT | Errno::INVAL)) => Ok(None),
            Err(error) => Err(self.filter_error("ask for the tracking of", error)),
        }
    }

    /// What changed after take `base`, as of the last take, in ascending order.
    ///
    /// # Errors
    ///
    /// The first batch is asked for at once: the generation changed, `base` is newer than the
    /// last take, the device is not attached.
    pub fn changes(&self, base: ChangeId) -> Result<Changes<'_>> {
        self.changes_from(base, 0)
    }

    /// As [`BlockDevice::changes`], resumed at a byte offset.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::changes`].
    pub fn changes_from(&self, base: ChangeId, offset: u64) -> Result<Changes<'_>> {
        Changes::begin(self, base, offset)
    }

    /// The device's image in its newest snapshot, or `None` when it is in no taken snapshot.
    ///
    /// # Errors
    ///
    /// The snapshot failed ([`ErrorKind::Overflow`], [`ErrorKind::SnapshotFailed`]), the device is
    /// not attached, the module is missing.
    pub fn image(&self) -> Result<Option<Image>> {
        self.image_of([0; 16])
    }

    /// The device's image in this snapshot, or `None` when it is not in it, or it is not taken.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::image`].
    pub fn image_in(&self, snapshot: SnapshotId) -> Result<Option<Image>> {
        self.image_of(snapshot.0)
    }

    fn image_of(&self, snapshot: [u8; 16]) -> Result<Option<Image>> {
        let stat = match self.door.image_stat(snapshot) {
            Ok(stat) => stat,
            Err(error) if matches!(errno(&error), Some(Errno::NOENT | Errno::SRCH)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.filter_error("ask for the image of", error)),
        };
        if let Some(failure) = snapshot_failure(stat.error) {
            return Err(failure);
        }
        let Some(name) = text(&stat.image) else {
            return Ok(None);
        };
        Ok(Some(Image {
            path: self.blksnap.door().image_path(&name),
            snapshot: SnapshotId(stat.snapshot),
            number: stat.number,
            copy_reads: stat.copy_reads,
            copy_read_bytes: stat.copy_read_bytes,
            stores: stat.stores,
            store_bytes: stat.store_bytes,
            held: stat.held,
            image_reads: stat.image_reads,
            image_writes: stat.image_writes,
            saved_blocks: stat.saved_blocks,
            memory_bytes: stat.memory,
            spec_blocks: stat.spec_blocks,
            spec_used: stat.spec_used,
            free_bytes: stat.free_bytes,
            pool_bytes: stat.pool_bytes,
            pool_limit: stat.pool_limit,
            pool_waits: stat.pool_waits,
            pool_wait: Duration::from_nanos(stat.pool_wait_ns),
            pool_wait_longest: Duration::from_nanos(stat.pool_wait_longest_ns),
        }))
    }
}

/// The text of a NUL-padded name, unless it is empty.
pub(crate) fn text(padded: &[u8]) -> Option<String> {
    let length = padded
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(padded.len());
    (length > 0).then(|| String::from_utf8_lossy(&padded[..length]).into_owned())
}
