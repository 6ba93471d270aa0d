// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: figures, in a guest with instruction-counted time.
//!
//! One emulated processor, and a clock that advances by a nanosecond an instruction: what is measured is the length of the path,
//! the same on a busy machine and on a quiet one. It says nothing of cache misses and of locks. Figures are ratios to the raw
//! device within one run; some cells are measured twice, and a run whose cells do not agree with themselves has no result.

mod bars;
mod boot;
mod cells;
mod fio;
mod growth;
mod page;
mod plan;
mod plots;
mod profile;
mod results;
mod targets;
mod works;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{modules, setup, sh, tools};
use cells::{Cell, Kind};
use results::{Measured, Results};

/// Measures.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// 6.1, 6.12 or 7.3
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Only the cells whose names contain this (or one of several, with commas), and the raw ones they are compared with; nothing is written
    #[arg(long)]
    cells: Option<String>,
    /// Only this kind of device, ram, null or thin: the other figures in docs/bench stay as they are
    #[arg(long, conflicts_with_all = ["cells", "check"])]
    kind: Option<String>,
    /// The short form: fails where a figure is more than 5 % worse than the one in docs/bench
    #[arg(long, conflicts_with = "cells")]
    check: bool,
    /// Count the instructions of so many I/Os of each of `--cells`, by function
    #[arg(long, value_name = "IOS", requires = "cells")]
    profile: Option<u64>,
    /// Only write the page and the plots anew, from docs/bench/results.json
    #[arg(long, conflicts_with_all = ["cells", "check"])]
    report: bool,
}

/// What it runs on.
const MACHINE: &str =
    "QEMU, emulated x86_64 (TCG), 1 processor, instruction-counted time: 1 ns = 1 instruction";

/// How much worse than the committed figure is a regression.
const REGRESSION: f64 = 0.05;

/// Where reports are kept.
fn folder() -> PathBuf {
    sh::root().join("docs/bench")
}

/// Measures, and writes the report or compares with it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.report {
        return report(&Results::read(&folder().join("results.json"))?);
    }
    let mut cells = match &arguments.cells {
        _ if arguments.check => plan::short(),
        Some(part) => chosen(part, arguments.profile.is_none())?,
        None => plan::all(),
    };
    if let Some(kind) = &arguments.kind {
        cells.retain(|cell| cell.kind.name == kind);
        ensure!(!cells.is_empty(), "there are no devices named {kind}");
    }
    let measured = measure(&arguments.kernel, cells, arguments.profile)?;
    if arguments.profile.is_some() {
        return Ok(());
    }
    let mut results = Results::new(&measured.0, MACHINE.into(), &measured.1)?;
    for figure in &results.cells {
        println!(
            "{:28} {:9.0}/s {:7.3} {:9.0} ns",
            figure.name, figure.rate, figure.ratio, figure.mean_ns
        );
    }
    for r in &results.repeated {
        println!("{:28} again: {:+.2} %", r.name, r.off * 100.0);
    }
    if arguments.check {
        return compare(&results, &Results::read(&folder().join("results.json"))?);
    }
    let wrong = results.disagreements();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    if arguments.cells.is_none() {
        fs::create_dir_all(folder())?;
        let file = folder().join("results.json");
        if let (Some(kind), true) = (&arguments.kind, file.exists()) {
            results.join(Results::read(&file)?, kind);
        }
        results.write(&file)?;
        report(&results)?;
        sh::say(format!("written: {}", folder().display()));
    }
    Ok(())
}

/// Page and plots.
fn report(results: &Results) -> Result<()> {
    fs::write(folder().join("README.md"), page::write(results))?;
    plots::write(results, &folder())
}

/// The cells whose names contain one of `parts`, which have commas between, and, to compare, their raw ones.
fn chosen(parts: &str, compare: bool) -> Result<Vec<Cell>> {
    let all = plan::all();
    let named = |name: &str| parts.split(',').any(|part| name.contains(part));
    let wanted: Vec<&Cell> = all.iter().filter(|c| named(&c.name())).collect();
    ensure!(!wanted.is_empty(), "no cell is named like {parts}");
    if !compare {
        return Ok(wanted.into_iter().filter(|c| !c.again).cloned().collect());
    }
    let needed = |cell: &Cell| {
        wanted.iter().any(|w| {
            w.name() == cell.name()
                || w.base() == cell.name()
                || cells::name(w.kind, "raw", w.work.name) == cell.name()
        })
    };
    Ok(all.iter().filter(|c| needed(c)).cloned().collect())
}

/// The kernel's release, and what its cells took.
fn measure(
    series: &str,
    cells: Vec<Cell>,
    profile: Option<u64>,
) -> Result<(String, Vec<Measured>)> {
    let setup = setup::ensure(false)?;
    let kernel = tools::find(&setup.kernels, series)?;
    modules::build(&setup, std::slice::from_ref(kernel))?;
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for cell in &cells {
        if !kinds.contains(&cell.kind) {
            kinds.push(cell.kind);
        }
    }
    let mut measured = Vec::new();
    for kind in kinds {
        let cells: Vec<Cell> = cells.iter().filter(|c| c.kind == kind).cloned().collect();
        measured.extend(boot::run(&setup, kernel, kind, &cells, profile)?);
    }
    Ok((kernel.release.clone(), measured))
}

/// Fails where a figure is worse than the committed one.
fn compare(now: &Results, then: &Results) -> Result<()> {
    let mut wrong = Vec::new();
    for figure in &now.cells {
        let Some(old) = then.cells.iter().find(|old| old.name == figure.name) else {
            wrong.push(format!("{}: not in docs/bench", figure.name));
            continue;
        };
        let change = figure.ratio / old.ratio - 1.0;
        println!(
            "{:28} {:.3} of raw, {:.3} in docs/bench: {:+.1} %",
            figure.name,
            figure.ratio,
            old.ratio,
            change * 100.0
        );
        if change < -REGRESSION {
            wrong.push(format!("{}: {:.1} % worse", figure.name, -change * 100.0));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
