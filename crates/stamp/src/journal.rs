// SPDX-License-Identifier: GPL-2.0-only
//! What a load did: one entry a write, with the instants of its beginning and end.
//!
//! A file of 40-byte entries, five u64 in little endian: first sector, sectors, sequence, begin, end
//! (nanoseconds of `CLOCK_MONOTONIC`; an end of `u64::MAX` is a write that never came back).

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sector: u64,
    pub(crate) sectors: u64,
    pub(crate) sequence: u64,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// Writes a journal.
pub(crate) fn save(path: &Path, entries: &[Entry]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for entry in entries {
        for word in [
            entry.sector,
            entry.sectors,
            entry.sequence,
            entry.begin_ns,
            entry.end_ns,
        ] {
            file.write_all(&word.to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(())
}

/// Reads a journal.
pub(crate) fn load(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    BufReader::new(file).read_to_end(&mut bytes)?;
    let word = |entry: &[u8], i: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&entry[i * 8..i * 8 + 8]);
        u64::from_le_bytes(eight)
    };
    Ok(bytes
        .chunks_exact(40)
        .map(|e| Entry {
            sector: word(e, 0),
            sectors: word(e, 1),
            sequence: word(e, 2),
            begin_ns: word(e, 3),
            end_ns: word(e, 4),
        })
        .collect())
}
