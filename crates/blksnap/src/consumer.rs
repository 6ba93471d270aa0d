// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named consumers of a device's changes, each with a base of its own that the module keeps.
//!
//! A base that is kept stays exact however many takes follow. It goes with the generation: a
//! detach, a resize or a restart forgets all consumers.

use blksnap_uapi::extended::{
    BLKSNAP_CONSUMER_GET, BLKSNAP_CONSUMER_LIST, BLKSNAP_CONSUMER_REMOVE, BLKSNAP_CONSUMER_SET,
    Consumer as Argument,
};
use rustix::io::Errno;

use crate::device::{BlockDevice, text};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::id::ChangeId;

/// A consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The take after which it asks for changes.
    pub base: ChangeId,
}

impl BlockDevice {
    /// All consumers, in the order of their names.
    ///
    /// # Errors
    ///
    /// The device is not attached, the module has no consumers, root is needed.
    pub fn consumers(&self) -> Result<Vec<Consumer>> {
        let mut consumers = Vec::new();
        for index in 0.. {
            let mut argument = Argument {
                op: BLKSNAP_CONSUMER_LIST,
                index,
                ..Argument::ZERO
            };
            match self.door().consumer(&mut argument) {
                Ok(()) => consumers.push(Consumer {
                    name: text(&argument.name).unwrap_or_default(),
                    base: base(&argument),
                }),
                Err(error) if errno(&error) == Some(Errno::NOENT) && self.tracking()?.is_some() => {
                    break;
                }
                Err(error) => return Err(self.consumer_error("list the consumers of", "", error)),
            }
        }
        consumers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(consumers)
    }

    /// The base of a consumer.
    ///
    /// # Errors
    ///
    /// There is none of this name ([`ErrorKind::NoConsumer`]); else as [`BlockDevice::consumers`].
    pub fn consumer(&self, name: &str) -> Result<ChangeId> {
        let mut argument = Argument {
            op: BLKSNAP_CONSUMER_GET,
            name: padded(name)?,
            ..Argument::ZERO
        };
        match self.door().consumer(&mut argument) {
            Ok(()) => Ok(base(&argument)),
            Err(error) => Err(self.consumer_error("ask for a consumer of", name, error)),
        }
    }

    /// Sets the base of a consumer; makes it if there is none.
    ///
    /// # Errors
    ///
    /// The base is of another generation or newer than the last take, there are too many
    /// consumers; else as [`BlockDevice::consumers`].
    pub fn set_consumer(&self, name: &str, base: ChangeId) -> Result<()> {
        let mut argument = Argument {
            op: BLKSNAP_CONSUMER_SET,
            name: padded(name)?,
            generation: base.generation,
            number: base.number,
            ..Argument::ZERO
        };
        self.door()
            .consumer(&mut argument)
            .map_err(|error| self.consumer_error("set a consumer of", name, error))
    }

    /// Forgets a consumer.
    ///
    /// # Errors
    ///
    /// As [`BlockDevice::consumer`].
    pub fn remove_consumer(&self, name: &str) -> Result<()> {
        let mut argument = Argument {
            op: BLKSNAP_CONSUMER_REMOVE,
            name: padded(name)?,
            ..Argument::ZERO
        };
        self.door()
            .consumer(&mut argument)
            .map_err(|error| self.consumer_error("remove a consumer of", name, error))
    }

    fn consumer_error(&self, verb: &str, name: &str, error: std::io::Error) -> Error {
        let device = self.shown();
        match errno(&error) {
            // It is also the answer for a device that is not attached.
            Some(Errno::NOENT) if matches!(self.tracking(), Ok(Some(_))) => Error::new(
                ErrorKind::NoConsumer,
                format!("{device} has no consumer {name}"),
            )
            .with_help(format!("make it: blksnap consumer set {device} {name}")),
            Some(Errno::STALE) => Error::new(
                ErrorKind::GenerationChanged,
                format!("the change id is of another generation than the tracking of {device}"),
            ),
            Some(Errno::RANGE) => Error::new(
                ErrorKind::UnknownChange,
                format!("the change id is newer than the last take of {device}"),
            ),
            Some(Errno::NOSPC) => Error::new(
                ErrorKind::Refused,
                format!("{device} has as many consumers as it can keep"),
            )
            .caused_by(error)
            .with_help("remove one: blksnap consumer list; blksnap consumer remove DEVICE NAME"),
            _ => self.filter_error(verb, error),
        }
    }
}

fn base(argument: &Argument) -> ChangeId {
    ChangeId {
        generation: argument.generation,
        number: argument.number,
    }
}

/// A name as the interface has it: 1 to 63 bytes, none of them zero.
fn padded(name: &str) -> Result<[u8; 64]> {
    let mut padded = [0; 64];
    if name.is_empty() || name.len() >= padded.len() || name.contains('\0') {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("`{name}` is no name for a consumer: it must have 1 to 63 bytes"),
        ));
    }
    padded[..name.len()].copy_from_slice(name.as_bytes());
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        assert_eq!(&padded("nightly").unwrap()[..8], b"nightly\0");
        assert!(padded(&"x".repeat(63)).is_ok());
        for bad in ["", "a\0b", &"x".repeat(64)] {
            assert_eq!(padded(bad).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
