// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sysfs and udev know of a block device.
//!
//! # Stable names
//!
//! In this order, the first that there is:
//! 1. `dm:NAME` of a device-mapper device, `md:UUID` of an MD array;
//! 2. `partuuid:UUID` of a partition;
//! 3. `wwid:…` or `serial:…` of a disk (a partition without UUID: the disk's with `-partN`);
//! 4. `kernel:NAME`, which may differ after a reboot.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use rustix::io::Errno;

use crate::door::{DeviceNumber, Facts};

/// The facts of an open block device; `ENOTBLK` for anything else.
pub(crate) fn facts(path: &Path, file: &File) -> io::Result<Facts> {
    let metadata = file.metadata()?;
    if !metadata.file_type().is_block_device() {
        return Err(Errno::NOTBLK.into());
    }
    let number = DeviceNumber {
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
    };
    let node = node(number);
    let real = fs::canonicalize(&node).unwrap_or(node);
    let name = real.file_name().map_or_else(
        || number.to_string(),
        |name| name.to_string_lossy().replace('!', "/"),
    );
    let family = if real.join("partition").exists() {
        real.parent().map(Path::to_owned).into_iter().collect()
    } else {
        partitions(&real)
    };
    let holders = std::iter::once(&real)
        .chain(&family)
        .flat_map(|node| entries(&node.join("holders")));
    Ok(Facts {
        path: path.to_owned(),
        identity: identity(&real, &name),
        size_bytes: size_bytes(&real, file)?,
        name,
        number,
        holders: holders.collect(),
        relatives: family.iter().filter_map(|node| number_at(node)).collect(),
    })
}

/// Where a device of this number is under `/dev`.
pub(crate) fn path_of(number: DeviceNumber) -> Option<PathBuf> {
    let uevent = fs::read_to_string(node(number).join("uevent")).ok()?;
    let name = uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(Path::new("/dev").join(name))
}

/// The block device at `path`, or the one that the file system there is on, and those below it: the disk of a partition, what DM, MD and
/// bcache are made of, where the file of a loop device is.
pub(crate) fn devices_under(path: &Path) -> Vec<DeviceNumber> {
    let mut found: Vec<_> = device_at(path).into_iter().collect();
    let mut at = 0;
    while let Some(number) = found.get(at).copied() {
        let real = fs::canonicalize(node(number)).unwrap_or_default();
        let disk = real
            .join("partition")
            .exists()
            .then(|| real.parent().map(Path::to_owned))
            .flatten();
        let below = entries(&real.join("slaves"))
            .into_iter()
            .map(|name| Path::new("/sys/class/block").join(name));
        let file = attribute(&real, "loop/backing_file");
        let nodes = disk.into_iter().chain(below);
        let numbers: Vec<_> = nodes
            .filter_map(|node| number_at(&node))
            .chain(file.and_then(|file| device_at(Path::new(&file))))
            .collect();
        for number in numbers {
            if !found.contains(&number) {
                found.push(number);
            }
        }
        at += 1;
    }
    found
}

/// The block device at a path, or else the one that its file system is on.
fn device_at(path: &Path) -> Option<DeviceNumber> {
    let metadata = fs::metadata(path).ok()?;
    let number = if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else {
        metadata.dev()
    };
    Some(DeviceNumber {
        major: major(number),
        minor: minor(number),
    })
}

fn number_at(node: &Path) -> Option<DeviceNumber> {
    let text = attribute(node, "dev")?;
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

fn node(number: DeviceNumber) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{number}"))
}

/// The size in sysfs is in sectors of 512 bytes, whatever the device's own are.
fn size_bytes(node: &Path, file: &File) -> io::Result<u64> {
    if let Some(sectors) = attribute(node, "size").and_then(|text| text.parse::<u64>().ok()) {
        return Ok(sectors.saturating_mul(512));
    }
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

fn identity(node: &Path, name: &str) -> String {
    if let Some(dm) = attribute(node, "dm/name") {
        return format!("dm:{dm}");
    }
    if let Some(md) = attribute(node, "md/uuid") {
        return format!("md:{md}");
    }
    if let Some(partition) = attribute(node, "partition") {
        if let Some(uuid) =
            property(node, "PARTUUID=").or_else(|| linked("/dev/disk/by-partuuid", name))
        {
            return format!("partuuid:{uuid}");
        }
        if let Some(disk) = node.parent().and_then(disk_identity) {
            return format!("{disk}-part{partition}");
        }
    }
    disk_identity(node).unwrap_or_else(|| format!("kernel:{name}"))
}

/// A wwid that is the same for many disks is none: QEMU and some USB bridges say only the model.
fn disk_identity(node: &Path) -> Option<String> {
    for (kind, place) in [
        ("wwid", "wwid"),
        ("wwid", "device/wwid"),
        ("serial", "serial"),
        ("serial", "device/serial"),
    ] {
        if let Some(value) = attribute(node, place) {
            let value = value.split_whitespace().collect::<Vec<_>>().join("_");
            return Some(format!("{kind}:{value}"));
        }
    }
    None
}

/// A property in a device's `uevent`.
fn property(node: &Path, key: &str) -> Option<String> {
    let uevent = fs::read_to_string(node.join("uevent")).ok()?;
    uevent
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .map(str::to_owned)
}

/// The name of udev's link in `folder` that leads to the device.
fn linked(folder: &str, name: &str) -> Option<String> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        (target.file_name()?.to_str()? == name)
            .then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// The text of an attribute, unless it is absent or empty.
fn attribute(node: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(node.join(name)).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn partitions(node: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(node) else {
        return Vec::new();
    };
    folder
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("partition").exists())
        .collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(folder) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = folder
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_device_is_refused() {
        let path = Path::new("/dev/null");
        let error = facts(path, &File::open(path).unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTBLK.raw_os_error()));
    }

    #[test]
    fn identities() {
        let folder = std::env::temp_dir().join(format!("blksnap-sysfs-{}", std::process::id()));
        let disk = folder.join("vda");
        let part = disk.join("vda2");
        fs::create_dir_all(part.join("holders")).unwrap();
        fs::create_dir_all(disk.join("dm")).unwrap();
        assert_eq!(identity(&disk, "vda"), "kernel:vda");
        fs::write(disk.join("serial"), "WD  12 3\n").unwrap();
        assert_eq!(identity(&disk, "vda"), "serial:WD_12_3");
        fs::write(part.join("partition"), "2\n").unwrap();
        assert_eq!(identity(&part, "vda2"), "serial:WD_12_3-part2");
        fs::write(part.join("uevent"), "MAJOR=1\nPARTUUID=abc-02\n").unwrap();
        assert_eq!(identity(&part, "vda2"), "partuuid:abc-02");
        fs::write(disk.join("dm/name"), "vg-root\n").unwrap();
        assert_eq!(identity(&disk, "vda"), "dm:vg-root");
        assert_eq!(partitions(&disk), [part]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
