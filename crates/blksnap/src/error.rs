// SPDX-License-Identifier: MIT OR Apache-2.0
//! One error for the library and everything built on it.
//!
//! Rules:
//! 1. The *kind* is small and is what a program decides by.
//! 2. The *context* says what was being done to what, in one line without the cause.
//! 3. The *source* is the cause; `Display` does not repeat it ([`Error::chain`] does).
//! 4. [`Error::help`] says what a person can do, where we know it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a program would ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The kernel modules are not loaded.
    ModuleMissing,
    /// The module has not what was asked for, or speaks another version of the interface.
    Unsupported,
    /// Root is needed.
    NotPermitted,
    /// The path does not exist, or the device went away.
    NoDevice,
    /// The path is not a block device.
    NotBlockDevice,
    /// The device is not attached.
    NotAttached,
    /// Another filter is attached to the device.
    OtherFilter,
    /// The device is used in a way that forbids this.
    Busy,
    /// The device is a leg of a device-mapper or MD device.
    Leg,
    /// There is no such snapshot.
    NoSnapshot,
    /// The snapshot or the device is not in the state this needs.
    WrongState,
    /// Writes in flight did not finish in time, so that nothing was taken.
    GateTimeout,
    /// The difference storage overflowed; the snapshot failed, the device did not.
    Overflow,
    /// The snapshot failed for another reason; the device did not.
    SnapshotFailed,
    /// The change id belongs to another generation of change tracking.
    GenerationChanged,
    /// The change id is newer than the last take.
    UnknownChange,
    /// The device has no consumer of this name.
    NoConsumer,
    /// An argument has not the form it should have.
    Invalid,
    /// Something was refused for safety.
    Refused,
    /// A backup is damaged or incomplete.
    Damaged,
    /// A backup does not fit what was asked for.
    Mismatch,
    /// Somebody else is working there.
    Locked,
    /// A signal ended the work.
    Interrupted,
    /// Anything else the system said.
    Io,
}

/// What failed, why, and what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    help: Option<String>,
}

impl Error {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
            help: None,
        }
    }

    /// An error of the system, classified by what it says.
    #[must_use]
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NoDevice,
            io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
            io::ErrorKind::Interrupted => ErrorKind::Interrupted,
            _ => ErrorKind::Io,
        };
        Self::new(kind, context).caused_by(source)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error, of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref().or(match self.kind {
            ErrorKind::NotPermitted => Some("run the command as root (sudo)"),
            ErrorKind::NotAttached => Some("attach the device first: blksnap attach DEVICE"),
            ErrorKind::Overflow => Some(
                "give the difference storage more room: --store PATH on a file system with space, or a higher --limit",
            ),
            ErrorKind::GenerationChanged => {
                Some("change tracking began anew since that change id was made; make a full backup")
            }
            ErrorKind::GateTimeout => {
                Some("the device has writes that do not finish; try again when it is less busy")
            }
            _ => None,
        })
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The errno of an error of the system.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// The cause of a failed snapshot, from the negative errno the module keeps.
pub(crate) fn snapshot_failure(code: i32) -> Option<Error> {
    if code == 0 {
        return None;
    }
    let errno = code.checked_neg().unwrap_or(i32::MAX);
    let cause = io::Error::from_raw_os_error(errno);
    Some(if errno == Errno::NOSPC.raw_os_error() {
        Error::new(
            ErrorKind::Overflow,
            "the difference storage is full, so the snapshot failed (the device itself is unharmed)",
        )
    } else {
        Error::new(
            ErrorKind::SnapshotFailed,
            "the snapshot failed (the device itself is unharmed)",
        )
        .caused_by(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_says_each_cause_once() {
        let cause = io::Error::from_raw_os_error(5);
        let error = Error::io("cannot read /dev/x", cause);
        assert_eq!(error.to_string(), "cannot read /dev/x");
        assert_eq!(
            error.chain(),
            "cannot read /dev/x: Input/output error (os error 5)"
        );
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn failures_of_snapshots() {
        assert!(snapshot_failure(0).is_none());
        assert_eq!(
            snapshot_failure(-28).map(|e| e.kind()),
            Some(ErrorKind::Overflow)
        );
        let other = snapshot_failure(-5).expect("an error");
        assert_eq!(other.kind(), ErrorKind::SnapshotFailed);
        assert!(other.chain().contains("os error 5"), "{}", other.chain());
    }
}
