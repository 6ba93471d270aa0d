// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: figures, in a guest with instruction-counted time.
//!
//! One emulated processor, and a clock that advances by a nanosecond an instruction: what is measured is the length of the path,
//! the same on a busy machine and on a quiet one. It says nothing of cache misses and of locks. Figures are ratios within one run;
//! some cells are measured twice, and a run whose cells do not agree with themselves has no result.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;

use crate::vm::{self, Spec};
use crate::{modules, programs, setup, sh, tools};

/// Measures.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// 6.1, 6.12 or 7.3
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// What to measure: `cost`, a write in each state of the modules
    #[arg(long, default_value = "cost")]
    cells: String,
    /// Writes a cell
    #[arg(long, default_value_t = 60_000)]
    writes: u32,
}

/// How far a repeated cell may be off, as a part of it.
const AGREE: f64 = 0.005;

/// The least rate of a state, as a part of the raw device's.
const LEAST: [(&str, f64); 3] = [("loaded", 0.99), ("other", 0.99), ("tracked", 0.97)];

/// One cell: nanoseconds a write, in fio's own latency and in the time of the whole run.
struct Cell {
    latency: f64,
    all: f64,
}

/// Measures, prints a table, and leaves `target/bench/cost-KERNEL.json`. Fails where a figure is not reached.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.cells == "cost",
        "there are no cells named {}",
        arguments.cells
    );
    let setup = setup::ensure(false)?;
    let kernel = tools::find(&setup.kernels, &arguments.kernel)?;
    modules::build(&setup, std::slice::from_ref(kernel))?;
    let claim = vm::claim(&format!("bench-{}", kernel.series))?;
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 1536,
        cpus: 1,
        timeout: Duration::from_secs(900),
        disks: Vec::new(),
        append: "nokaslr norandmaps mitigations=off init_on_alloc=0".into(),
        script: format!("exec bash /repo/tests/bench/cost.sh {}\n", arguments.writes),
        programs: programs::build()?,
        modules: Some(modules::folder(kernel).join("guest")),
        counted: true,
    };
    sh::say(format!("measuring with {}: about a minute", kernel.release));
    let mut cells = BTreeMap::new();
    let outcome = vm::run(&setup, &spec, &mut |line, _| match cell(line) {
        Some((name, cell)) => drop(cells.insert(name, cell)),
        None => println!("{line}"),
    })?;
    if let Some(failure) = outcome.failure() {
        bail!(failure);
    }
    judge(&kernel.release, arguments.writes, &cells)
}

/// `CELL NAME LATENCY ALL`.
fn cell(line: &str) -> Option<(String, Cell)> {
    let mut words = line.strip_prefix("CELL ")?.split_whitespace();
    let name = words.next()?.to_owned();
    let latency = words.next()?.parse().ok()?;
    let all = words.next()?.parse().ok()?;
    Some((name, Cell { latency, all }))
}

fn judge(release: &str, writes: u32, cells: &BTreeMap<String, Cell>) -> Result<()> {
    let get = |name: &str| cells.get(name).with_context(|| format!("no cell {name}"));
    let raw = get("raw")?;
    let mut wrong = Vec::new();
    println!("a random 4 KiB write to a RAM disk, {release}, {writes} writes a cell");
    println!(
        "{:10} {:>14} {:>14} {:>9}",
        "", "instructions", "more than raw", "rate"
    );
    for name in ["raw", "loaded", "other", "tracked"] {
        let cell = get(name)?;
        // What the whole run took is known to a millisecond only; what differs between the cells is in the latency.
        let rate = raw.all / (raw.all + cell.latency - raw.latency);
        println!(
            "{name:10} {:14.0} {:+14.0} {rate:9.3}",
            cell.latency,
            cell.latency - raw.latency
        );
        if let Some((_, least)) = LEAST.iter().find(|(n, least)| *n == name && rate < *least) {
            wrong.push(format!(
                "{name}: {rate:.3} of the raw rate, less than {least}"
            ));
        }
        if let Some(again) = cells.get(&format!("{name}2")) {
            let off = again.latency / cell.latency - 1.0;
            if off.abs() > AGREE {
                wrong.push(format!("{name}: measured again it is off by {off:+.2}"));
            }
        }
    }
    let file = report()?.join(format!("cost-{release}.json"));
    let list: BTreeMap<_, _> = cells
        .iter()
        .map(|(name, c)| (name, json!({ "latency_ns": c.latency, "write_ns": c.all })))
        .collect();
    fs::write(
        &file,
        serde_json::to_string_pretty(
            &json!({ "kernel": release, "writes": writes, "cells": list }),
        )?,
    )?;
    sh::say(format!("written: {}", file.display()));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn report() -> Result<PathBuf> {
    let dir = sh::target().join("bench");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(list: &[(&str, f64)]) -> BTreeMap<String, Cell> {
        list.iter()
            .map(|&(name, ns)| {
                let cell = Cell {
                    latency: ns,
                    all: ns + 100.0,
                };
                (name.to_owned(), cell)
            })
            .collect()
    }

    #[test]
    fn lines_are_read() {
        let (name, cell) = cell("CELL tracked2 5871.5 7012.25").unwrap();
        assert_eq!(
            (name.as_str(), cell.latency, cell.all),
            ("tracked2", 5871.5, 7012.25)
        );
        assert!(super::cell("loaded 1 2").is_none());
        assert!(super::cell("CELL raw").is_none());
    }

    #[test]
    fn slow_states_and_cells_that_do_not_agree_are_told() {
        let good = [
            ("raw", 5000.0),
            ("loaded", 5010.0),
            ("other", 5020.0),
            ("tracked", 5100.0),
        ];
        assert!(judge("test", 1, &cells(&good)).is_ok());
        let mut slow = good;
        slow[3].1 = 5300.0;
        assert!(judge("test", 1, &cells(&slow)).is_err());
        let mut twice = good.to_vec();
        twice.push(("other2", 5100.0));
        assert!(judge("test", 1, &cells(&twice)).is_err());
        assert!(judge("test", 1, &cells(&good[..3])).is_err());
    }
}
