// SPDX-License-Identifier: MIT OR Apache-2.0
//! One qcow2 file of a chain, without what it follows.
//!
//! A layer is written front to back in whole clusters, so that nothing has to be read from its
//! parent, and read back as what is present in it: data, zeros, or nothing (then the parent has it).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blksnap::Result;
use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, ShallowMapping,
};

use crate::digest::{Checksum, Digest, is_zero};
use crate::errors;

/// The usual size of a cluster; smaller where changes are tracked finer.
pub const CLUSTER_BYTES: u64 = 64 << 10;
/// Data is read in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// Writes a layer.
#[derive(Debug)]
pub struct LayerWriter {
    path: PathBuf,
    image: FormatAccess<File>,
    cluster_bytes: u64,
    digest: Digest,
    /// Zeros are written as such, since a parent may have data there.
    has_parent: bool,
    zero_bytes: u64,
}

/// What a layer came to.
#[derive(Debug)]
pub struct Written {
    /// Its checksums.
    pub checksum: Checksum,
    /// Its length.
    pub file_bytes: u64,
    /// Bytes that were zero.
    pub zero_bytes: u64,
}

impl LayerWriter {
    /// Makes a new, empty layer of `size_bytes` at `path`.
    ///
    /// # Errors
    ///
    /// The file exists or cannot be written.
    pub fn create(
        path: &Path,
        size_bytes: u64,
        cluster_bytes: u64,
        parent_file: Option<&str>,
    ) -> Result<Self> {
        let make = || -> io::Result<FormatAccess<File>> {
            let file = fs::File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?;
            let mut builder = Qcow2::<File>::create_builder(File::try_from(file)?)
                .size(size_bytes)
                .cluster_size(usize::try_from(cluster_bytes).map_err(io::Error::other)?);
            if let Some(parent) = parent_file {
                builder = builder.backing(parent.to_owned(), "qcow2".to_owned());
            }
            let image = builder.create_open(DenyImplicitOpenGate::default(), |file| {
                Ok(Qcow2::<File>::builder(file).backing(None).write(true))
            })?;
            Ok(FormatAccess::new(image))
        };
        let image = make().map_err(|error| errors::file("create", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            image,
            cluster_bytes,
            digest: Digest::new(cluster_bytes),
            has_parent: parent_file.is_some(),
            zero_bytes: 0,
        })
    }

    /// Writes data at `offset`, which begins a cluster; only the device's last may be short.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let cluster = usize::try_from(self.cluster_bytes).unwrap_or(usize::MAX);
        let mut done = 0;
        while done < data.len() {
            // A run of clusters that are all data, or all zeros.
            let zero = is_zero(&data[done..data.len().min(done + cluster)]);
            let mut end = data.len().min(done + cluster);
            while end < data.len() && is_zero(&data[end..data.len().min(end + cluster)]) == zero {
                end = data.len().min(end + cluster);
            }
            self.run(offset + done as u64, &data[done..end], zero)
                .map_err(|error| errors::file("write", &self.path, error))?;
            done = end;
        }
        Ok(())
    }

    fn run(&mut self, offset: u64, data: &[u8], zero: bool) -> io::Result<()> {
        if !zero {
            self.digest.data(offset, data);
            return self.image.write(data, offset);
        }
        self.zero_bytes += data.len() as u64;
        if self.has_parent {
            self.digest.zeros(offset, data.len() as u64);
            self.image.write_zeroes(offset, data.len() as u64)?;
        }
        Ok(())
    }

    /// Makes a range of whole clusters zero, which hides what the parent has there.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn zeros(&mut self, offset: u64, length: u64) -> Result<()> {
        self.digest.zeros(offset, length);
        self.image
            .write_zeroes(offset, length)
            .map_err(|error| errors::file("write", &self.path, error))
    }

    /// Writes everything out, and syncs it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(self) -> Result<Written> {
        let Self {
            path,
            image,
            digest,
            zero_bytes,
            ..
        } = self;
        let sync = || -> io::Result<u64> {
            image.flush()?;
            image.sync()?;
            drop(image);
            let file = fs::File::open(&path)?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        let file_bytes = sync().map_err(|error| errors::file("write", &path, error))?;
        Ok(Written {
            checksum: digest.finish(),
            file_bytes,
            zero_bytes,
        })
    }
}

