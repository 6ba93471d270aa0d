// SPDX-License-Identifier: MIT OR Apache-2.0
//! The free space of a file system, as the file system itself tells it.
//!
//! 1. It is mounted read-only and without recovery, by `fsopen` and `fsmount`: a mount that is
//!    in no directory and that only this descriptor knows. It ends with the descriptor, and so
//!    with the process, however that ends. The block device is read-only meanwhile: on one that
//!    can be written, ext4 deletes files that nobody names any more, even when it is mounted read-only.
//! 2. `FS_IOC_GETFSMAP` tells every extent in one call: what is in use and what is free.
//! 3. Records that overlap, an answer without its end, and more free space than `statvfs` says
//!    there is, are errors: what is taken for free and is not would be lost.
//!
//! The answer is only right for a file system whose metadata is all in its place: one that was
//! frozen when the snapshot was taken. For ext4 its superblock says so, and is asked.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use blksnap_uapi::extended::Extent;
use rustix::fs::{Mode, OFlags, fstat, fstatvfs, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::sys;

/// Words of 8 bytes in `struct fsmap_head` and in `struct fsmap`.
const HEAD_WORDS: usize = 24;
const RECORD_WORDS: usize = 8;
/// Where the second key begins: all ones is the end.
const HIGH_KEY: usize = 16;
/// More records than these are not asked for: 256 MiB.
const MOST_RECORDS: usize = 4 << 20;
/// `FMR_OF_SPECIAL_OWNER`, `FMR_OF_LAST`, `FMR_OWN_FREE`.
const SPECIAL_OWNER: u32 = 0x10;
const LAST: u32 = 0x20;
const FREE: u64 = 1;
/// How long an image's node may take to appear under `/dev`.
const PATIENCE: Duration = Duration::from_secs(5);

/// The free space of the file system of this kind at `path`.
pub(crate) fn free_space(path: &Path, kind: &str) -> io::Result<Vec<Extent>> {
    let (driver, flags): (&str, &[&str]) = match kind {
        "ext2" | "ext3" | "ext4" => ("ext4", &["noload"]),
        "xfs" => ("xfs", &["norecovery", "nouuid"]),
        other => {
            return Err(io::Error::other(format!(
                "{other} does not tell its free space"
            )));
        }
    };
    wait_for(path);
    if driver == "ext4" && needs_recovery(path)? {
        return Err(io::Error::other("the journal was not empty at the take"));
    }
    // Dropped after the mount.
    let _untouched = ReadOnly::new(path)?;
    let root = mount(path, driver, flags)?;
    let device = fstat(&root)?.st_dev;
    let words = ask(&root)?;
    let extents = free_records(&words, encoded(device))?;
    let free: u64 = extents.iter().map(|extent| extent.length).sum();
    let known = fstatvfs(&root)?;
    let said = known.f_bfree.saturating_mul(known.f_frsize);
    // Some file systems keep a few blocks back in what they say is free.
    let slack = (1 << 20) + known.f_blocks.saturating_mul(known.f_frsize) / 32768;
    if free > said.saturating_add(slack) {
        return Err(io::Error::other(format!(
            "it lists {free} bytes as free, and says that {said} are"
        )));
    }
    Ok(extents)
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
}

/// A block device that nobody can write.
struct ReadOnly {
    device: File,
    was: bool,
}

impl ReadOnly {
    fn new(path: &Path) -> io::Result<Self> {
        let device = File::open(path)?;
        let was = sys::set_read_only(&device, true)?;
        Ok(Self { device, was })
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Should it fail, the image stays read-only, and right.
        let _ = sys::set_read_only(&self.device, self.was);
    }
}

/// Whether an ext4 has in its journal what is not in its place yet.
fn needs_recovery(path: &Path) -> io::Result<bool> {
    const RECOVER: u32 = 4;
    let mut block = [0; 1024];
    File::open(path)?.read_exact_at(&mut block, 1024)?;
    let incompatible = u32::from_le_bytes([block[0x60], block[0x61], block[0x62], block[0x63]]);
    Ok(incompatible & RECOVER != 0)
}

/// The root directory of a mount that is nowhere.
fn mount(path: &Path, driver: &str, flags: &[&str]) -> io::Result<OwnedFd> {
    let context = fsopen(driver, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let create = || -> rustix::io::Result<OwnedFd> {
        fsconfig_set_string(&context, "source", path)?;
        for flag in ["ro"].iter().chain(flags) {
            fsconfig_set_flag(&context, *flag)?;
        }
        fsconfig_create(&context)?;
        let mount = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )?;
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&mount, ".", open, Mode::empty())
    };
    create().map_err(|error| {
        let error = io::Error::from(error);
        let mut said = [0; 512];
        let length = rustix::io::read(&context, &mut said).unwrap_or(0);
        let said = String::from_utf8_lossy(&said[..length]);
        match said.trim() {
            "" => io::Error::new(error.kind(), format!("it cannot be mounted: {error}")),
            said => io::Error::new(
                error.kind(),
                format!("it cannot be mounted: {error}: {said}"),
            ),
        }
    })
}

