// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of files, with the path in their context.

use std::io;
use std::path::Path;

use blksnap::{Error, ErrorKind};

/// `verb` failed on the file at `path`.
pub(crate) fn file(verb: &str, path: &Path, error: io::Error) -> Error {
    let context = format!("cannot {verb} {}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Io, context)
                .caused_by(error)
                .with_help("make room there; nothing incomplete was left behind")
        }
        io::ErrorKind::NotFound => Error::new(ErrorKind::Io, context).caused_by(error),
        _ => Error::io(context, error),
    }
}

/// The data of a backup is not what it was.
pub(crate) fn damaged(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, text)
}
