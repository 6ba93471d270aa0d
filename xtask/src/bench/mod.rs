// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask bench`: figures, in a guest with instruction-counted time; or, by the clock, under KVM or on the machine itself.
//!
//! One emulated processor, and a clock that advances by a nanosecond an instruction: what is measured is the length of the path,
//! the same on a busy machine and on a quiet one. It says nothing of cache misses and of locks. Figures are ratios to the raw
//! device within one run; some cells are measured twice, and a run whose cells do not agree with themselves has no result.

mod bars;
mod boot;
mod cells;
mod database;
mod exchange;
mod fio;
mod gates;
mod growth;
mod here;
mod kinds;
mod machine;
mod measured;
mod page;
mod places;
mod plan;
mod plots;
mod profile;
mod results;
mod targets;
mod works;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::accel::Accel;
use crate::{modules, programs, setup, sh, tools};
use boot::Boot;
use cells::{Cell, Kind};
use here::Here;
use machine::Machine;
use measured::Measured;
use results::Results;

/// Measures.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// 6.1, 6.12 or 7.3
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Only the cells with this name, or whose names contain it (or one of several, with commas), and the raw ones they are compared with; nothing is written without `--keep`
    #[arg(long)]
    cells: Option<String>,
    /// Keep what `--cells` measures: the other figures in docs/bench stay as they are
    #[arg(long, requires = "cells", conflicts_with = "profile")]
    keep: bool,
    /// What it runs on: figures by the clock (kvm, host) have a report of their own, in a folder below docs/bench
    #[arg(long, default_value_t)]
    machine: Machine,
    /// Only this kind of device, such as ram, null or thin: the other figures in docs/bench stay as they are
    #[arg(long, conflicts_with_all = ["cells", "check"])]
    kind: Option<String>,
    /// The short form: fails where a figure is more than 5 % worse than the one in docs/bench
    #[arg(long, conflicts_with_all = ["cells", "machine"])]
    check: bool,
    /// Count the instructions of so many I/Os of each of `--cells`, by function
    #[arg(
        long,
        value_name = "IOS",
        requires = "cells",
        conflicts_with = "machine"
    )]
    profile: Option<u64>,
    /// Only write the page and the plots anew, from docs/bench/results.json
    #[arg(long, conflicts_with_all = ["cells", "check"])]
    report: bool,
    /// Only write the dearest places into docs/performance.md, from the profiles in target/bench
    #[arg(long, conflicts_with_all = ["cells", "check", "report"])]
    places: bool,
}

/// How much worse than the committed figure is a regression.
const REGRESSION: f64 = 0.05;

/// What is worse than this is wrong whatever was committed: cells, and the least rate, as a part of the raw device's. Nobody is to pay more
/// than 1 % for a device that is not his, and 3 % for tracking.
const LEAST: [(&str, f64); 2] = [("ram_other_random", 0.99), ("ram_tracked_random", 0.97)];

/// Measures, and writes the report or compares with it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.places {
        return places::write();
    }
    let machine = arguments.machine;
    let file = machine.folder().join("results.json");
    if arguments.report {
        return report(&Results::read(&file)?);
    }
    let mut cells = match &arguments.cells {
        _ if arguments.check => plan::short(),
        Some(part) => chosen(part, arguments.profile.is_none())?,
        None => plan::all(),
    };
    if let Some(kind) = &arguments.kind {
        cells.retain(|cell| cell.kind.name == kind);
    }
    if machine == Machine::Host {
        // The emulator's disks, and a program unpacked for the guest's libraries.
        cells.retain(|cell| !cell.kind.real && !cell.needs_database());
    }
    ensure!(!cells.is_empty(), "there are no such devices on {machine}");
    let (kernel, measured) = measure(arguments, cells)?;
    if arguments.profile.is_some() {
        return Ok(());
    }
    let mut results = Results::new(&kernel, machine, &measured)?;
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
        return compare(&results, &Results::read(&file)?);
    }
    let wrong = results.disagreements();
    if !wrong.is_empty() {
        let kept = Path::new("target/bench/disagree.json");
        results.write(kept)?;
        bail!(
            "{}\n(the figures are in {})",
            wrong.join("\n"),
            kept.display()
        );
    }
    if arguments.cells.is_none() || arguments.keep {
        fs::create_dir_all(machine.folder())?;
        if (arguments.kind.is_some() || arguments.keep) && file.exists() {
            results.join(Results::read(&file)?, arguments.kind.as_deref());
        }
        results.write(&file)?;
        report(&results)?;
        sh::say(format!("written: {}", machine.folder().display()));
    }
    Ok(())
}

