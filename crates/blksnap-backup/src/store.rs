// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where differences are stored while a backup reads: the choice of `auto`.

use std::fs;
use std::path::{Path, PathBuf};

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Store};
use rustix::fs::statvfs;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Memory when there is plenty, else DIR when it is on another device.
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

/// Chooses, and says why in a clause.
///
/// What is wanted is a tenth of the devices: what is overwritten while they are read.
#[must_use]
pub fn choose(
    choice: &Choice,
    blksnap: &Blksnap,
    devices: &[BlockDevice],
    folder: Option<&Path>,
) -> (Store, String) {
    match choice {
        Choice::Memory => (Store::Memory, "memory".to_owned()),
        Choice::Path(path) => (Store::Path(path.clone()), path.display().to_string()),
        Choice::Auto => {
            let total: u64 = devices.iter().map(|device| device.facts().size_bytes).sum();
            let wanted = (total / 10).max(LEAST_BYTES);
            let memory = available_memory() / 2;
            if memory >= wanted {
                return (
                    Store::Memory,
                    format!("memory (up to {} MiB)", memory >> 20),
                );
            }
            if let Some(folder) = folder
                && free_bytes(folder) >= wanted
                && !is_on(blksnap, folder, devices)
                && fs::canonicalize(folder).is_ok()
            {
                let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
                let why = format!("{} (memory is short)", folder.display());
                return (Store::Path(folder), why);
            }
            (
                Store::Memory,
                format!(
                    "memory (up to {} MiB; name a place with --store)",
                    memory >> 20
                ),
            )
        }
    }
}

/// Whether a folder is on one of the devices.
#[must_use]
pub fn is_on(blksnap: &Blksnap, folder: &Path, devices: &[BlockDevice]) -> bool {
    let under = blksnap.door().devices_under(folder);
    devices
        .iter()
        .any(|device| under.contains(&device.facts().number))
}

fn free_bytes(folder: &Path) -> u64 {
    statvfs(folder).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
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
