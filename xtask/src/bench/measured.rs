// SPDX-License-Identifier: GPL-2.0-only
//! A cell as it was measured: what fio said, and what the snapshot said of itself.

use serde::Deserialize;

use super::cells::Cell;
use super::fio::Taken;
use super::results::{Requests, Take, digits};

/// A cell as it was measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    /// What fio said.
    pub(crate) taken: Taken,
    pub(crate) said: Said,
}

/// What a snapshot said of itself after its cell.
#[derive(Debug, Default, Clone, Deserialize)]
pub(crate) struct Said {
    error: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default)]
    images: Vec<Image>,
    /// Sectors of dm-snapshot's storage: `ALLOCATED/ALL`, or what went wrong.
    dm: Option<String>,
    /// The takes under a load.
    #[serde(default)]
    pub(crate) gates: Vec<Take>,
    /// Of origin and store, while it was measured: reads, writes, sectors read, sectors written.
    requests: Option<[[u64; 4]; 2]>,
}

#[derive(Debug, Clone, Deserialize)]
struct Image {
    copy_read_bytes: u64,
    store_bytes: u64,
}

impl Said {
    /// What is wrong with the snapshot, if anything is.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.dm {
            Some(dm) if !dm.contains('/') => Some(dm.clone()),
            _ => self.error.clone(),
        }
    }

    /// Bytes stored, as it says.
    pub(crate) fn stored(&self) -> Option<u64> {
        match (&self.dm, self.images.first()) {
            (Some(dm), _) => dm.split('/').next()?.parse::<u64>().ok().map(|s| s * 512),
            (None, image) => image.map(|image| image.store_bytes),
        }
    }

    /// Bytes of the origin read for copies.
    pub(crate) fn copy_read(&self) -> Option<u64> {
        self.images.first().map(|image| image.copy_read_bytes)
    }
}

impl Measured {
    /// What origin and store were asked for.
    pub(crate) fn requests(&self) -> Option<Requests> {
        let [origin, store] = self.said.requests?;
        let each = |count: u64| digits(count as f64 / self.taken.ios as f64, 3);
        Some(Requests {
            origin: [each(origin[0]), each(origin[1])],
            store: [each(store[0]), each(store[1])],
            store_bytes: each(store[3] << 9),
        })
    }

    /// What a second one is to agree with: the rate; where that is not repeatable, the requests.
    pub(crate) fn repeatable(&self) -> f64 {
        match self.requests() {
            Some(r) => [r.origin, r.store].concat().iter().sum(),
            None => self.taken.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_snapshots_say_is_read() {
        let dm: Said = serde_json::from_str(r#"{ "dm": "49152/1572864" }"#).unwrap();
        assert_eq!((dm.stored(), dm.failure()), (Some(49152 * 512), None));
        let full: Said = serde_json::from_str(r#"{ "dm": "Invalid" }"#).unwrap();
        assert_eq!(full.failure().unwrap(), "Invalid");
        let none: Said = serde_json::from_str("{}").unwrap();
        assert_eq!((none.stored(), none.failure()), (None, None));
    }
}
