// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where differences are stored while a snapshot is held.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use rustix::io::Errno;

use crate::door::StorePlace;
use crate::error::{Error, ErrorKind, Result, errno};

/// A difference storage.
#[derive(Clone, Debug, Default)]
pub enum Store {
    /// In kernel memory.
    #[default]
    Memory,
    /// In a file, in an unnamed file in this folder, or on this block device.
    Path(PathBuf),
    /// In a file on a device of the snapshot itself.
    Own(Arc<OwnFile>),
}

impl Store {
    pub(crate) fn place(&self) -> StorePlace<'_> {
        match self {
            Self::Memory => StorePlace::Memory,
            Self::Path(path) => StorePlace::Path(path),
            Self::Own(own) => StorePlace::Extents(&own.file),
        }
    }

    /// The path it was named by.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Path(path) => Some(path),
            Self::Own(own) => Some(&own.folder),
        }
    }
}

/// A difference storage, and how much of it may be used.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// Where.
    pub store: Store,
    /// The most bytes to store there; `None` is half of the free memory, or all the path has.
    pub limit_bytes: Option<u64>,
}

/// An unnamed file on a file system that may itself be in the snapshot: all its blocks are
/// allocated beforehand, the module keeps them where they are and writes to them by their place
/// on the device. They are no part of the snapshot: its image reads zeros there.
///
/// It goes when the snapshot and this handle have gone.
#[derive(Debug)]
pub struct OwnFile {
    file: File,
    folder: PathBuf,
    bytes: u64,
}

impl OwnFile {
    /// Makes a file of `bytes` (rounded up to 4 KiB) in a folder.
    ///
    /// # Errors
    ///
    /// There is no room, or no unnamed file can be made there.
    pub fn create(folder: &Path, bytes: u64) -> Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        let make = || -> io::Result<File> {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = File::from(open(folder, flags, Mode::RUSR | Mode::WUSR)?);
            fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            // Where it is must be known to the file system on disk, too, before anybody writes there.
            file.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|error| {
            let context = format!("cannot make room for differences in {}", folder.display());
            match errno(&error) {
                Some(Errno::NOSPC | Errno::DQUOT) => Error::new(ErrorKind::Io, context)
                    .caused_by(error)
                    .with_help("ask for less with --limit, or use another place"),
                _ => Error::io(context, error),
            }
        })?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
            bytes,
        })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
