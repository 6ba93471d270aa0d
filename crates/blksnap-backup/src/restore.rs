// SPDX-License-Identifier: MIT OR Apache-2.0
//! From backup files back to a device or a raw file.
//!
//! The newest file of the chain is read first and written; of each older one only what nothing
//! newer had is written, but all of it is read: every file's checksum is verified on the way.

use std::path::{Path, PathBuf};
use std::time::Instant;

use blksnap::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::errors;
use crate::extents::RangeSet;
use crate::folder::{Entry, Folder};
use crate::layer::{LayerReader, Piece};
use crate::manifest::Manifest;
use crate::names::BackupName;
use crate::observe::{Cancel, Observer};
use crate::target::Target;

/// Which backup.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The device, by its name in file names; may be left out when there is only one.
    pub device: Option<String>,
    /// The number; the newest when left out.
    pub sequence: Option<u64>,
}

/// What a restore came to.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// The backup.
    pub file: PathBuf,
    /// The device it is of.
    pub device: String,
    /// The instant it shows.
    pub taken: String,
    /// Where it went.
    pub target: PathBuf,
    /// The device's size.
    pub size_bytes: u64,
    /// The files that were read, newest first.
    pub chain: Vec<String>,
    /// Bytes of data read from them.
    pub bytes_read: u64,
    /// Bytes of data written.
    pub bytes_written: u64,
    /// Bytes made zero.
    pub zero_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether all checksums matched; otherwise there is an error instead of a report.
    pub verified: bool,
}

