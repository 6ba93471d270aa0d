// SPDX-License-Identifier: GPL-2.0-only
//! The proof of change tracking: what it reports between two takes against the true difference of the two images.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

/// Compares two images with what change tracking reported between them.
#[derive(Args, Debug)]
pub(crate) struct Delta {
    old: PathBuf,
    new: PathBuf,
    /// Bytes of a tracking block
    #[arg(long, default_value_t = 65536)]
    block: u64,
    /// The byte map of the second take
    #[arg(long, conflicts_with = "extents")]
    map: Option<PathBuf>,
    /// With --map: the number of the first take
    #[arg(long, default_value_t = 0)]
    base: u8,
    /// A text file of changed extents, one `OFFSET LENGTH` in bytes a line
    #[arg(long, required_unless_present = "map")]
    extents: Option<PathBuf>,
    /// Blocks that are reported and do not differ are no fault (writes of the same content, discards)
    #[arg(long)]
    superset: bool,
}

impl Delta {
    /// An error when a difference is not reported (or, unless `--superset`, the other way round).
    pub(crate) fn run(&self) -> Result<()> {
        let differing = self.difference()?;
        let mut reported = vec![false; differing.len()];
        if let Some(map) = &self.map {
            let bytes = fs::read(map)?;
            if bytes.len() < differing.len() {
                bail!(
                    "the map has {} blocks, the images have {}",
                    bytes.len(),
                    differing.len()
                );
            }
            for (flag, byte) in reported.iter_mut().zip(bytes) {
                *flag = byte > self.base;
            }
        } else if let Some(extents) = &self.extents {
            for line in fs::read_to_string(extents)?.lines() {
                let numbers: Vec<u64> = line
                    .split_whitespace()
                    .map(str::parse)
                    .collect::<Result<_, _>>()?;
                let [offset, length] = numbers[..] else {
                    bail!("not an extent: {line}")
                };
                for block in offset / self.block..(offset + length).div_ceil(self.block) {
                    *reported
                        .get_mut(usize::try_from(block)?)
                        .context("an extent past the end")? = true;
                }
            }
        }
        let missed: Vec<usize> = (0..differing.len())
            .filter(|i| differing[*i] && !reported[*i])
            .collect();
        let extra: Vec<usize> = (0..differing.len())
            .filter(|i| !differing[*i] && reported[*i])
            .collect();
        println!(
            "{} blocks differ, {} reported, {} missed, {} extra",
            differing.iter().filter(|d| **d).count(),
            reported.iter().filter(|r| **r).count(),
            missed.len(),
            extra.len()
        );
        if let Some(first) = missed.first() {
            bail!(
                "{} blocks differ and were not reported, first block {first}",
                missed.len()
            );
        }
        if !self.superset
            && let Some(first) = extra.first()
        {
            bail!(
                "{} blocks were reported and do not differ, first block {first}",
                extra.len()
            );
        }
        Ok(())
    }

    fn difference(&self) -> Result<Vec<bool>> {
        let open = |path: &Path| {
            File::open(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (mut old, mut new) = (open(&self.old)?, open(&self.new)?);
        let size = usize::try_from(self.block)?;
        let (mut a, mut b) = (vec![0; size], vec![0; size]);
        let mut differing = Vec::new();
        loop {
            let (n, m) = (fill(&mut old, &mut a)?, fill(&mut new, &mut b)?);
            if n != m {
                bail!("the images differ in size");
            }
            if n == 0 {
                return Ok(differing);
            }
            differing.push(a[..n] != b[..n]);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
