// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap mount`, `blksnap umount`: an image beside its mounted original.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use blksnap::{Blksnap, Error, ErrorKind, Result};
use blksnap_backup::Observer;
use serde_json::json;

use crate::args::Mount;
use crate::exit;
use crate::output::Output;

/// What is on an image, as far as mounting it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// ext2, ext3, ext4.
    Ext,
    Xfs,
    Btrfs,
    /// mount(8) shall find out.
    Other,
}

impl Kind {
    /// By the magic numbers.
    fn of(image: &Path) -> std::io::Result<Self> {
        let file = File::open(image)?;
        let bytes = |at: u64, into: &mut [u8]| file.read_exact_at(into, at);
        let (mut start, mut ext, mut btrfs) = ([0; 4], [0; 2], [0; 8]);
        bytes(0, &mut start)?;
        // s_magic of the superblock at 1024.
        bytes(1024 + 0x38, &mut ext)?;
        // A small device has no second superblock, and no btrfs.
        let is_btrfs = bytes(65536 + 64, &mut btrfs).is_ok() && btrfs == *b"_BHRfS_M";
        Ok(if is_btrfs {
            Self::Btrfs
        } else if start == *b"XFSB" {
            Self::Xfs
        } else if ext == [0x53, 0xef] {
            Self::Ext
        } else {
            Self::Other
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Other => "auto",
        }
    }

    fn options(self, write: bool) -> Vec<&'static str> {
        let mut options = vec![if write { "rw" } else { "ro" }];
        // ext4 needs none: with its journal it also deletes in order what nobody names any more,
        // which `noload` on a device that can be written would make it do without.
        if self == Self::Xfs {
            options.push("nouuid");
        }
        options
    }
}

pub(crate) fn mount(blksnap: &Blksnap, arguments: &Mount, output: &Output) -> Result<u8> {
    let image = find(blksnap, &arguments.image)?;
    let read = |error| Error::io(format!("cannot read {}", image.display()), error);
    let kind = Kind::of(&image).map_err(read)?;
    let mut options = kind.options(arguments.write).join(",");
    if let Some(more) = &arguments.options {
        options = format!("{options},{more}");
    }
    if kind == Kind::Btrfs && !btrfs_mounts_twice(&blksnap.door().kernel_release()) {
        output.screen().note(&format!(
            "giving the btrfs on {} an id of its own, as this kernel mounts each id once",
            image.display()
        ));
        let change = Command::new("btrfstune")
            .args(["-f", "-m"])
            .arg(&image)
            .output();
        done(
            change,
            &format!("cannot change the id of the btrfs on {}", image.display()),
        )
        .map_err(|error| error.with_help("btrfstune is in the package btrfs-progs"))?;
    }
    let called = Command::new("mount")
        .args(["-t", kind.name(), "-o", &options, "--"])
        .args([&image, &arguments.dir])
        .output();
    let context = format!(
        "cannot mount {} on {}",
        image.display(),
        arguments.dir.display()
    );
    done(called, &context)?;
    let document = json!({
        "image": image,
        "dir": arguments.dir,
        "kind": kind.name(),
        "options": options,
    });
    output.result(&document, || {
        format!(
            "mounted {} on {} ({options}); unmount it with: blksnap umount {}\n",
            image.display(),
            arguments.dir.display(),
            arguments.dir.display()
        )
    });
    Ok(exit::OK)
}

/// The image that is meant.
fn find(blksnap: &Blksnap, named: &Path) -> Result<PathBuf> {
    let name = named.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| name.starts_with("blksnap-image")) {
        return Ok(named.to_owned());
    }
    let image = blksnap.device(named)?.image()?;
    let image = image.ok_or_else(|| {
        Error::new(
            ErrorKind::WrongState,
            format!("{} is in no snapshot that is taken", named.display()),
        )
        .with_help(format!(
            "take one: blksnap snapshot create --take {}",
            named.display()
        ))
    })?;
    Ok(image.path)
}

/// Since 6.7 a btrfs on one device gets another id for a second mount by itself.
fn btrfs_mounts_twice(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    next().zip(next()) >= Some((6, 7))
}

pub(crate) fn umount(blksnap: &Blksnap, dir: &Path, output: &Output) -> Result<u8> {
    let mounts = blksnap
        .door()
        .mounts()
        .map_err(|error| Error::io("cannot read the list of mounts", error))?;
    let place = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let is_image = |source: &Path| {
        let name = source.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("blksnap-image"))
    };
    // The last one is on top of the others.
    let mount = mounts.iter().rev().find(|mount| mount.point == place);
    if !mount.is_some_and(|mount| is_image(&mount.source)) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("no image is mounted on {}", dir.display()),
        )
        .with_help("`findmnt` lists what is mounted"));
    }
    let called = Command::new("umount").arg("--").arg(dir).output();
    done(called, &format!("cannot unmount {}", dir.display()))?;
    output.result(&json!({ "dir": dir }), || {
        format!("unmounted {}\n", dir.display())
    });
    Ok(exit::OK)
}

/// What a program said when it failed, as the cause.
fn done(called: std::io::Result<std::process::Output>, context: &str) -> Result<()> {
    let output = called.map_err(|error| Error::io(context, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Err(Error::new(ErrorKind::Io, context).caused_by(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let path = std::env::temp_dir().join(format!("blksnap-kind-{}", std::process::id()));
        let kind = |at: usize, magic: &[u8]| {
            let mut image = vec![0; 70_000];
            image[at..at + magic.len()].copy_from_slice(magic);
            std::fs::write(&path, image).unwrap();
            Kind::of(&path).unwrap()
        };
        assert_eq!(kind(0, b"XFSB"), Kind::Xfs);
        assert_eq!(kind(65600, b"_BHRfS_M"), Kind::Btrfs);
        assert_eq!(kind(0, b"nothing"), Kind::Other);
        assert_eq!(kind(1080, &[0x53, 0xef]), Kind::Ext);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn options_of_each_kind() {
        assert_eq!(Kind::Ext.options(false), ["ro"]);
        assert_eq!(Kind::Ext.options(true), ["rw"]);
        assert_eq!(Kind::Xfs.options(false), ["ro", "nouuid"]);
        assert_eq!(Kind::Btrfs.options(true), ["rw"]);
    }

    #[test]
    fn kernels_that_mount_a_btrfs_twice() {
        assert!(!btrfs_mounts_twice("6.1.0-56-amd64"));
        assert!(btrfs_mounts_twice("6.12.117+deb13-amd64"));
        assert!(btrfs_mounts_twice("7.3.4+deb13-amd64"));
        assert!(!btrfs_mounts_twice("unknown"));
    }
}
