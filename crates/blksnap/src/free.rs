// SPDX-License-Identifier: MIT OR Apache-2.0
//! Free space is not saved, and not read.
//!
//! What a file system does not use at the take nobody can ever ask for. Handed in after the take
//! it costs no copy when it is written, and reads as zeros from the image.
//!
//! 1. Before the take: [`BlockDevice::mounted`].
//! 2. After it: [`Snapshot::free_space`] asks the file system *on the image*, never the live one:
//!    what is free now may have been in use then.
//! 3. [`Snapshot::hand_in_free`].
//!
//! # Only what was mounted
//!
//! The take freezes the file systems that are mounted from its devices, so that all their metadata is in
//! its place. One that is not mounted may rest on its log, and one that is mounted from another
//! device (a partition of a disk in the snapshot, a volume on top of it) is not at the beginning
//! of this one. For both the answer is an error that says so, and all their blocks are saved.

use blksnap_uapi::extended;
use rustix::io::Errno;

use crate::changes::Extent;
use crate::client::plain;
use crate::device::BlockDevice;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::snapshot::Snapshot;

/// Ranges handed in at a time: 1 MiB of them.
const AT_ONCE: usize = 65536;

/// What was mounted from a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    kind: String,
}

impl Mounted {
    /// The kind of file system, such as `ext4`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

impl BlockDevice {
    /// The file system that is mounted from this very device; `None` when none is.
    ///
    /// # Errors
    ///
    /// The list of mounts cannot be read.
    pub fn mounted(&self) -> Result<Option<Mounted>> {
        let mounts = self
            .system()
            .mounts()
            .map_err(|error| Error::io("cannot read the list of mounts", error))?;
        let number = self.facts().number;
        let mount = mounts.into_iter().find(|mount| mount.number == number);
        Ok(mount.map(|mount| Mounted { kind: mount.kind }))
    }
}

impl Snapshot {
    /// The space of a device that its file system did not use at the take, in ascending ranges of
    /// whole `unit` bytes (a power of two; the device's end ends a unit).
    ///
    /// `before` is [`BlockDevice::mounted`] from before the take.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`], with the reason: nothing is, or was, mounted from the device;
    /// the file system does not tell; the module cannot use it.
    pub fn free_space(
        &self,
        device: &BlockDevice,
        before: Option<&Mounted>,
        unit: u64,
    ) -> Result<Vec<Extent>> {
        let no = |why: &str| {
            let shown = device.shown();
            Error::new(
                ErrorKind::Unsupported,
                format!("the free space of {shown} is not left out: {why}"),
            )
        };
        if !self.features().free {
            return Err(no("the loaded module cannot"));
        }
        let Some(mounted) = before else {
            return Err(no("no file system is mounted from it"));
        };
        // Mounted anew meanwhile, it might not have been frozen.
        if device.mounted()?.as_ref() != Some(mounted) {
            return Err(no("its file system was not mounted all the time"));
        }
        let Some(image) = device.image_in(self.id())? else {
            return Err(no("it has no image"));
        };
        let extents = device
            .system()
            .free_space(&image.path, mounted.kind())
            .map_err(|error| {
                no(&format!("its {} cannot be asked", mounted.kind())).caused_by(error)
            })?;
        let extents = extents.iter().map(|extent| Extent {
            offset: extent.offset,
            length: extent.length,
        });
        Ok(inwards(extents, unit, device.facts().size_bytes))
    }

    /// Hands in the ranges of [`Snapshot::free_space`]: from now on the image reads zeros there,
    /// and what is written to them on the device is not saved. Gives the bytes taken as free.
    ///
    /// # Errors
    ///
    /// The snapshot is gone or has failed, the device is not in it, there is no memory.
    pub fn hand_in_free(&self, device: &BlockDevice, extents: &[Extent]) -> Result<u64> {
        let mut accepted = 0u64;
        for some in extents.chunks(AT_ONCE) {
            let some: Vec<_> = some.iter().map(|extent| extent.raw()).collect();
            accepted += device.door().free(self.id().0, &some).map_err(|error| {
                let context = format!("cannot hand in the free space of {}", device.shown());
                match errno(&error) {
                    Some(Errno::NOENT) => {
                        Error::new(ErrorKind::NotAttached, context).caused_by(error)
                    }
                    _ => plain(&context, error),
                }
            })?;
        }
        Ok(accepted)
    }
}

impl Extent {
    pub(crate) fn raw(&self) -> extended::Extent {
        extended::Extent {
            offset: self.offset,
            length: self.length,
        }
    }
}

/// Ascending ranges cut down to whole units; the device's end ends a unit.
fn inwards(extents: impl Iterator<Item = Extent>, unit: u64, size: u64) -> Vec<Extent> {
    let whole = |extent: Extent| {
        let offset = extent.offset.checked_next_multiple_of(unit)?;
        let end = extent.end().min(size);
        let end = if end == size { end } else { end - end % unit };
        let length = end.checked_sub(offset).filter(|length| *length > 0)?;
        Some(Extent { offset, length })
    };
    extents.filter_map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_whole_units() {
        let cut = |offset, length| {
            let extents = inwards([Extent { offset, length }].into_iter(), 4096, 10_000);
            extents.first().map(|extent| (extent.offset, extent.length))
        };
        assert_eq!(cut(0, 4096), Some((0, 4096)));
        assert_eq!(cut(1, 4096), None);
        assert_eq!(cut(1024, 8000), Some((4096, 4096)));
        assert_eq!(
            cut(4096, 5904),
            Some((4096, 5904)),
            "to the end of the device"
        );
        assert_eq!(cut(4096, 9000), Some((4096, 5904)), "beyond it");
        assert_eq!(cut(9000, 1000), None);
        assert_eq!(cut(u64::MAX - 1, 1), None);
    }
}
