// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges of a device as a manifest has them: `FIRST+COUNT FIRST+COUNT …` in units, ascending.

use blksnap::Extent;
use serde::{Deserialize, Serialize};

/// A set of ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Bytes of a unit.
    pub unit_bytes: u64,
    /// All of them, in bytes of the device.
    pub bytes: u64,
    /// Their text.
    pub runs: String,
}

impl Runs {
    /// Ascending ranges of whole units; the device's end may end the last one.
    #[must_use]
    pub fn new(extents: &[Extent], unit_bytes: u64) -> Self {
        let runs: Vec<String> = extents
            .iter()
            .map(|extent| {
                let (first, count) = (
                    extent.offset / unit_bytes,
                    extent.length.div_ceil(unit_bytes),
                );
                format!("{first}+{count}")
            })
            .collect();
        Self {
            unit_bytes,
            bytes: extents.iter().map(|extent| extent.length).sum(),
            runs: runs.join(" "),
        }
    }

    /// The ranges, on a device of `size` bytes.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the text.
    pub fn extents(&self, size: u64) -> Result<Vec<Extent>, String> {
        let mut extents: Vec<Extent> = Vec::new();
        for run in self.runs.split_ascii_whitespace() {
            let parse = || {
                let (first, count) = run.split_once('+')?;
                let offset = first.parse::<u64>().ok()?.checked_mul(self.unit_bytes)?;
                let length = count.parse::<u64>().ok()?.checked_mul(self.unit_bytes)?;
                let end = offset.checked_add(length)?.min(size);
                let length = end.checked_sub(offset).filter(|length| *length > 0)?;
                let before = extents.last().map_or(0, Extent::end);
                (offset >= before).then_some(Extent { offset, length })
            };
            extents.push(parse().ok_or_else(|| format!("its free space has a run `{run}`"))?);
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let extents = [(0, 8192), (16384, 4096), (36864, 100)]
            .map(|(offset, length)| Extent { offset, length });
        let runs = Runs::new(&extents, 4096);
        assert_eq!((&*runs.runs, runs.bytes), ("0+2 4+1 9+1", 12388));
        assert_eq!(runs.extents(36964).unwrap(), extents);
        assert_eq!(Runs::default().extents(1).unwrap(), []);
    }

    #[test]
    fn what_makes_no_sense() {
        for text in [
            "1",
            "1+",
            "+1",
            "1+0",
            "4+1 3+1",
            "4+2 5+1",
            "9+1",
            "1+18446744073709551615",
        ] {
            let runs = Runs {
                unit_bytes: 4096,
                runs: text.to_owned(),
                ..Runs::default()
            };
            assert!(runs.extents(32768).is_err(), "{text}");
        }
    }
}
