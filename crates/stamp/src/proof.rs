// SPDX-License-Identifier: GPL-2.0-only
//! The proof of images against the journals of their loads: is there one instant at which all of them were like this?
//!
//! For each sector the image holds one write, or none: the writes up to that one had begun before the instant, and
//! those after it had not ended before it. So the latest beginning of a write that is in, over all sectors of all
//! images, must be earlier than the earliest end of a write that is not. A write that is in only in part is torn.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::journal::{self, Entry};
use crate::sector::{self, Found, SECTOR};

/// Proves that images are of one instant.
#[derive(Args, Debug)]
pub(crate) struct Prove {
    /// An image and its journals in the order of their loads: IMAGE:JOURNAL[:JOURNAL…]
    #[arg(required = true)]
    pairs: Vec<String>,
    /// The instant was after this (nanoseconds of CLOCK_MONOTONIC; `stamp now` prints it)
    #[arg(long)]
    after: Option<u64>,
    /// The instant was before this
    #[arg(long)]
    before: Option<u64>,
    /// What never was written may hold anything (else: zeros)
    #[arg(long)]
    foreign: bool,
}

/// What one image says about the instant.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// The latest beginning of a write that is in.
    latest_in: u64,
    /// The earliest end of a write that is not.
    earliest_out: u64,
    writes_in: usize,
    writes_out: usize,
    problems: Vec<String>,
}

impl Prove {
    /// Reads and judges; an error when there is no such instant.
    pub(crate) fn run(&self) -> Result<()> {
        let (mut latest_in, mut earliest_out) =
            (self.after.unwrap_or(0), self.before.unwrap_or(u64::MAX));
        let mut problems = Vec::new();
        for pair in &self.pairs {
            let mut words = pair.split(':').map(PathBuf::from);
            let image = words.next().context("an empty pair")?;
            let mut entries = Vec::new();
            for journal in words {
                entries.extend(journal::load(&journal)?);
            }
            if entries.is_empty() {
                bail!("{pair} has no journal with a write in it");
            }
            let verdict = judge(&image, &entries, self.foreign)?;
            println!(
                "{}: {} writes in, {} writes out, {} problems",
                image.display(),
                verdict.writes_in,
                verdict.writes_out,
                verdict.problems.len()
            );
            latest_in = latest_in.max(verdict.latest_in);
            earliest_out = earliest_out.min(verdict.earliest_out);
            problems.extend(
                verdict
                    .problems
                    .into_iter()
                    .map(|p| format!("{}: {p}", image.display())),
            );
        }
        if latest_in >= earliest_out {
            problems.push(format!(
                "no instant fits: a write that began at {latest_in} is in, one that ended at {earliest_out} is not"
            ));
        }
        if problems.is_empty() {
            println!(
                "one instant fits: {} us wide",
                earliest_out.saturating_sub(latest_in) / 1000
            );
            return Ok(());
        }
        for problem in problems.iter().take(20) {
            eprintln!("{problem}");
        }
        bail!("{} problems", problems.len());
    }
}

