// SPDX-License-Identifier: MIT OR Apache-2.0
//! Full, incremental or differential, and why.

use blksnap::{ChangeId, Error, ErrorKind, Result};

use crate::folder::Entry;
use crate::manifest::Manifest;
use crate::names::Kind;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Incremental where that is possible, else full.
    #[default]
    Auto,
    /// Full.
    Full,
    /// What changed since the newest full backup where that is possible, else full.
    Differential,
}

/// What the device is now.
#[derive(Clone, Debug)]
pub struct Now {
    /// The name its files have.
    pub name: String,
    /// Its stable name.
    pub identity: String,
    /// Its size.
    pub size_bytes: u64,
    /// The instant that is backed up.
    pub change_id: ChangeId,
    /// Whether this run attached it.
    pub just_attached: bool,
}

/// What will be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind.
    pub kind: Kind,
    /// What it follows.
    pub parent: Option<Manifest>,
    /// Why, as a clause: "because …".
    pub reason: String,
    /// Whether this is less than was asked for, so that the reason is worth a warning.
    pub fallback: bool,
    /// The number it gets.
    pub sequence: u64,
}

/// Decides by what is in DIR of this device, in order, and by what the device is now.
///
/// # Errors
///
/// The files of that name are of another device.
pub fn plan(mode: Mode, entries: &[Entry], now: &Now) -> Result<Plan> {
    for entry in entries {
        if let Ok(manifest) = &entry.manifest
            && manifest.device.identity != now.identity
        {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!(
                    "{} is of the device {}, not of {}",
                    entry.name.image(),
                    manifest.device.identity,
                    now.identity
                ),
            )
            .with_help("use another folder for this device"));
        }
    }
    let sequence = entries
        .iter()
        .map(|entry| entry.name.sequence)
        .max()
        .unwrap_or(0)
        + 1;
    let full = |reason: String, fallback: bool| Plan {
        kind: Kind::Full,
        parent: None,
        reason,
        fallback,
        sequence,
    };
    let (kind, candidate) = match mode {
        Mode::Full => return Ok(full("it was asked for".to_owned(), false)),
        Mode::Auto => (Kind::Incremental, entries.last()),
        Mode::Differential => (
            Kind::Differential,
            entries
                .iter()
                .rev()
                .find(|entry| entry.name.kind == Kind::Full),
        ),
    };
    let Some(candidate) = candidate else {
        return Ok(full(
            format!("there is no backup of {} in this folder yet", now.name),
            mode == Mode::Differential,
        ));
    };
    Ok(match usable(candidate, entries, now) {
        Ok(parent) => {
            let reason = format!("what changed since {} is known", parent.file);
            Plan {
                kind,
                parent: Some(parent.clone()),
                reason,
                fallback: false,
                sequence,
            }
        }
        Err(reason) => full(reason, true),
    })
}

/// The parent, or why it cannot be one.
fn usable<'a>(
    candidate: &'a Entry,
    entries: &'a [Entry],
    now: &Now,
) -> Result<&'a Manifest, String> {
    let parent = candidate.whole().map_err(|error| error.chain())?;
    let change = parent.change();
    if parent.device.size_bytes != now.size_bytes {
        return Err(format!(
            "the device had {} bytes at {} and has {} now",
            parent.device.size_bytes, parent.file, now.size_bytes
        ));
    }
    if now.just_attached {
        return Err("change tracking begins with this backup".to_owned());
    }
    if change.generation != now.change_id.generation {
        return Err(format!(
            "change tracking began anew since {} (after a restart, a detach, or a resize of the device)",
            parent.file
        ));
    }
    if change.number >= now.change_id.number {
        return Err(format!(
            "{} is of take {}, which is not before this one",
            parent.file, change.number
        ));
    }
    ancestors(candidate, entries)?;
    Ok(parent)
}