/// Restores a backup. `from` is a folder, or an image or manifest in one.
///
/// # Errors
///
/// There is no such backup, it is damaged (then the target is not usable), or the target is
/// refused or cannot be written.
pub fn restore(
    from: &Path,
    selection: &Selection,
    to: &Path,
    force: bool,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RestoreReport> {
    let begun = Instant::now();
    let (folder, entries, at) = find(from, selection)?;
    let chain = chain(&entries, at)?;
    let newest = chain[0];
    let size = newest.device.size_bytes;
    let readers = chain
        .iter()
        .map(|manifest| open_layer(&folder, manifest))
        .collect::<Result<Vec<_>>>()?;
    let target = Target::open(to, size, force)?;
    let mut report = RestoreReport {
        file: folder.file(&newest.file),
        device: newest.device.name.clone(),
        taken: newest.taken.clone(),
        target: to.to_owned(),
        size_bytes: size,
        chain: chain.iter().map(|manifest| manifest.file.clone()).collect(),
        bytes_read: 0,
        bytes_written: 0,
        zero_bytes: 0,
        seconds: 0.0,
        verified: false,
    };
    let task = observer.task(
        &format!("restore {}", newest.device.name),
        size * chain.len() as u64,
    );
    let mut done = RangeSet::default();
    for (manifest, reader) in chain.iter().zip(&readers) {
        let last = manifest.parent.is_none();
        let mut present = Vec::new();
        let found = reader.walk(&mut |offset, piece| {
            cancel.check()?;
            let (length, data) = match piece {
                Piece::Data(data) => (data.len() as u64, Some(data)),
                Piece::Zeros(length) => (length, None),
                Piece::Absent(length) => {
                    task.advance(length);
                    if last {
                        for (from, to) in done.missing(offset, offset + length) {
                            target.zero(from, to - from)?;
                            report.zero_bytes += to - from;
                        }
                    }
                    return Ok(());
                }
            };
            report.bytes_read += data.map_or(0, |data| data.len() as u64);
            for (from, to) in done.missing(offset, offset + length) {
                match data {
                    Some(data) => {
                        target.write(
                            from,
                            &data[(from - offset) as usize..(to - offset) as usize],
                        )?;
                        report.bytes_written += to - from;
                    }
                    None => {
                        target.zero(from, to - from)?;
                        report.zero_bytes += to - from;
                    }
                }
            }
            present.push((offset, offset + length));
            task.advance(length);
            Ok(())
        })?;
        check(manifest, &found).map_err(|error| {
            error.with_help(format!(
                "{} is not usable; restore an older backup, or a copy of this one",
                to.display()
            ))
        })?;
        for (from, to) in present {
            done.add(from, to);
        }
    }
    target.finish()?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.verified = true;
    Ok(report)
}

/// Compares what a file holds with its manifest.
pub(crate) fn check(manifest: &Manifest, found: &crate::digest::Checksum) -> Result<()> {
    if found.total == manifest.checksum.total {
        return Ok(());
    }
    let at = manifest.checksum.first_difference(found).unwrap_or(0);
    let end = (at + crate::digest::PART_BYTES).min(manifest.device.size_bytes);
    Err(errors::damaged(format!(
        "{} is damaged: its data between {at} and {end} is not what was written",
        manifest.file
    )))
}

/// Opens the file of a manifest, and compares what its header says.
pub(crate) fn open_layer(folder: &Folder, manifest: &Manifest) -> Result<LayerReader> {
    let reader = LayerReader::open(&folder.file(&manifest.file), manifest.cluster_bytes)?;
    let parent = manifest.parent.as_ref().map(|parent| parent.file.as_str());
    if reader.parent_file() != parent {
        return Err(errors::damaged(format!(
            "{} follows {}, its manifest says {}",
            manifest.file,
            reader.parent_file().unwrap_or("nothing"),
            parent.unwrap_or("nothing")
        )));
    }
    if reader.size_bytes() != manifest.device.size_bytes {
        return Err(errors::damaged(format!(
            "{} is an image of {} bytes, its manifest says {}",
            manifest.file,
            reader.size_bytes(),
            manifest.device.size_bytes
        )));
    }
    Ok(reader)
}

/// The entries of the device that was meant, and which of them.
fn find(from: &Path, selection: &Selection) -> Result<(Folder, Vec<Entry>, usize)> {
    let missing = |text: String| {
        Error::new(ErrorKind::Invalid, text).with_help("`blksnap verify DIR` lists what is in it")
    };
    let mut selection = selection.clone();
    let mut path = from.to_owned();
    if from.is_file() {
        let file = from
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let (name, _) = BackupName::parse(file).ok_or_else(|| {
            missing(format!(
                "{} is not named as a backup of blksnap",
                from.display()
            ))
        })?;
        selection = Selection {
            device: Some(name.device),
            sequence: Some(name.sequence),
        };
        path = from
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
    }
    let folder = Folder::open(&path)?;
    let mut listing = folder.list()?;
    let device = match selection.device {
        Some(device) => device,
        None if listing.devices.len() > 1 => {
            let names: Vec<_> = listing.devices.keys().map(String::as_str).collect();
            return Err(missing(format!(
                "{} holds several devices: {}",
                path.display(),
                names.join(", ")
            ))
            .with_help("choose one with --device"));
        }
        None => listing
            .devices
            .keys()
            .next()
            .cloned()
            .ok_or_else(|| missing(format!("{} holds no backup", path.display())))?,
    };
    let entries = listing
        .devices
        .remove(&device)
        .ok_or_else(|| missing(format!("{} holds no backup of {device}", path.display())))?;
    let at = match selection.sequence {
        None => entries.len() - 1,
        Some(sequence) => entries
            .iter()
            .position(|entry| entry.name.sequence == sequence)
            .ok_or_else(|| {
                missing(format!(
                    "{} holds no backup {sequence} of {device}",
                    path.display()
                ))
            })?,
    };
    Ok((folder, entries, at))
}

/// The backup at `at` and all it rests on, newest first.
fn chain(entries: &[Entry], at: usize) -> Result<Vec<&Manifest>> {
    let mut manifest = entries[at].whole()?;
    let mut chain = vec![manifest];
    while let Some(parent) = &manifest.parent {
        let found = entries
            .iter()
            .find(|entry| entry.name.image() == parent.file && parent.sequence < manifest.sequence);
        let found = found.ok_or_else(|| {
            errors::damaged(format!(
                "{} is missing, on which {} rests",
                parent.file, manifest.file
            ))
            .with_help("bring the file and its .json back, or restore a backup before it")
        })?;
        let next = found.whole()?;
        if next.checksum.total != parent.checksum {
            return Err(errors::damaged(format!(
                "{} is another backup than the one {} rests on",
                parent.file, manifest.file
            )));
        }
        manifest = next;
        chain.push(manifest);
    }
    Ok(chain)
}
