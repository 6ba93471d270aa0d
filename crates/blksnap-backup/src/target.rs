// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a backup is restored to: a block device, or a raw file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use blksnap::{Error, ErrorKind, Result};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::errors;

/// An open target.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    file: File,
    /// A new file: what is not written is zero.
    blank: bool,
}

impl Target {
    /// Opens a target for a device of `size_bytes`.
    ///
    /// # Errors
    ///
    /// Without `force`: it is in use, has another size, or is a file with something in it. With
    /// or without: it is a block device that is too small, or cannot be written.
    pub fn open(path: &Path, size_bytes: u64, force: bool) -> Result<Self> {
        let metadata = std::fs::metadata(path).ok();
        if metadata.is_some_and(|metadata| metadata.file_type().is_block_device()) {
            Self::device(path, size_bytes, force)
        } else {
            Self::regular(path, size_bytes, force)
        }
    }

    fn device(path: &Path, size_bytes: u64, force: bool) -> Result<Self> {
        let shown = path.display();
        // On a block device: an exclusive claim, which what is mounted, or part of another device, refuses.
        let exclusive = if force {
            0
        } else {
            i32::try_from(OFlags::EXCL.bits()).unwrap_or(0)
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(exclusive)
            .open(path)
            .map_err(|error| {
                if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
                    Error::new(
                        ErrorKind::Refused,
                        format!("{shown} is in use: mounted, or part of another device"),
                    )
                    .with_help("unmount it first; --force overwrites it all the same")
                } else {
                    errors::file("open", path, error)
                }
            })?;
        let has = seek(&file, SeekFrom::End(0))
            .map_err(|error| errors::file("ask for the size of", path, error.into()))?;
        if has < size_bytes {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!("{shown} has {has} bytes, the backup needs {size_bytes}"),
            )
            .with_help("restore to a device that is large enough, or to a file"));
        }
        if has != size_bytes && !force {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{shown} has {has} bytes, the backup has {size_bytes}"),
            )
            .with_help(
                "--force restores to a larger device; what is behind the backup stays as it is",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            blank: false,
        })
    }

    fn regular(path: &Path, size_bytes: u64, force: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = if force {
            options.create(true).truncate(true).open(path)
        } else {
            options.create_new(true).open(path)
        };
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(ErrorKind::Refused, format!("{} exists", path.display()))
                    .with_help("name a new file, or use --force to overwrite it")
            }
            _ => errors::file("create", path, error),
        })?;
        file.set_len(size_bytes)
            .map_err(|error| errors::file("make room in", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            blank: true,
        })
    }

    /// Writes data.
    ///
    /// # Errors
    ///
    /// The target cannot be written.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file
            .write_all_at(data, offset)
            .map_err(|error| errors::file("write", &self.path, error))
    }

    /// Makes a range zero: a hole in a file, discarded or zeroed on a device.
    ///
    /// # Errors
    ///
    /// The target cannot be written.
    pub fn zero(&self, offset: u64, length: u64) -> Result<()> {
        if self.blank || length == 0 {
            return Ok(());
        }
        for flags in [
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        ] {
            if fallocate(&self.file, flags, offset, length).is_ok() {
                return Ok(());
            }
        }
        let zeros = vec![0; 1 << 20];
        let mut at = offset;
        while at < offset + length {
            let step = (offset + length - at).min(zeros.len() as u64);
            self.write(at, &zeros[..step as usize])?;
            at += step;
        }
        Ok(())
    }

    /// Waits until everything is on the medium.
    ///
    /// # Errors
    ///
    /// The medium says no.
    pub fn finish(self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| errors::file("sync", &self.path, error))
    }
}
