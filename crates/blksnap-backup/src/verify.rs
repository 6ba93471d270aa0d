// SPDX-License-Identifier: MIT OR Apache-2.0
//! Are all backups in a folder what they were when they were made?
//!
//! Of each file: it is there and of its length; it is a sound qcow2 image of the right size; it
//! follows the right file; no two clusters share a place; its data has the checksums of its
//! manifest; and what it rests on passed all this.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use blksnap::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::folder::{Entry, Folder};
use crate::layer::Piece;
use crate::manifest::Manifest;
use crate::names::{BackupName, Kind};
use crate::observe::{Cancel, Observer};
use crate::restore::{check, open_layer};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether every backup is whole.
    pub whole: bool,
    /// Each of them.
    pub backups: Vec<BackupReport>,
    /// Files of interrupted runs, which the next backup removes.
    pub unfinished: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What was found of one backup.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// The image.
    pub file: String,
    /// The device.
    pub device: String,
    /// The number.
    pub sequence: u64,
    /// What it holds.
    pub kind: Kind,
    /// The image it follows.
    pub parent: Option<String>,
    /// The instant it shows.
    pub taken: Option<String>,
    /// Bytes of data in it.
    pub data_bytes: u64,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// Verifies everything in a folder, or of one device, or one file and what it rests on.
///
/// # Errors
///
/// The folder cannot be read. Damage is in the report.
pub fn verify(
    from: &Path,
    device: Option<&str>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyReport> {
    let begun = Instant::now();
    let only = from.is_file().then(|| {
        from.file_name()
            .and_then(|name| BackupName::parse(name.to_str()?))
    });
    let (path, only) = match only {
        None => (from, None),
        Some(Some((name, _))) => (
            from.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
            Some(name),
        ),
        Some(None) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} is not named as a backup of blksnap", from.display()),
            ));
        }
    };
    let folder = Folder::open(path)?;
    let listing = folder.list()?;
    let device = only.as_ref().map(|name| name.device.as_str()).or(device);
    if let Some(device) = device
        && !listing.devices.contains_key(device)
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} holds no backup of {device}", path.display()),
        ));
    }
    let mut backups = Vec::new();
    for (_, entries) in listing
        .devices
        .iter()
        .filter(|(name, _)| device.is_none_or(|device| *name == device))
    {
        let wanted = only.as_ref().map(|only| needed(entries, only));
        let mut seen = BTreeMap::new();
        for entry in entries {
            if wanted
                .as_ref()
                .is_some_and(|wanted| !wanted.contains(&entry.name.image()))
            {
                continue;
            }
            let report = one(&folder, entry, &seen, observer, cancel)?;
            let total = entry
                .manifest
                .as_ref()
                .map(|manifest| manifest.checksum.total.clone())
                .unwrap_or_default();
            seen.insert(report.file.clone(), (report.error.clone(), total));
            backups.push(report);
        }
    }
    Ok(VerifyReport {
        whole: backups.iter().all(|backup| backup.error.is_none()),
        backups,
        unfinished: listing.unfinished,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// The file that was named and all it rests on, as far as manifests tell.
fn needed(entries: &[Entry], only: &BackupName) -> Vec<String> {
    let mut needed = vec![only.image()];
    let mut at = 0;
    while let Some(file) = needed.get(at) {
        let entry = entries.iter().find(|entry| entry.name.image() == *file);
        let parent = entry.and_then(|entry| {
            entry
                .manifest
                .as_ref()
                .ok()?
                .parent
                .as_ref()
                .map(|parent| parent.file.clone())
        });
        needed.extend(parent.filter(|parent| !needed.contains(parent)));
        at += 1;
    }
    needed
}

type Seen = BTreeMap<String, (Option<String>, String)>;

fn one(
    folder: &Folder,
    entry: &Entry,
    seen: &Seen,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport> {
    let manifest = entry.manifest.as_ref().ok();
    let mut report = BackupReport {
        file: entry.name.image(),
        device: entry.name.device.clone(),
        sequence: entry.name.sequence,
        kind: entry.name.kind,
        parent: manifest
            .and_then(|manifest| manifest.parent.as_ref().map(|parent| parent.file.clone())),
        taken: manifest.map(|manifest| manifest.taken.clone()),
        data_bytes: 0,
        error: None,
    };
    let result = entry.whole().and_then(|manifest| {
        report.data_bytes = data(folder, manifest, observer, cancel)?;
        parent(manifest, seen)
    });
    match result {
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(error) => report.error = Some(error.chain()),
        Ok(()) => {}
    }
    Ok(report)
}

fn data(
    folder: &Folder,
    manifest: &Manifest,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<u64> {
    let reader = open_layer(folder, manifest)?;
    let task = observer.task(&format!("verify {}", manifest.file), reader.size_bytes());
    let mut bytes = 0;
    let found = reader.walk(&mut |_, piece| {
        cancel.check()?;
        task.advance(match piece {
            Piece::Data(data) => {
                bytes += data.len() as u64;
                data.len() as u64
            }
            Piece::Zeros(length) | Piece::Absent(length) => length,
        });
        Ok(())
    })?;
    check(manifest, &found)?;
    Ok(bytes)
}

/// What it rests on was verified before it: chains go from older to newer.
fn parent(manifest: &Manifest, seen: &Seen) -> Result<()> {
    let Some(parent) = &manifest.parent else {
        return Ok(());
    };
    let broken = |text: String| Err(Error::new(ErrorKind::Damaged, text));
    match seen.get(&parent.file) {
        None => broken(format!("{} is missing, on which it rests", parent.file)),
        Some((Some(_), _)) => broken(format!("{}, on which it rests, is not whole", parent.file)),
        Some((None, total)) if *total != parent.checksum => broken(format!(
            "{} is another backup than the one it rests on",
            parent.file
        )),
        Some(_) => Ok(()),
    }
}