/// Every backup that `entry` rests on is there.
fn ancestors(entry: &Entry, entries: &[Entry]) -> Result<(), String> {
    let mut manifest = entry.whole().map_err(|error| error.chain())?;
    while let Some(parent) = &manifest.parent {
        let found = entries
            .iter()
            .find(|entry| entry.name.image() == parent.file && parent.sequence < manifest.sequence);
        let found = found.ok_or_else(|| {
            format!(
                "{} is missing, on which {} rests",
                parent.file, manifest.file
            )
        })?;
        manifest = found.whole().map_err(|error| error.chain())?;
        if manifest.checksum.total != parent.checksum {
            return Err(format!(
                "{} is not the backup that what follows it rests on",
                parent.file
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::sample;
    use crate::names::BackupName;

    fn entry(kind: Kind, sequence: u64, generation: u8, number: u64) -> Entry {
        let mut manifest = sample(kind, sequence, generation, number);
        if let Some(parent) = &mut manifest.parent {
            parent.checksum = String::new();
        }
        let name = BackupName {
            device: "vdb".into(),
            sequence,
            kind,
        };
        Entry {
            name,
            manifest: Ok(manifest),
            image_bytes: Some(4),
        }
    }

    fn now(generation: u8, number: u64) -> Now {
        Now {
            name: "vdb".into(),
            identity: "kernel:vdb".into(),
            size_bytes: 1 << 20,
            change_id: ChangeId {
                generation: [generation; 16],
                number,
            },
            just_attached: false,
        }
    }

    fn chain() -> Vec<Entry> {
        vec![
            entry(Kind::Full, 1, 7, 1),
            entry(Kind::Incremental, 2, 7, 2),
        ]
    }

    fn parent_of(plan: &Plan) -> Option<u64> {
        plan.parent.as_ref().map(|parent| parent.sequence)
    }

    #[test]
    fn the_usual_course() {
        let first = plan(Mode::Auto, &[], &now(7, 1)).unwrap();
        assert_eq!(
            (first.kind, first.sequence, first.fallback),
            (Kind::Full, 1, false)
        );
        let next = plan(Mode::Auto, &chain(), &now(7, 3)).unwrap();
        assert_eq!(
            (next.kind, next.sequence, parent_of(&next)),
            (Kind::Incremental, 3, Some(2))
        );
        let differential = plan(Mode::Differential, &chain(), &now(7, 3)).unwrap();
        assert_eq!(
            (differential.kind, parent_of(&differential)),
            (Kind::Differential, Some(1))
        );
        let asked = plan(Mode::Full, &chain(), &now(7, 3)).unwrap();
        assert_eq!(
            (asked.kind, asked.sequence, asked.fallback),
            (Kind::Full, 3, false)
        );
    }

    fn falls_back(entries: &[Entry], now: &Now, says: &str) {
        let plan = plan(Mode::Auto, entries, now).unwrap();
        assert_eq!((plan.kind, plan.fallback), (Kind::Full, true));
        assert!(plan.reason.contains(says), "{}", plan.reason);
    }

    #[test]
    fn falls_back_to_full_and_says_why() {
        falls_back(&chain(), &now(8, 3), "began anew");
        falls_back(&chain(), &now(7, 2), "not before");
        falls_back(
            &chain(),
            &Now {
                size_bytes: 2 << 20,
                ..now(7, 3)
            },
            "1048576 bytes",
        );
        falls_back(
            &chain(),
            &Now {
                just_attached: true,
                ..now(7, 3)
            },
            "begins with this",
        );
        let mut entries = chain();
        entries[0].image_bytes = None;
        falls_back(&entries, &now(7, 3), "vdb.000001.full.qcow2 is missing");
        falls_back(
            &chain()[1..],
            &now(7, 3),
            "on which vdb.000002.incr.qcow2 rests",
        );
        let mut entries = chain();
        entries[1].image_bytes = Some(3);
        falls_back(&entries, &now(7, 3), "3 bytes");
        let mut entries = chain();
        entries[1].manifest = Err(Error::new(ErrorKind::Damaged, "x.json is not readable"));
        falls_back(&entries, &now(7, 3), "not readable");
        let mut entries = chain();
        entries[0].manifest.as_mut().unwrap().checksum.total = "other".into();
        falls_back(&entries, &now(7, 3), "is not the backup");
    }

    #[test]
    fn another_devices_files_are_refused() {
        let other = Now {
            identity: "serial:1".into(),
            ..now(7, 3)
        };
        assert_eq!(
            plan(Mode::Auto, &chain(), &other).unwrap_err().kind(),
            ErrorKind::Mismatch
        );
    }
}
