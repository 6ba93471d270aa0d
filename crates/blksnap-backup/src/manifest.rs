// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest: what a backup is, what it follows, the checksums of what it holds.
//!
//! `version` grows when a reader of an older version would be wrong; fields may be added without.

use std::fs;
use std::path::Path;

use blksnap::{ChangeId, Error, ErrorKind, Extent, Result};
use serde::{Deserialize, Serialize};

use crate::digest::Checksum;
use crate::errors;
use crate::names::Kind;
use crate::runs::Runs;

/// The value of `format`.
pub const FORMAT: &str = "blksnap-backup";
/// The value of `version` this code writes, and the greatest it reads.
pub const VERSION: u32 = 1;

/// A manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// What the backup holds.
    pub kind: Kind,
    /// Why it is of this kind.
    pub reason: String,
    /// Counts the device's backups in DIR.
    pub sequence: u64,
    /// The image beside the manifest.
    pub file: String,
    /// Its length.
    pub file_bytes: u64,
    /// The device.
    pub device: Device,
    /// The instant it shows, as change tracking knows it.
    pub change_id: String,
    /// What it follows; absent in a full backup.
    pub parent: Option<Parent>,
    /// Bytes of a cluster of the image.
    pub cluster_bytes: u64,
    /// Bytes of a tracking block.
    pub tracking_block_bytes: u64,
    /// The snapshot; devices with the same one are of the same instant.
    pub snapshot: String,
    /// The instant, in UTC.
    pub taken: String,
    /// What the file system did not use at the take: it was not read, and reads as zeros.
    #[serde(default)]
    pub free: Runs,
    /// Checksums of what this file holds (not of what it follows).
    pub checksum: Checksum,
    /// Figures.
    pub statistics: Statistics,
    /// Version of this program.
    pub tool: String,
    /// Release of the kernel.
    pub kernel: String,
}

/// The device of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name in file names.
    pub name: String,
    /// Its path then.
    pub path: String,
    /// Its stable name.
    pub identity: String,
    /// Its size.
    pub size_bytes: u64,
}

/// What a backup follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its image.
    pub file: String,
    /// Its number.
    pub sequence: u64,
    /// Its instant, since which this backup holds the changes.
    pub change_id: String,
    /// Its whole checksum.
    pub checksum: String,
}

