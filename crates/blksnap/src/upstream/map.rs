// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the older interface tells of changes: numbers of takes that fit a byte, and a byte for each block.

use blksnap_uapi::ctl::CbtInfo;

use crate::changes::Extent;
use crate::error::{Error, ErrorKind, Result};

/// The state of change tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The device's size.
    pub size_bytes: u64,
    /// Bytes of a tracking block.
    pub block_size: u32,
    /// Tracking blocks, and bytes of the map.
    pub block_count: u32,
    /// Another one when the map has begun anew: numbers of two generations do not compare.
    pub generation: [u8; 16],
    /// Takes in this generation, 0 to 255.
    pub number: u8,
}

impl Info {
    pub(super) fn new(info: &CbtInfo) -> Self {
        Self {
            size_bytes: info.device_capacity,
            block_size: info.block_size,
            block_count: info.block_count,
            generation: info.generation_id,
            number: info.changes_number,
        }
    }
}

/// The byte map of a device, as of its last take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub(super) info: Info,
    pub(super) bytes: Vec<u8>,
}

impl Map {
    /// The take it is of.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// For each tracking block the take before which it changed last; 0 for one that did not change in this generation.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What changed between take `number` and that of the map, in ascending order; neighbouring blocks are one extent.
    ///
    /// # Errors
    ///
    /// `generation` is another than the map's ([`ErrorKind::GenerationChanged`]), `number` is newer ([`ErrorKind::UnknownChange`]).
    pub fn changed_since(&self, generation: [u8; 16], number: u8) -> Result<Vec<Extent>> {
        if generation != self.info.generation {
            return Err(Error::new(
                ErrorKind::GenerationChanged,
                "change tracking began anew",
            ));
        }
        if number > self.info.number {
            let last = self.info.number;
            return Err(Error::new(
                ErrorKind::UnknownChange,
                format!("take {number} is newer than the last one, {last}"),
            ));
        }
        let mut extents: Vec<Extent> = Vec::new();
        for offset in (0u64..)
            .zip(&self.bytes)
            .filter(|(_, last)| **last > number)
            .map(|(at, _)| at * u64::from(self.info.block_size))
        {
            let length =
                u64::from(self.info.block_size).min(self.info.size_bytes.saturating_sub(offset));
            match extents.last_mut() {
                Some(extent) if extent.end() == offset => extent.length += length,
                _ => extents.push(Extent { offset, length }),
            }
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(bytes: &[u8]) -> Map {
        let info = Info {
            size_bytes: 4096 * 5 - 512,
            block_size: 4096,
            block_count: 5,
            generation: [1; 16],
            number: 3,
        };
        Map {
            info,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn neighbouring_blocks_are_one_extent_and_the_last_is_as_short_as_the_device() {
        let extents = map(&[3, 2, 0, 1, 3]).changed_since([1; 16], 1).unwrap();
        let expected = [(0, 8192), (16384, 3584)].map(|(offset, length)| Extent { offset, length });
        assert_eq!(extents, expected);
        assert_eq!(map(&[3, 2, 0, 1, 3]).changed_since([1; 16], 3).unwrap(), []);
    }

    #[test]
    fn numbers_of_another_generation_or_of_the_future_do_not_compare() {
        let kind = |generation, number| {
            map(&[0; 5])
                .changed_since(generation, number)
                .unwrap_err()
                .kind()
        };
        assert_eq!(kind([2; 16], 1), ErrorKind::GenerationChanged);
        assert_eq!(kind([1; 16], 4), ErrorKind::UnknownChange);
    }
}
