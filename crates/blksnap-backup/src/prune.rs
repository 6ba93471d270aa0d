// SPDX-License-Identifier: MIT OR Apache-2.0
//! Old backups go, and nothing that a kept one rests on.
//!
//! Of each device the newest backups are kept, as many as asked for, and of those before them each
//! that a kept one rests on. Where one is not whole, nothing of its device goes: what is wrong has to
//! be looked at first.

use std::collections::BTreeSet;
use std::path::Path;

use blksnap::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::folder::{Entry, Folder};
use crate::names::BackupName;

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct PruneReport {
    /// Whether it is done, or only said.
    pub removed: bool,
    /// What goes.
    pub backups: Vec<Pruned>,
    /// Bytes of their files.
    pub bytes: u64,
    /// What stays.
    pub kept: Vec<String>,
}

/// A backup that goes.
#[derive(Clone, Debug, Serialize)]
pub struct Pruned {
    /// The image.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// The instant it shows.
    pub taken: String,
}

/// Removes old backups of all devices in a folder, or of one.
///
/// # Errors
///
/// Another run is writing there, a backup is not whole, a file cannot be removed.
pub fn prune(path: &Path, device: Option<&str>, keep: usize, remove: bool) -> Result<PruneReport> {
    if keep == 0 {
        return Err(Error::new(
            ErrorKind::Invalid,
            "at least one backup is kept",
        ));
    }
    // Not made for the purpose.
    Folder::open(path)?;
    let folder = Folder::open_to_write(path)?;
    folder.recover()?;
    let listing = folder.list()?;
    if let Some(device) = device
        && !listing.devices.contains_key(device)
    {
        let text = format!("{} holds no backup of {device}", path.display());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let mut report = PruneReport {
        removed: remove,
        backups: Vec::new(),
        bytes: 0,
        kept: Vec::new(),
    };
    let mut going = Vec::new();
    for (name, entries) in &listing.devices {
        let all = if device.is_none_or(|device| device == name) {
            keep
        } else {
            entries.len()
        };
        let needed = needed(entries, all)?;
        for entry in entries {
            let file = entry.name.image();
            if needed.contains(&file) {
                report.kept.push(file);
                continue;
            }
            let manifest = entry.whole()?;
            let bytes = entry.image_bytes.unwrap_or(0);
            report.bytes += bytes;
            report.backups.push(Pruned {
                file,
                bytes,
                taken: manifest.taken.clone(),
            });
            going.push(&entry.name);
        }
    }
    if remove {
        // The newest first: what rests on another goes before it.
        let newest_first = |name: &&BackupName| u64::MAX - name.sequence;
        going.sort_by_key(newest_first);
        going.into_iter().try_for_each(|name| folder.remove(name))?;
    }
    Ok(report)
}

/// The newest `keep`, and all they rest on, by the names of their images.
fn needed(entries: &[Entry], keep: usize) -> Result<BTreeSet<String>> {
    let first = entries.len().saturating_sub(keep);
    let newest = entries[first..].iter().map(|entry| entry.name.image());
    let mut needed: BTreeSet<String> = newest.collect();
    if first == 0 {
        return Ok(needed);
    }
    // What others rest on comes before them.
    for entry in entries.iter().rev() {
        let manifest = entry.whole()?;
        if let Some(parent) = &manifest.parent
            && needed.contains(&manifest.file)
        {
            needed.insert(parent.file.clone());
        }
    }
    Ok(needed)
}
