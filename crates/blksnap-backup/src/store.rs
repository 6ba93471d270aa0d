// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where differences are stored while a snapshot is held: what `auto` chooses, and why.
//!
//! 1. An unnamed file on another file system that has the room: the folder of backups, `/var/tmp`,
//!    else the one with the most room. Never more than half of what is free there.
//! 2. A file on a file system of the snapshot itself, allocated beforehand.
//! 3. Memory.
//!
//! The room that is wanted is a tenth of the devices, 64 MiB at least, or what was asked for as limit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blksnap::door::DeviceNumber;
use blksnap::mounts::Mount;
use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, OwnFile, Storage, Store};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, major, minor, open, statvfs};

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// What is best here.
    #[default]
    Auto,
    /// Kernel memory.
    Memory,
    /// A file, a folder or a block device.
    Path(PathBuf),
}

impl std::str::FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "" => Err(Error::new(
                ErrorKind::Invalid,
                "the difference storage is `auto`, `memory`, or a path",
            )),
            "auto" => Ok(Self::Auto),
            "memory" => Ok(Self::Memory),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
    }
}

/// The least room we ask for.
const LEAST_BYTES: u64 = 64 << 20;
/// File systems whose files are on a disk of this machine.
const ON_DISK: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"];

/// Of these, the ones in which the module can keep a file where it is.
const PINNED: [&str; 4] = ["ext2", "ext3", "ext4", "xfs"];

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The storage.
    pub storage: Storage,
    /// It, and why, in a clause.
    pub why: String,
}

/// Chooses for a snapshot of `devices`; `folder` is where backups go, if they do.
#[must_use]
pub fn choose(
    choice: &Choice,
    limit_bytes: Option<u64>,
    blksnap: &Blksnap,
    devices: &[BlockDevice],
    folder: Option<&Path>,
) -> Chosen {
    let store = match choice {
        Choice::Auto => return auto(limit_bytes, blksnap, devices, folder),
        Choice::Memory => Store::Memory,
        Choice::Path(path) => Store::Path(path.clone()),
    };
    let why = match choice {
        Choice::Path(path) => path.display().to_string(),
        _ => "memory".to_owned(),
    };
    let storage = Storage { store, limit_bytes };
    Chosen { storage, why }
}

fn auto(
    limit_bytes: Option<u64>,
    blksnap: &Blksnap,
    devices: &[BlockDevice],
    folder: Option<&Path>,
) -> Chosen {
    let total: u64 = devices.iter().map(|device| device.facts().size_bytes).sum();
    let wanted = limit_bytes.unwrap_or((total / 10).max(LEAST_BYTES));
    elsewhere(wanted, limit_bytes, blksnap, devices, folder)
        .or_else(|| itself(wanted, blksnap, devices))
        .unwrap_or_else(|| {
            let memory = available_memory() / 2;
            let most = limit_bytes.map_or(memory, |limit| limit.min(memory));
            Chosen {
                storage: Storage {
                    store: Store::Memory,
                    limit_bytes: Some(most).filter(|most| *most > 0),
                },
                why: format!(
                    "memory (up to {} MiB; no file system has {} MiB to spare; name a place with --store)",
                    most >> 20,
                    wanted >> 20
                ),
            }
        })
}

/// On another file system.
fn elsewhere(
    wanted: u64,
    limit: Option<u64>,
    blksnap: &Blksnap,
    devices: &[BlockDevice],
    folder: Option<&Path>,
) -> Option<Chosen> {
    let mounts = blksnap.door().mounts().unwrap_or_default();
    let room = |path: &Path| {
        // The module looks for it by itself.
        let path = fs::canonicalize(path).ok()?;
        let on_disk = ON_DISK.contains(&&*mount_of(&mounts, &path)?.kind);
        let spare = spare(&path).filter(|spare| on_disk && *spare >= wanted)?;
        let usable = !is_on(blksnap, &path, devices) && takes_files(&path);
        usable.then_some((spare, path))
    };
    let usual = folder.into_iter().chain([Path::new("/var/tmp")]);
    let (spare, path) = usual.filter_map(room).next().or_else(|| {
        let places = mounts.iter().filter_map(|mount| room(&mount.point));
        places.max_by_key(|(spare, _)| *spare)
    })?;
    let most = limit.map_or(spare, |limit| limit.min(spare));
    let why = format!("a file in {} (up to {} MiB)", path.display(), most >> 20);
    Some(Chosen {
        storage: Storage {
            store: Store::Path(path),
            limit_bytes: Some(most),
        },
        why,
    })
}

/// On a file system that is in the snapshot.
fn itself(wanted: u64, blksnap: &Blksnap, devices: &[BlockDevice]) -> Option<Chosen> {
    if !blksnap
        .features()
        .is_ok_and(|features| features.store_extents)
    {
        return None;
    }
    let mounts = blksnap.door().mounts().unwrap_or_default();
    let here = |number| devices.iter().any(|device| device.facts().number == number);
    let mut places = mounts
        .iter()
        .filter(|mount| PINNED.contains(&&*mount.kind))
        .filter(|mount| here(mount.number) && number_of(&mount.point) == Some(mount.number))
        .filter(|mount| spare(&mount.point).is_some_and(|spare| spare >= wanted));
    places.find_map(|mount| {
        let own = OwnFile::create(&mount.point, wanted).ok()?;
        let why = format!(
            "a file of {} MiB on {} itself (no other file system has the room)",
            own.bytes() >> 20,
            mount.point.display()
        );
        Some(Chosen {
            storage: Storage {
                store: Store::Own(Arc::new(own)),
                limit_bytes: None,
            },
            why,
        })
    })
}

/// Whether a folder is on one of the devices.
#[must_use]
pub fn is_on(blksnap: &Blksnap, folder: &Path, devices: &[BlockDevice]) -> bool {
    let under = blksnap.door().devices_under(folder);
    devices
        .iter()
        .any(|device| under.contains(&device.facts().number))
}

/// What a path is on: the last mounted of those with the longest path above it.
fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Whether an unnamed file can be made in a folder.
fn takes_files(folder: &Path) -> bool {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(folder, flags, Mode::RUSR | Mode::WUSR).is_ok()
}

/// Half of what is free at a path, when it can be written.
fn spare(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    let writable = !stat.f_flag.contains(StatVfsMountFlags::RDONLY);
    writable.then(|| stat.f_bavail.saturating_mul(stat.f_frsize) / 2)
}

fn number_of(path: &Path) -> Option<DeviceNumber> {
    let dev = fs::metadata(path).ok()?.dev();
    Some(DeviceNumber {
        major: major(dev),
        minor: minor(dev),
    })
}

fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_is_on() {
        let mount = |point: &str, kind: &str| Mount {
            number: DeviceNumber { major: 0, minor: 0 },
            point: point.into(),
            kind: kind.into(),
            source: "none".into(),
        };
        let mounts = [
            mount("/", "ext4"),
            mount("/var/log", "xfs"),
            mount("/var", "9p"),
            mount("/var", "btrfs"),
        ];
        let kind = |path: &str| mount_of(&mounts, Path::new(path)).map(|mount| &*mount.kind);
        assert_eq!(kind("/variable"), Some("ext4"));
        assert_eq!(kind("/var/tmp"), Some("btrfs"), "the upper one of two");
        assert_eq!(kind("/var/log/x"), Some("xfs"));
        assert_eq!(mount_of(&mounts[1..], Path::new("/usr")), None);
    }
}
