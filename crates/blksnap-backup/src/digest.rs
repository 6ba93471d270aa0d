// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of what one file of a chain holds.
//!
//! It is over content, not over the qcow2's own structures: for every cluster that is present, in
//! ascending order, its offset (64 bits, little-endian), the byte `D` and its data, or `Z` when it
//! is all zero. A cluster that is not present is not in it. So it also notices a cluster that
//! appeared, went, or moved. Data behind the device's end is not in it.
//!
//! There is one for each part of 64 MiB, which tells where damage is, and one over all.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// Bytes of the device in one part.
pub const PART_BYTES: u64 = 64 << 20;
/// The value of `algorithm`.
pub const ALGORITHM: &str = "xxh3-128";

/// The checksums of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// [`ALGORITHM`].
    pub algorithm: String,
    /// Over the texts of all parts, with their offsets.
    pub total: String,
    /// Bytes of the device in a part.
    pub part_bytes: u64,
    /// The parts in which clusters are present.
    pub parts: Vec<Part>,
}

/// The checksum of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where the part begins on the device.
    pub offset: u64,
    /// Its checksum, 32 hexadecimal digits.
    pub value: String,
}

/// Computes the checksums while clusters go by, in ascending order.
#[derive(Debug)]
pub struct Digest {
    cluster_bytes: u64,
    current: Option<(u64, XxHash3_128Stream)>,
    parts: Vec<Part>,
}

struct XxHash3_128Stream(twox_hash::xxhash3_128::Hasher);

impl std::fmt::Debug for XxHash3_128Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("XXH3-128")
    }
}

impl Digest {
    /// For an image with clusters of this size.
    #[must_use]
    pub fn new(cluster_bytes: u64) -> Self {
        Self {
            cluster_bytes,
            current: None,
            parts: Vec::new(),
        }
    }

    /// Data at `offset`, which begins a cluster.
    pub fn data(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let length = usize::try_from(self.cluster_bytes)
                .unwrap_or(usize::MAX)
                .min(data.len());
            let (cluster, rest) = data.split_at(length);
            self.cluster(offset, (!is_zero(cluster)).then_some(cluster));
            offset += length as u64;
            data = rest;
        }
    }

    /// Zeros at `offset`, which begins a cluster.
    pub fn zeros(&mut self, offset: u64, length: u64) {
        let mut at = offset;
        while at < offset + length {
            self.cluster(at, None);
            at += self.cluster_bytes;
        }
    }

    fn cluster(&mut self, offset: u64, data: Option<&[u8]>) {
        let part = offset - offset % PART_BYTES;
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != part)
        {
            self.end_part();
            self.current = Some((
                part,
                XxHash3_128Stream(twox_hash::xxhash3_128::Hasher::new()),
            ));
        }
        if let Some((_, XxHash3_128Stream(hash))) = &mut self.current {
            hash.write(&offset.to_le_bytes());
            match data {
                Some(data) => {
                    hash.write(b"D");
                    hash.write(data);
                }
                None => hash.write(b"Z"),
            }
        }
    }

    fn end_part(&mut self) {
        if let Some((offset, XxHash3_128Stream(hash))) = self.current.take() {
            self.parts.push(Part {
                offset,
                value: format!("{:032x}", hash.finish_128()),
            });
        }
    }

    /// The checksums.
    #[must_use]
    pub fn finish(mut self) -> Checksum {
        self.end_part();
        let text: String = self
            .parts
            .iter()
            .map(|part| format!("{} {}\n", part.offset, part.value))
            .collect();
        let total = format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()));
        Checksum {
            algorithm: ALGORITHM.to_owned(),
            total,
            part_bytes: PART_BYTES,
            parts: self.parts,
        }
    }
}

impl Checksum {
    /// The first part in which `found` differs, as the offset it begins at.
    #[must_use]
    pub fn first_difference(&self, found: &Self) -> Option<u64> {
        let at = |parts: &[Part], offset: u64| {
            parts
                .iter()
                .find(|part| part.offset == offset)
                .map(|part| part.value.clone())
        };
        let mut offsets: Vec<u64> = self
            .parts
            .iter()
            .chain(&found.parts)
            .map(|part| part.offset)
            .collect();
        offsets.sort_unstable();
        offsets
            .into_iter()
            .find(|offset| at(&self.parts, *offset) != at(&found.parts, *offset))
    }
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(data: &[u8]) -> bool {
    let (chunks, rest) = data.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: impl FnOnce(&mut Digest)) -> Checksum {
        let mut digest = Digest::new(4096);
        steps(&mut digest);
        digest.finish()
    }

    #[test]
    fn how_data_is_cut_does_not_matter() {
        let data: Vec<u8> = (0..16384u32).map(|at| (at / 7) as u8).collect();
        let once = of(|d| d.data(4096, &data));
        let twice = of(|d| {
            d.data(4096, &data[..8192]);
            d.data(12288, &data[8192..]);
        });
        assert_eq!(once, twice);
        assert_eq!(once.total.len(), 32);
    }

    #[test]
    fn every_difference_shows() {
        let data = vec![7; 8192];
        let base = of(|d| d.data(0, &data));
        let mut other = data.clone();
        other[5000] = 8;
        assert_ne!(of(|d| d.data(0, &other)).total, base.total);
        assert_ne!(of(|d| d.data(4096, &data)).total, base.total);
        assert_ne!(of(|d| d.data(0, &data[..4096])).total, base.total);
        assert_ne!(
            of(|d| {
                d.data(0, &data);
                d.zeros(8192, 4096);
            })
            .total,
            base.total
        );
        assert_eq!(of(|d| d.data(0, &[0; 8192])), of(|d| d.zeros(0, 8192)));
    }

    #[test]
    fn the_part_that_differs_is_found() {
        let base = of(|d| {
            d.data(0, &[1; 4096]);
            d.data(PART_BYTES * 3, &[2; 4096]);
        });
        let damaged = of(|d| {
            d.data(0, &[1; 4096]);
            d.data(PART_BYTES * 3, &[3; 4096]);
        });
        let missing = of(|d| d.data(PART_BYTES * 3, &[2; 4096]));
        assert_eq!(base.parts.len(), 2);
        assert_eq!(base.first_difference(&base), None);
        assert_eq!(base.first_difference(&damaged), Some(PART_BYTES * 3));
        assert_eq!(base.first_difference(&missing), Some(0));
    }

    /// Pins the algorithm: manifests outlive this program.
    #[test]
    fn a_known_value() {
        let checksum = of(|d| {
            d.data(0, &[0x5a; 4096]);
            d.zeros(4096, 4096);
        });
        let mut bytes = vec![0; 8];
        bytes.push(b'D');
        bytes.extend([0x5a; 4096]);
        bytes.extend(4096u64.to_le_bytes());
        bytes.push(b'Z');
        assert_eq!(
            checksum.parts[0].value,
            format!("{:032x}", XxHash3_128::oneshot(&bytes))
        );
        // The empty input of XXH3-128, from its specification.
        assert_eq!(
            format!("{:032x}", XxHash3_128::oneshot(b"")),
            "99aa06d3014798d86001c324468d497f"
        );
    }
}