fn judge(image: &Path, entries: &[Entry], foreign: bool) -> Result<Verdict> {
    let sectors = entries
        .iter()
        .map(|e| e.sector + e.sectors)
        .max()
        .unwrap_or(0);
    // For each sector the index of the write the image holds, plus one.
    let mut held = vec![0u32; usize::try_from(sectors)?];
    let mut by_sequence = std::collections::HashMap::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        by_sequence.insert(entry.sequence, index);
    }
    let mut touched = vec![false; held.len()];
    for entry in entries {
        let first = usize::try_from(entry.sector)?;
        touched[first..first + usize::try_from(entry.sectors)?].fill(true);
    }
    let mut verdict = Verdict {
        earliest_out: u64::MAX,
        ..Verdict::default()
    };

    let mut file = File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut sector = 0u64;
    while sector < sectors {
        let wanted = usize::try_from(((sectors - sector) * 512).min(buffer.len() as u64))?;
        file.read_exact(&mut buffer[..wanted])
            .with_context(|| format!("cannot read {} at sector {sector}", image.display()))?;
        for bytes in buffer[..wanted].chunks_exact(SECTOR) {
            let place = usize::try_from(sector)?;
            match sector::read(bytes) {
                Found::Stamped(stamp) => match by_sequence.get(&stamp.sequence) {
                    // Of an earlier load.
                    None if foreign => {}
                    None => verdict.problems.push(format!(
                        "sector {sector} holds write {}, which is in no journal",
                        stamp.sequence
                    )),
                    Some(_) if stamp.sector != sector => verdict.problems.push(format!(
                        "sector {sector} holds what was written to {}",
                        stamp.sector
                    )),
                    Some(index) => held[place] = u32::try_from(index + 1)?,
                },
                Found::Torn => verdict.problems.push(format!("sector {sector} is torn")),
                Found::Foreign if touched[place] && !foreign => {
                    verdict
                        .problems
                        .push(format!("sector {sector} holds something foreign"));
                }
                Found::Zero | Found::Foreign => {}
            }
            sector += 1;
        }
    }

    for (index, entry) in entries.iter().enumerate() {
        let first = usize::try_from(entry.sector)?;
        let range = &held[first..first + usize::try_from(entry.sectors)?];
        // A sector says of this write: in (this one or a later one is held), or out.
        let is_in = |h: &u32| *h > 0 && entries[*h as usize - 1].sequence >= entry.sequence;
        let count = range.iter().filter(|h| is_in(h)).count();
        if count == range.len() {
            verdict.writes_in += 1;
            if range.iter().any(|h| *h as usize == index + 1) {
                verdict.latest_in = verdict.latest_in.max(entry.begin_ns);
            }
        } else if count == 0 {
            verdict.writes_out += 1;
            verdict.earliest_out = verdict.earliest_out.min(entry.end_ns);
        } else if range.iter().any(|h| *h as usize == index + 1) {
            verdict.problems.push(format!(
                "write {} at sector {} is torn: {count} of {} sectors are in",
                entry.sequence,
                entry.sector,
                range.len()
            ));
        } else {
            // Out, as its own sectors show; those that are in hold later writes, which would have to be out too.
            verdict.problems.push(format!(
                "write {} at sector {} is out but a later one is in",
                entry.sequence, entry.sector
            ));
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sector::Stamp;

    fn image(name: &str, stamps: &[Option<u64>]) -> PathBuf {
        let mut bytes = vec![0u8; stamps.len() * SECTOR];
        for (i, stamp) in stamps.iter().enumerate() {
            if let Some(sequence) = stamp {
                let stamp = Stamp {
                    sector: i as u64,
                    sequence: *sequence,
                    time_ns: 0,
                };
                sector::write(&mut bytes[i * SECTOR..(i + 1) * SECTOR], stamp);
            }
        }
        let path = std::env::temp_dir().join(format!("stamp-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn entry(sector: u64, sectors: u64, sequence: u64, begin_ns: u64, end_ns: u64) -> Entry {
        Entry {
            sector,
            sectors,
            sequence,
            begin_ns,
            end_ns,
        }
    }

    #[test]
    fn an_instant_is_found_where_there_is_one() {
        let path = image("good", &[Some(1), Some(1), Some(2), None]);
        let entries = [
            entry(0, 2, 1, 10, 20),
            entry(2, 1, 2, 30, 40),
            entry(0, 2, 3, 50, 60),
            entry(3, 1, 4, 45, 70),
        ];
        let verdict = judge(&path, &entries, false).unwrap();
        assert_eq!((verdict.latest_in, verdict.earliest_out), (30, 60));
        assert_eq!(
            (
                verdict.writes_in,
                verdict.writes_out,
                verdict.problems.len()
            ),
            (2, 2, 0)
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn torn_and_impossible_images_are_seen() {
        let path = image("torn", &[Some(1), None]);
        assert_eq!(
            judge(&path, &[entry(0, 2, 1, 10, 20)], false)
                .unwrap()
                .problems
                .len(),
            1
        );
        // The second write is in, the first, which had ended before, is not.
        let path2 = image("order", &[None, Some(2)]);
        let verdict = judge(
            &path2,
            &[entry(0, 1, 1, 10, 20), entry(1, 1, 2, 30, 40)],
            false,
        )
        .unwrap();
        assert!(verdict.latest_in >= verdict.earliest_out);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(path2).unwrap();
    }
}
