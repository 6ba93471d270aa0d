// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of snapshots and of points in the history of a device.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// The name of a snapshot: a UUID the module chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub [u8; 16]);

impl SnapshotId {
    /// The id, unless it is the zero that says "none".
    #[must_use]
    pub fn some(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let uuid = Uuid::parse_str(text).map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("`{text}` is not a snapshot id"))
                .caused_by(error)
                .with_help("ids are shown by `blksnap snapshot list`")
        })?;
        Ok(Self(uuid.into_bytes()))
    }
}

/// A point in the history of a device: "take `number` of `generation`".
///
/// As text it is `GENERATION/NUMBER`, to be treated as opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeId {
    /// The generation of change tracking; numbers of two generations do not compare.
    pub generation: [u8; 16],
    /// The take, counted from 1 within the generation; 0 is the moment the tracking began.
    pub number: u64,
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Uuid::from_bytes(self.generation), self.number)
    }
}

impl FromStr for ChangeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (generation, number) = text.split_once('/')?;
            let generation = Uuid::parse_str(generation).ok()?.into_bytes();
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| number.parse().ok())??;
            Some(Self { generation, number })
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("`{text}` is not a change id"))
                .with_help("a change id is GENERATION/NUMBER, as `blksnap list` shows it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_ids_go_there_and_back() {
        let id = ChangeId {
            generation: *b"0123456789abcdef",
            number: u64::MAX,
        };
        let text = id.to_string();
        assert_eq!(
            text,
            "30313233-3435-3637-3839-616263646566/18446744073709551615"
        );
        assert_eq!(text.parse::<ChangeId>().unwrap(), id);
        for bad in [
            "",
            "/",
            "x/1",
            "30313233-3435-3637-3839-616263646566",
            "30313233-3435-3637-3839-616263646566/",
            "30313233-3435-3637-3839-616263646566/+1",
            "30313233-3435-3637-3839-616263646566/18446744073709551616",
        ] {
            assert_eq!(
                bad.parse::<ChangeId>().unwrap_err().kind(),
                ErrorKind::Invalid,
                "{bad}"
            );
        }
    }

    #[test]
    fn zero_is_no_snapshot() {
        assert_eq!(SnapshotId::some([0; 16]), None);
        let id = SnapshotId([7; 16]);
        assert_eq!(SnapshotId::some([7; 16]), Some(id));
        assert_eq!(id.to_string().parse::<SnapshotId>().unwrap(), id);
        assert!("7".parse::<SnapshotId>().is_err());
    }
}