/// Figures of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Bytes read from the snapshot image.
    pub bytes_read: u64,
    /// Bytes of the file that was written.
    pub bytes_written: u64,
    /// Bytes that change tracking says changed, whole tracking blocks; of a full backup, the device's size.
    pub changed_bytes: u64,
    /// Bytes that were all zero, which take no room.
    pub zero_bytes: u64,
    /// Bytes that the file system did not use, which were neither saved nor read.
    #[serde(default)]
    pub free_bytes: u64,
    /// How long reading and writing took.
    pub seconds: f64,
    /// How long the take held writes to the device.
    pub gate_ns: u64,
    /// Reads of the original for copies while the snapshot was held.
    pub copy_reads: u64,
    /// Bytes they read.
    pub copy_read_bytes: u64,
    /// Writes to the difference storage.
    pub stores: u64,
    /// Bytes they wrote.
    pub store_bytes: u64,
    /// Writes to the device that were held for a copy.
    pub held: u64,
    /// Kernel memory of the image and the tracking at the end.
    pub memory_bytes: u64,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// It cannot be read, or it is not one that this program understands.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(|error| errors::file("read", path, error))?;
        Self::parse(&text).map_err(|why| {
            Error::new(
                ErrorKind::Damaged,
                format!("{} is not a readable backup manifest", path.display()),
            )
            .caused_by(why)
            .with_help("if it is not of blksnap, move it elsewhere")
        })
    }

    /// Reads the text of a manifest.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("its format is `{}`", manifest.format));
        }
        if manifest.version > VERSION {
            return Err(format!(
                "its version {} is newer than this program understands",
                manifest.version
            ));
        }
        if manifest.file.contains('/')
            || manifest
                .parent
                .as_ref()
                .is_some_and(|parent| parent.file.contains('/'))
        {
            return Err("it names a file in another folder".to_owned());
        }
        if manifest.cluster_bytes < 512
            || !manifest.cluster_bytes.is_power_of_two()
            || manifest.cluster_bytes > 1 << 20
        {
            return Err(format!(
                "its cluster size {} is none",
                manifest.cluster_bytes
            ));
        }
        manifest.free.extents(manifest.device.size_bytes)?;
        if (manifest.kind == Kind::Full) != manifest.parent.is_none() {
            return Err("a full backup has no parent, every other has one".to_owned());
        }
        let ids = [
            Some(&manifest.change_id),
            manifest.parent.as_ref().map(|parent| &parent.change_id),
        ];
        for id in ids.into_iter().flatten() {
            id.parse::<ChangeId>().map_err(|error| error.to_string())?;
        }
        Ok(manifest)
    }

    /// The manifest as text.
    ///
    /// # Panics
    ///
    /// Never: every field has a form in JSON.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("every field has a form in JSON");
        text.push('\n');
        text
    }

    /// What was left out as not used, in ascending order.
    ///
    /// # Panics
    ///
    /// If the manifest was not made by [`Manifest::parse`] and holds another text.
    #[must_use]
    pub fn unused(&self) -> Vec<Extent> {
        self.free
            .extents(self.device.size_bytes)
            .expect("checked when the manifest was read")
    }

    /// The instant, as change tracking knows it.
    ///
    /// # Panics
    ///
    /// If the manifest was not made by [`Manifest::parse`] and holds another text.
    #[must_use]
    pub fn change(&self) -> ChangeId {
        self.change_id
            .parse()
            .expect("checked when the manifest was read")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(kind: Kind, sequence: u64, generation: u8, number: u64) -> Manifest {
        let change_id = ChangeId {
            generation: [generation; 16],
            number,
        }
        .to_string();
        let device = Device {
            name: "vdb".into(),
            path: "/dev/vdb".into(),
            identity: "kernel:vdb".into(),
            size_bytes: 1 << 20,
        };
        let parent = (kind != Kind::Full).then(|| Parent {
            file: "vdb.000001.full.qcow2".into(),
            sequence: 1,
            change_id: ChangeId {
                generation: [generation; 16],
                number: 1,
            }
            .to_string(),
            checksum: "00".into(),
        });
        Manifest {
            format: FORMAT.into(),
            version: VERSION,
            kind,
            reason: "a test".into(),
            sequence,
            file: format!("vdb.{sequence:06}.{}.qcow2", kind.short()),
            file_bytes: 4,
            device,
            change_id,
            parent,
            cluster_bytes: 65536,
            tracking_block_bytes: 65536,
            snapshot: "s".into(),
            taken: "t".into(),
            free: Runs {
                unit_bytes: 65536,
                bytes: 65536,
                runs: "3+1".into(),
            },
            checksum: Checksum::default(),
            statistics: Statistics::default(),
            tool: "0".into(),
            kernel: "6".into(),
        }
    }

    #[test]
    fn there_and_back() {
        for kind in [Kind::Full, Kind::Incremental] {
            let manifest = sample(kind, 2, 7, 5);
            assert_eq!(
                Manifest::parse(manifest.text().as_bytes()).unwrap(),
                manifest
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |change: fn(&mut Manifest), says: &str| {
            let mut manifest = sample(Kind::Incremental, 2, 7, 5);
            change(&mut manifest);
            let said = Manifest::parse(manifest.text().as_bytes()).unwrap_err();
            assert!(said.contains(says), "{said}");
        };
        wrong(|m| m.format = "other".into(), "format is `other`");
        wrong(|m| m.version = 2, "newer");
        wrong(|m| m.file = "../x".into(), "another folder");
        wrong(|m| m.cluster_bytes = 65535, "cluster size");
        wrong(|m| m.free.runs = "16+1".into(), "run `16+1`");
        wrong(|m| m.parent = None, "parent");
        wrong(|m| m.change_id = "x".into(), "not a change id");
        assert!(Manifest::parse(b"{").is_err());
    }
}
