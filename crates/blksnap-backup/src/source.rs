// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a snapshot image, ahead of who writes what was read.
//!
//! Reads are 1 MiB, past the page cache (`O_DIRECT`) where the device allows it: an image is
//! read once, and its pages would push out useful ones.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use blksnap::{Extent, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::errors;
use crate::observe::Cancel;

/// Bytes of a read.
pub const READ_BYTES: u64 = 1 << 20;
/// What `O_DIRECT` needs at most.
const ALIGNMENT: usize = 4096;
/// Reads that may wait for their writer.
const AHEAD: usize = 4;
/// How long an image's node may take to appear under `/dev`.
const PATIENCE: Duration = Duration::from_secs(5);

/// A buffer whose data begins at a multiple of `ALIGNMENT`.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; READ_BYTES as usize + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self {
            memory,
            start,
            length: 0,
        }
    }

    fn set_length(&mut self, length: usize) -> &mut [u8] {
        self.length = length;
        &mut self.memory[self.start..][..length]
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.memory[self.start..][..self.length]
    }
}

/// An open image.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
}

impl Source {
    /// Opens an image.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let begun = Instant::now();
        let file = loop {
            match OpenOptions::new()
                .read(true)
                .custom_flags(direct)
                .open(path)
            {
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    break File::open(path);
                }
                // Its node is being made.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && begun.elapsed() < PATIENCE =>
                {
                    thread::sleep(Duration::from_millis(10));
                }
                result => break result,
            }
        };
        let file = file.map_err(|error| errors::file("open the image", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let mut result = self.file.read_exact_at(into, at);
        if let Err(error) = &result {
            // The device's last sectors may be fewer than direct reads want.
            let flags = fcntl_getfl(&self.file).unwrap_or(OFlags::empty());
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                && flags.contains(OFlags::DIRECT)
            {
                let _ = fcntl_setfl(&self.file, flags.difference(OFlags::DIRECT));
                result = self.file.read_exact_at(into, at);
            }
        }
        result.map_err(|error| {
            errors::file(
                &format!("read {} bytes at {at} of", into.len()),
                &self.path,
                error,
            )
        })
    }

    /// Reads `extents` in order and hands each piece to `consume`, reading ahead meanwhile.
    ///
    /// # Errors
    ///
    /// Those of reading, of `consume`, or of `cancel`.
    pub fn read_ahead(
        &self,
        extents: &[Extent],
        cancel: &Cancel,
        consume: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let (full, filled) = mpsc::sync_channel::<Result<(u64, Buffer)>>(AHEAD);
        let (give_back, free) = mpsc::channel();
        for _ in 0..=AHEAD {
            let _ = give_back.send(Buffer::new());
        }
        thread::scope(|scope| {
            scope.spawn(move || {
                for (offset, length) in extents.iter().flat_map(|extent| pieces(*extent)) {
                    // The consumer is gone: it knows why.
                    let Ok(mut buffer) = free.recv() else { return };
                    let step = cancel
                        .check()
                        .and_then(|()| self.read(offset, buffer.set_length(length)));
                    let failed = step.is_err();
                    if full.send(step.map(|()| (offset, buffer))).is_err() || failed {
                        return;
                    }
                }
            });
            let mut bytes = 0;
            for piece in filled {
                let (offset, buffer) = piece?;
                bytes += buffer.data().len() as u64;
                consume(offset, buffer.data())?;
                let _ = give_back.send(buffer);
            }
            Ok(bytes)
        })
    }
}

/// Cuts an extent at multiples of [`READ_BYTES`].
fn pieces(extent: Extent) -> impl Iterator<Item = (u64, usize)> {
    let mut at = extent.offset;
    std::iter::from_fn(move || {
        let end = extent.end().min((at + 1).next_multiple_of(READ_BYTES));
        let piece = (at, (end - at) as usize);
        at = end;
        (piece.1 > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_at_whole_reads() {
        let cut: Vec<_> = pieces(Extent {
            offset: READ_BYTES - 4096,
            length: READ_BYTES + 8192,
        })
        .collect();
        let whole = READ_BYTES as usize;
        assert_eq!(
            cut,
            [
                (READ_BYTES - 4096, 4096),
                (READ_BYTES, whole),
                (READ_BYTES * 2, 4096)
            ]
        );
        assert_eq!(
            pieces(Extent {
                offset: 0,
                length: 0
            })
            .count(),
            0
        );
    }

    #[test]
    fn reads_everything_and_stops_when_asked() {
        let path = std::env::temp_dir().join(format!("blksnap-source-{}", std::process::id()));
        let data: Vec<u8> = (0..(READ_BYTES * 12 + 512) as usize)
            .map(|at| (at / 4096) as u8)
            .collect();
        std::fs::write(&path, &data).unwrap();
        let source = Source::open(&path).unwrap();
        let all = [Extent {
            offset: 0,
            length: data.len() as u64,
        }];
        let mut seen = Vec::new();
        let bytes = source.read_ahead(&all, &Cancel::default(), &mut |offset, piece| {
            assert_eq!(offset, seen.len() as u64);
            seen.extend_from_slice(piece);
            Ok(())
        });
        assert_eq!(bytes.unwrap(), data.len() as u64);
        assert!(seen == data);

        let cancel = Cancel::default();
        let mut pieces = 0;
        let error = source.read_ahead(&all, &cancel, &mut |_, _| {
            pieces += 1;
            cancel.cancel();
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), blksnap::ErrorKind::Interrupted);
        assert!(pieces < 12);
        let past = [Extent {
            offset: data.len() as u64,
            length: 4096,
        }];
        assert!(
            source
                .read_ahead(&past, &Cancel::default(), &mut |_, _| Ok(()))
                .is_err()
        );
        std::fs::remove_file(&path).unwrap();
    }
}
