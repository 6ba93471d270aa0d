// SPDX-License-Identifier: GPL-2.0-only
//! The report as Markdown.

use std::fmt::Write;

use super::cells::Kind;
use super::growth;
use super::plan::{KINDS, STATES};
use super::results::{Figure, Results};
use super::targets::TARGETS;
use super::works::WORKS;

const HEAD: &str = "# Figures

Written by `make bench`; `results.json` has the same. Rates are ratios to the raw device in the same run. How it is measured is told below.

";

const METHOD: &str = "
## Method

A stock Debian kernel in QEMU with one emulated processor whose clock advances by a nanosecond an instruction
(`-icount shift=0,sleep=off`, `-rtc clock=vm`, `-cpu max,-erms,-fsrm`; `nokaslr norandmaps mitigations=off init_on_alloc=0`). The
figures are path lengths in instructions, queueing, and the devices' own delay: they do not depend on what else the machine does. They
show no cache misses, no contention for locks and no effect of several processors.

Origin and store have 768 MiB each and are written once before. Each cell has a state made for it and runs one job of fio with a fixed seed;
random writes spread over the whole device (sparse) or cover 64 MiB once (dense). Rates are I/Os by the time of the whole job, with what fio
itself takes; that is the same for all states. `N` and `P` are dm-snapshot's non-persistent and persistent storage, with its chunk.

Works on a file are done on an ext4 of the origin that is mounted when the snapshot is taken, so that ours leaves its free space out; `old` files are there
before. Where no fio runs (SQLite, backups), the rate is that of transactions or of runs, by the time of the whole program. An image is read while its origin
is written to 2000 times a second at random.

On two processors, which the emulator lets run in turn, nobody waits for a lock that the other one holds: these figures show what the code for
several processors costs, and not how it scales. There is no virtio disk: its time is the host's, and figures do not repeat. PostgreSQL is not among the programs,
as the guest would be larger by half for it; SQLite does the same to the device.
";

/// Writes it.
pub(crate) fn write(results: &Results) -> String {
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "Kernel {}. {}.\n", results.kernel, results.machine);
    targets(&mut page, results);
    gates(&mut page, results);
    growth::section(&mut page, results);
    for kind in KINDS {
        all(&mut page, results, kind);
    }
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

fn gates(page: &mut String, results: &Results) {
    *page += "\n## Gate of the take\n\nHow long writes are held at a take, in µs. To reach: no more than 1000 µs longer than the slowest write in flight. With \
              one processor the load stands still while the command that takes runs, so that at most takes nothing is in flight: these figures say little of a \
              load on other processors.\n\n\
              | load | takes | median | longest | the load's median write | its slowest |\n|---|---|---|---|---|---|\n";
    for gate in &results.gates {
        let mut times = gate.gates_ns.clone();
        times.sort_unstable();
        let us = |ns: Option<&u64>| ns.map_or(0, |ns| ns / 1000);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            gate.name,
            times.len(),
            us(times.get(times.len() / 2)),
            us(times.last()),
            gate.median_ns / 1000,
            gate.slowest_ns / 1000
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
        page.push('\n');
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
