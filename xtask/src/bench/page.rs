// SPDX-License-Identifier: GPL-2.0-only
//! The report as Markdown.

use std::fmt::Write;

use super::cells::{Kind, State};
use super::kinds::KINDS;
use super::machine::Machine;
use super::plan::STATES;
use super::results::{Figure, Results};
use super::targets::TARGETS;
use super::works::WORKS;
use super::{gates, growth};

const HEAD: &str = "# Figures

Written by `make bench`; `results.json` has the same. Rates are ratios to the raw device in the same run. How it is measured is told below.

";

const COUNTED: &str = "
## Method

A stock Debian kernel in QEMU with one emulated processor whose clock advances by a nanosecond an instruction
(`-icount shift=0,sleep=off`, `-rtc clock=vm`, `-cpu max,-erms,-fsrm`; `nokaslr norandmaps mitigations=off init_on_alloc=0`). The
figures are path lengths in instructions, queueing, and the devices' own delay: they do not depend on what else the machine does. They
show no cache misses, no contention for locks and no effect of several processors. `make bench MACHINE=kvm` and `MACHINE=host` run the same by
the clock, in a guest under KVM and on the machine itself.
";

const CLOCKED: &str = "
## Method

By the clock, on what is named above: caches, locks and several processors are in these figures, and so is what else the machine does. A run of some
thousand I/Os takes some milliseconds here: mind the latencies rather than the rates.
";

const METHOD: &str = "
Origin and store have 768 MiB each and are written once before. Each cell has a state made for it and runs one job of fio with a fixed seed;
random writes spread over the whole device (sparse) or cover 64 MiB once (dense). Rates are I/Os by the time of the whole job, with what fio
itself takes; that is the same for all states. `N` and `P` are dm-snapshot's non-persistent and persistent storage, with its chunk.

Works on a file are done on an ext4 of the origin that is mounted when the snapshot is taken, so that ours leaves its free space out; `old` files are there
before. Where no fio runs (SQLite, backups), the rate is that of transactions or of runs, by the time of the whole program. An image is read while its origin
is written to 2000 times a second at random.

On two processors, which the emulator lets run in turn, nobody waits for a lock that the other one holds: these figures show what the code for
several processors costs, and not how it scales.

PostgreSQL runs 500 transactions of pgbench by one client, each waiting for its log to be on the disk, and a checkpoint; what it and SQLite write is mostly not in
the way of a snapshot. Backups and programs are in the cache before they are measured.

Two virtio disks take the machine's own time, which cannot be counted: there, requests are what repeats.
";

/// Writes it.
pub(crate) fn write(results: &Results) -> String {
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "Kernel {}. {}.\n", results.kernel, results.machine);
    targets(&mut page, results);
    gates::section(&mut page, results);
    growth::section(&mut page, results);
    let measured = |kind: &Kind| {
        let prefix = format!("{}_", kind.name);
        results.cells.iter().any(|f| f.name.starts_with(&prefix))
    };
    for kind in KINDS.into_iter().filter(|kind| measured(kind)) {
        all(&mut page, results, kind);
    }
    page += match results.on {
        Machine::Tcg => COUNTED,
        _ => CLOCKED,
    };
    page += METHOD;
    repeated(&mut page, results);
    page
}

fn cell(figure: Option<&Figure>) -> String {
    figure.map_or("–".into(), |figure| format!("{:.3}", figure.ratio))
}

fn targets(page: &mut String, results: &Results) {
    *page += "## Figures to reach\n\n| work | dm-linear | dm-snapshot N, 4 / 8 / 64 KiB | ours | store in memory | to reach | |\n\
              |---|---|---|---|---|---|---|\n";
    for target in &TARGETS {
        let get = |state: &str| results.get(target.kind, state, target.work);
        let ours = get(target.state);
        let dm = ["n4", "n8", "n64"]
            .map(|state| cell(get(state)))
            .join(" / ");
        let verdict = match ours {
            Some(figure) if figure.ratio >= target.ratio => "reached",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(
            page,
            "| {} | {} | {dm} | {} | {} | ≥ {} | {verdict} |",
            target.title,
            cell(get("linear")),
            cell(ours),
            cell(get("memory")),
            target.ratio,
        );
    }
}

/// Everything that was measured on one kind of device, by work.
fn all(page: &mut String, results: &Results, kind: &Kind) {
    let _ = writeln!(page, "\n## {}\n", kind.title);
    for work in &WORKS {
        let figures: Vec<_> = STATES
            .iter()
            .filter_map(|state| Some((state, results.get(kind, state.name, work.name)?)))
            .collect();
        if figures.is_empty() {
            continue;
        }
        let _ = writeln!(page, "### {}\n", work.title);
        if kind.real {
            requests(page, &figures);
        } else {
            rates(page, &figures);
        }
        page.push('\n');
    }
}

/// What each state costs in time and memory.
fn rates(page: &mut String, figures: &[(&State, &Figure)]) {
    *page += "| state | rate | to raw | mean µs | median | 99 % | read / written | stored / written | memory, KiB |\n\
                  |---|---|---|---|---|---|---|---|---|\n";
    for (state, figure) in figures {
        let part = |part: Option<f64>| part.map_or(String::new(), |p| format!("{p:.2}"));
        let us = |ns: Option<u64>| part(ns.map(|ns| ns as f64 / 1e3));
        let _ = writeln!(
            page,
            "| {} | {}/s | {:.3} | {:.2} | {} | {} | {} | {} | {} |",
            state.title,
            figure.rate,
            figure.ratio,
            figure.mean_ns / 1e3,
            us(figure.p50_ns),
            us(figure.p99_ns),
            part(figure.read_amplification),
            part(figure.store_amplification),
            figure
                .memory_bytes
                .map_or(String::new(), |b| (b >> 10).to_string()),
        );
    }
}

/// What each state asks of the disks. The time is told, too, and is the machine's.
fn requests(page: &mut String, figures: &[(&State, &Figure)]) {
    *page += "For each write:\n\n| state | read from the origin | written to it | read from the store | written to it | KiB stored | by the clock |\n\
              |---|---|---|---|---|---|---|\n";
    for (state, figure) in figures {
        let Some(requests) = &figure.requests else {
            continue;
        };
        let _ = writeln!(
            page,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.2} of raw |",
            state.title,
            requests.origin[0],
            requests.origin[1],
            requests.store[0],
            requests.store[1],
            requests.store_bytes / 1024.0,
            figure.ratio,
        );
    }
}

fn repeated(page: &mut String, results: &Results) {
    *page += "\nCells that were measured twice in this run, and how far the second was off:\n\n| cell | off | allowed |\n|---|---|---|\n";
    for r in &results.repeated {
        let _ = writeln!(
            page,
            "| {} | {:+.2} % | {} % |",
            r.name,
            r.off * 100.0,
            r.limit * 100.0
        );
    }
}