/// A device's number as records have it.
fn encoded(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Everything, head and records.
fn ask(root: impl AsFd) -> io::Result<Vec<u64>> {
    let mut words = vec![0; HEAD_WORDS];
    words[HIGH_KEY..HIGH_KEY + 4].fill(u64::MAX);
    // With no room the answer is how many there are.
    sys::getfsmap(&root, &mut words)?;
    let count = entries(&words);
    if count > MOST_RECORDS {
        return Err(io::Error::other(format!(
            "it is in {count} pieces, too many to ask for"
        )));
    }
    let room = count + 16;
    words.truncate(1);
    words.resize(HEAD_WORDS + room * RECORD_WORDS, 0);
    words[..HEAD_WORDS].fill(0);
    words[HIGH_KEY..HIGH_KEY + 4].fill(u64::MAX);
    // fmh_count is the third of the 32-bit fields.
    words[1] = pair(u32::try_from(room).unwrap_or(0), 0);
    sys::getfsmap(&root, &mut words)?;
    Ok(words)
}

/// `fmh_entries`.
fn entries(words: &[u64]) -> usize {
    halves(words[1]).1 as usize
}

/// Two 32-bit fields as they lie in memory.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}

fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// What is free on `device` of the answer of `FS_IOC_GETFSMAP`, merged where it touches.
///
/// # Errors
///
/// The answer is not complete, or its records overlap or are not ascending.
pub fn free_records(words: &[u64], device: u32) -> io::Result<Vec<Extent>> {
    let bad = |text| Err(io::Error::other(text));
    let Some((head, records)) = words.split_at_checked(HEAD_WORDS) else {
        return bad("the list of extents is cut short");
    };
    let (records, _) = records.as_chunks::<RECORD_WORDS>();
    let count = entries(head);
    let Some(records) = records.get(..count) else {
        return bad("the list of extents is cut short");
    };
    if records
        .last()
        .is_some_and(|last| halves(last[0]).1 & LAST == 0)
    {
        return bad("the list of extents has no end");
    }
    let mut free: Vec<Extent> = Vec::new();
    let mut used = 0;
    for [first, physical, owner, _, length, ..] in records {
        let (of, flags) = halves(*first);
        let Some(end) = physical.checked_add(*length) else {
            return bad("an extent is behind the end");
        };
        if of != device {
            continue;
        }
        if flags & SPECIAL_OWNER == 0 || *owner != FREE {
            used = used.max(end);
            continue;
        }
        // What files share is listed more than once, but nothing free is listed twice.
        let before = free.last().map_or(0, |last| last.offset + last.length);
        if *physical < before.max(used) {
            return bad("extents overlap");
        }
        match free.last_mut() {
            Some(last) if before == *physical => last.length += length,
            _ if *length > 0 => free.push(Extent {
                offset: *physical,
                length: *length,
            }),
            _ => {}
        }
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: u32 = 0x801;

    fn answer(records: &[(u32, u32, u64, u64, u64)]) -> Vec<u64> {
        let mut words = vec![0; HEAD_WORDS];
        words[1] = pair(records.len() as u32, records.len() as u32);
        for (at, (device, flags, physical, owner, length)) in records.iter().enumerate() {
            let last = if at + 1 == records.len() { LAST } else { 0 };
            words.extend([
                pair(*device, flags | last),
                *physical,
                *owner,
                0,
                *length,
                0,
                0,
                0,
            ]);
        }
        words
    }

    fn free(records: &[(u32, u32, u64, u64, u64)]) -> io::Result<Vec<(u64, u64)>> {
        let extents = free_records(&answer(records), DEVICE)?;
        Ok(extents
            .iter()
            .map(|extent| (extent.offset, extent.length))
            .collect())
    }

    #[test]
    fn free_records_of_one_device_are_merged() {
        let records = [
            (DEVICE, SPECIAL_OWNER, 0, 3, 4096),
            (DEVICE, SPECIAL_OWNER, 4096, FREE, 1024),
            (DEVICE, SPECIAL_OWNER, 5120, FREE, 1024),
            (DEVICE, 0, 8192, FREE, 4096), // an inode of this number
            (DEVICE, 0, 8192, 77, 4096),   // shared
            (DEVICE, SPECIAL_OWNER, 12288, FREE, 8192),
            (0x900, SPECIAL_OWNER, 0, FREE, 8192),
        ];
        assert_eq!(free(&records).unwrap(), [(4096, 2048), (12288, 8192)]);
        assert_eq!(free(&[]).unwrap(), []);
    }

    #[test]
    fn answers_that_make_no_sense_are_refused() {
        let in_use_twice = [
            (DEVICE, 0, 0, 9, 8192),
            (DEVICE, SPECIAL_OWNER, 4096, FREE, 8192),
        ];
        assert!(free(&in_use_twice).is_err());
        let descending = [
            (DEVICE, SPECIAL_OWNER, 8192, FREE, 4096),
            (DEVICE, SPECIAL_OWNER, 0, FREE, 4096),
        ];
        assert!(free(&descending).is_err());
        assert!(free(&[(DEVICE, SPECIAL_OWNER, u64::MAX, FREE, 2)]).is_err());
        let mut cut = answer(&descending[..1]);
        cut.truncate(HEAD_WORDS + 3);
        assert!(free_records(&cut, DEVICE).is_err());
        let mut endless = answer(&descending[..1]);
        endless[HEAD_WORDS] = pair(DEVICE, SPECIAL_OWNER);
        assert!(free_records(&endless, DEVICE).is_err());
        assert!(free_records(&[], DEVICE).is_err());
    }

    #[test]
    fn numbers_of_devices() {
        assert_eq!(encoded(rustix::fs::makedev(8, 17)), 0x811);
        assert_eq!(
            encoded(rustix::fs::makedev(259, 300)),
            0x10_002c | (259 << 8)
        );
    }

    #[test]
    fn other_kinds_are_told() {
        let error = free_space(Path::new("/dev/null"), "vfat").unwrap_err();
        assert!(error.to_string().contains("vfat does not tell"), "{error}");
    }
}