/// Page and plots.
fn report(results: &Results) -> Result<()> {
    let folder = results.on.folder();
    fs::write(folder.join("README.md"), page::write(results))?;
    plots::write(results, &folder)
}

/// The cells whose names contain one of `parts`, which have commas between, and, to compare, their raw ones.
fn chosen(parts: &str, compare: bool) -> Result<Vec<Cell>> {
    let all = if compare {
        plan::all()
    } else {
        plan::profiled()
    };
    // A whole name is that cell alone, though others begin like it.
    let whole = |part: &str| all.iter().any(|cell| cell.name() == part);
    let named = |name: &str| {
        let fits = |part: &str| name == part || !whole(part) && name.contains(part);
        parts.split(',').any(fits)
    };
    let wanted: Vec<&Cell> = all.iter().filter(|c| named(&c.name())).collect();
    ensure!(!wanted.is_empty(), "no cell is named like {parts}");
    if !compare {
        return Ok(wanted.into_iter().cloned().collect());
    }
    let needed = |cell: &Cell| {
        wanted
            .iter()
            .any(|w| w.name() == cell.name() || w.base() == cell.name() || w.raw() == cell.name())
    };
    Ok(all.iter().filter(|c| needed(c)).cloned().collect())
}

/// The kernel's release, and what its cells took.
fn measure(arguments: &Arguments, cells: Vec<Cell>) -> Result<(String, Vec<Measured>)> {
    if arguments.machine == Machine::Host {
        here::possible()?;
    }
    let setup = setup::ensure(false)?;
    let programs = programs::build()?;
    let kinds = by_kind(cells);
    if arguments.machine == Machine::Host {
        let here = Here::new(&setup, &programs)?;
        let mut measured = Vec::new();
        for (kind, cells) in &kinds {
            measured.extend(here.run(kind, cells)?);
        }
        return Ok((here.release().to_owned(), measured));
    }
    let kernel = tools::find(&setup.kernels, &arguments.kernel)?;
    modules::build(&setup, std::slice::from_ref(kernel))?;
    let boot = Boot {
        setup: &setup,
        kernel,
        machine: arguments.machine,
        programs: &programs,
        profile: arguments.profile,
    };
    // Time by the clock has the machine for itself.
    let (counted, clocked) = kinds
        .iter()
        .partition::<Vec<_>, _>(|(kind, _)| arguments.machine.accel(kind) == Accel::Counted);
    let mut measured = side_by_side(&counted, |(kind, cells)| boot::run(&boot, kind, cells))?;
    for (kind, cells) in clocked {
        measured.extend(boot::run(&boot, kind, cells)?);
    }
    Ok((kernel.release.clone(), measured))
}

/// Guests at once whose time is counted: what else the machine does is nothing to them.
const GUESTS: usize = 2;

/// Does `run` for all of them, [`GUESTS`] at a time, and gives what it gave, in their order; the first failure of one ends it.
fn side_by_side<T: Sync, R: Send>(
    list: &[T],
    run: impl Fn(&T) -> Result<Vec<R>> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..GUESTS {
            scope.spawn(|| {
                while let Some((number, one)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    list.get(number).map(|one| (number, one))
                } {
                    let result = run(one);
                    if result.is_err() {
                        next.store(list.len(), Ordering::Relaxed);
                    }
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(number, result);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lists: Vec<Vec<R>> = done.into_values().collect::<Result<_>>()?;
    Ok(lists.into_iter().flatten().collect())
}

/// The cells of each kind, in their order.
fn by_kind(cells: Vec<Cell>) -> Vec<(&'static Kind, Vec<Cell>)> {
    let mut kinds: Vec<(&'static Kind, Vec<Cell>)> = Vec::new();
    for cell in cells {
        match kinds.iter_mut().find(|(kind, _)| *kind == cell.kind) {
            Some((_, list)) => list.push(cell),
            None => kinds.push((cell.kind, vec![cell])),
        }
    }
    kinds
}

/// Fails where a figure is worse than the committed one.
fn compare(now: &Results, then: &Results) -> Result<()> {
    let mut wrong = now.below(&LEAST);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_side_by_side_keeps_its_order() {
        let list: Vec<u32> = (0..20).collect();
        let done = side_by_side(&list, |n| Ok(vec![*n, *n])).unwrap();
        assert_eq!(done.len(), 40);
        assert!(done.is_sorted());
        assert!(
            side_by_side(&list, |n| {
                ensure!(*n < 7);
                Ok(vec![*n])
            })
            .is_err()
        );
    }
}
