// SPDX-License-Identifier: GPL-2.0-only
//! The folder by which `tests/bench/run.sh` is told its cells, and says what they took.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::cells::{Cell, Kind, On};
use super::fio::{self, Taken};
use super::measured::{Measured, Said};
use crate::{cache, sh};

/// Makes the folder, with the cells in it; each has `more` arguments of fio.
pub(crate) fn prepare(share: &Path, cells: &[Cell], more: impl Fn(&Cell) -> String) -> Result<()> {
    cache::remove_tree(&share.join("out"))?;
    fs::create_dir_all(share)?;
    let _ = fs::remove_file(share.join("kallsyms"));
    let lines = cells.iter().map(|cell| cell.line() + &more(cell) + "\n");
    Ok(fs::write(share.join("cells"), lines.collect::<String>())?)
}

/// Says what comes.
pub(crate) fn begin(kind: &Kind, cells: &[Cell], kernel: &str) {
    sh::say(format!("{}: {} cells on {kernel}", kind.title, cells.len()));
}

/// A line of the script's: `DONE NAME` is one of `all` cells.
pub(crate) fn line(line: &str, all: usize, done: &mut usize) {
    match line.strip_prefix("DONE ") {
        Some(name) => {
            *done += 1;
            sh::say(format!("{done}/{all} {name}"));
        }
        None => println!("{line}"),
    }
}

/// What the cells took.
pub(crate) fn read(share: &Path, cells: &[Cell]) -> Result<Vec<Measured>> {
    cells
        .iter()
        .map(|cell| {
            let (taken, said) = read_one(&share.join("out"), cell)
                .with_context(|| format!("the cell {}", cell.name()))?;
            let cell = cell.clone();
            Ok(Measured { cell, taken, said })
        })
        .collect()
}

fn read_one(out: &Path, cell: &Cell) -> Result<(Taken, Said)> {
    let name = cell.name();
    let text = fs::read_to_string(out.join(format!("{name}.json")))?;
    let taken = match cell.work.on {
        On::Program => fio::parse_program(&text)?,
        _ => fio::parse(&text)?,
    };
    let said: Said = serde_json::from_str(&fs::read_to_string(out.join(format!("{name}.info")))?)?;
    if let Some(failure) = said.failure() {
        bail!("the snapshot failed: {failure}");
    }
    Ok((taken, said))
}
