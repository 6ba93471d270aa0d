// SPDX-License-Identifier: MIT OR Apache-2.0
//! What changed on a device since an earlier take, asked for in batches.

use std::vec;

use blksnap_uapi::extended;
use rustix::io::Errno;

use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::id::ChangeId;

/// Extents asked for at a time: 64 KiB of them.
const EXTENTS_AT_ONCE: u32 = 4096;

/// A range of bytes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Extent {
    /// The first byte behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The extents that changed; an iterator that asks the module as it goes.
#[derive(Debug)]
pub struct Changes<'a> {
    device: &'a BlockDevice,
    base: ChangeId,
    next: u64,
    end: u64,
    batch: vec::IntoIter<extended::Extent>,
    done: bool,
}

impl<'a> Changes<'a> {
    pub(crate) fn begin(device: &'a BlockDevice, base: ChangeId, offset: u64) -> Result<Self> {
        let end = device.facts().size_bytes;
        let batch = Vec::new().into_iter();
        let mut changes = Self {
            device,
            base,
            next: offset,
            end,
            batch,
            done: false,
        };
        changes.fetch()?;
        Ok(changes)
    }

    /// Where a later call of [`BlockDevice::changes_from`] would resume, once the extents
    /// already handed out are dealt with.
    #[must_use]
    pub fn resume_at(&self) -> u64 {
        self.batch
            .as_slice()
            .first()
            .map_or(self.next, |extent| extent.offset)
    }

    fn fetch(&mut self) -> Result<()> {
        if self.next >= self.end {
            self.done = true;
            return Ok(());
        }
        let door = self.device.door();
        let (extents, next) =
            door.cbt_extents(self.base.generation, self.base.number, self.next, EXTENTS_AT_ONCE).map_err(|error| {
                let (base, device) = (self.base, self.device.shown());
                match errno(&error) {
                    Some(Errno::STALE) => Error::new(
                        ErrorKind::GenerationChanged,
                        format!("change id {base} is of another generation than the tracking of {device}"),
                    ),
                    Some(Errno::RANGE) => Error::new(
                        ErrorKind::UnknownChange,
                        format!("change id {base} is newer than the last take of {device}"),
                    ),
                    _ => self.device.filter_error("ask for the changes of", error),
                }
            })?;
        if next <= self.next {
            return Err(Error::new(
                ErrorKind::Io,
                "the module does not get on with the list of changes",
            ));
        }
        self.next = next;
        self.batch = extents.into_iter();
        Ok(())
    }
}

impl Iterator for Changes<'_> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Result<Extent>> {
        loop {
            if let Some(extent) = self.batch.next() {
                return Some(Ok(Extent {
                    offset: extent.offset,
                    length: extent.length,
                }));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}