/// A piece of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Data.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
    /// So many bytes that the parent has; without a parent they are zeros.
    Absent(u64),
}

/// Reads a layer.
#[derive(Debug)]
pub struct LayerReader {
    path: PathBuf,
    image: FormatAccess<File>,
    cluster_bytes: u64,
    parent_file: Option<String>,
    file_bytes: u64,
}

impl LayerReader {
    /// Opens the layer at `path`, and nothing it refers to.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not a qcow2 image.
    pub fn open(path: &Path, cluster_bytes: u64) -> Result<Self> {
        let opened = || -> io::Result<_> {
            let file = fs::File::open(path)?;
            let file_bytes = file.metadata()?.len();
            let image = Qcow2::<File>::builder(File::try_from(file)?)
                .backing(None)
                .data_file(None)
                .open(DenyImplicitOpenGate::default())?;
            let parent_file = image.implicit_backing_file().cloned();
            Ok((FormatAccess::new(image), parent_file, file_bytes))
        };
        let (image, parent_file, file_bytes) = opened().map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let error = errors::file("open the backup", path, error);
            if missing {
                error
                    .of_kind(blksnap::ErrorKind::Damaged)
                    .with_help("the backup needs this file; bring it back")
            } else {
                error.of_kind(blksnap::ErrorKind::Damaged)
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            image,
            cluster_bytes,
            parent_file,
            file_bytes,
        })
    }

    /// The size of the device.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.image.size()
    }

    /// The backing file it names.
    #[must_use]
    pub fn parent_file(&self) -> Option<&str> {
        self.parent_file.as_deref()
    }

    /// The length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Shows every piece in ascending order, and gives the checksums of all.
    ///
    /// # Errors
    ///
    /// Those of `visit`; the file cannot be read, or its structure makes no sense.
    pub fn walk(&self, visit: &mut dyn FnMut(u64, Piece<'_>) -> Result<()>) -> Result<Checksum> {
        let mut digest = Digest::new(self.cluster_bytes);
        let mut hosts = Vec::new();
        let mut buffer = vec![0; PIECE_BYTES as usize];
        let (mut at, size) = (0, self.size_bytes());
        while at < size {
            let (mapping, length) = self
                .image
                .get_shallow_mapping(at, PIECE_BYTES.min(size - at))
                .map_err(|error| self.broken(at, error))?;
            let length = length.min(PIECE_BYTES.min(size - at));
            if length == 0 {
                return Err(self.broken(at, io::Error::other("the image ends too early")));
            }
            match mapping {
                ShallowMapping::Zero {
                    explicit: false, ..
                } => visit(at, Piece::Absent(length))?,
                ShallowMapping::Zero { .. } => {
                    digest.zeros(at, length);
                    visit(at, Piece::Zeros(length))?;
                }
                mapping => {
                    if let ShallowMapping::Raw { offset, .. } = mapping {
                        hosts.push((offset, length));
                    }
                    let buffer = &mut buffer[..length as usize];
                    self.image
                        .read(&mut *buffer, at)
                        .map_err(|error| self.broken(at, error))?;
                    digest.data(at, buffer);
                    visit(at, Piece::Data(buffer))?;
                }
            }
            at += length;
        }
        self.check_hosts(hosts)?;
        Ok(digest.finish())
    }

    /// No two clusters share a place in the file, and all are inside it.
    fn check_hosts(&self, mut hosts: Vec<(u64, u64)>) -> Result<()> {
        hosts.sort_unstable();
        let mut end = 0;
        for (offset, length) in hosts {
            if offset < end {
                return Err(errors::damaged(format!(
                    "{} has two clusters in one place, at {offset}",
                    self.path.display()
                )));
            }
            end = offset + length;
        }
        if end > self.file_bytes.next_multiple_of(self.cluster_bytes) {
            return Err(errors::damaged(format!(
                "{} ends before its data does",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn broken(&self, at: u64, error: io::Error) -> blksnap::Error {
        errors::damaged(format!(
            "{} cannot be read at {at} of the device",
            self.path.display()
        ))
        .caused_by(error)
    }
}
