// SPDX-License-Identifier: GPL-2.0-only
//! The plots of the report.

use std::path::Path;

use anyhow::Result;

use super::bars::Bars;
use super::cells::{Kind, state_named};
use super::kinds::{NULL, RAM};
use super::results::{Figure, Results};
use super::targets::TARGETS;

/// Groups of a plot: name, devices, work.
type Groups = [(&'static str, &'static Kind, &'static str)];

const OVERWRITES: [(&str, &Kind, &str); 6] = [
    ("sparse 4 KiB", &RAM, "sparse"),
    ("the same, QD 32", &RAM, "sparse32"),
    ("dense 4 KiB, QD 32", &RAM, "dense32"),
    ("seq. 1 MiB", &RAM, "seq"),
    ("100 µs, sparse", &NULL, "sparse"),
    ("100 µs, QD 32", &NULL, "sparse32"),
];

const READS: [(&str, &Kind, &str); 4] = [
    ("random 4 KiB write", &RAM, "random"),
    ("second overwrite", &RAM, "second"),
    ("image, nothing saved", &RAM, "image-clean"),
    ("image, all saved", &RAM, "image-saved"),
];

const SNAPSHOTS: [&str; 5] = ["n4", "n8", "n64", "device", "memory"];
const ALL: [&str; 7] = ["linear", "n4", "n8", "n64", "tracked", "device", "memory"];

/// Writes all of them into `folder`.
pub(crate) fn write(results: &Results, folder: &Path) -> Result<()> {
    let plot = |name: &str,
                title: &str,
                height: &str,
                groups: &Groups,
                states: &[&str],
                get: &dyn Fn(&Figure) -> Option<f64>| {
        let value = |state: &str, (_, kind, work): &(&str, &Kind, &str)| {
            results.get(kind, state, work).and_then(get)
        };
        let marks = groups.iter().map(|(_, kind, work)| {
            let target = TARGETS
                .iter()
                .find(|t| t.kind == *kind && t.work == *work && states.contains(&t.state))?;
            (height == RATE).then_some(target.ratio)
        });
        Bars {
            title,
            height,
            groups: groups.iter().map(|group| group.0).collect(),
            series: states
                .iter()
                .filter_map(|state| {
                    let values = groups.iter().map(|group| value(state, group)).collect();
                    Some((state_named(state)?.title, values))
                })
                .collect(),
            marks: marks.collect(),
        }
        .write(&folder.join(name))
    };
    plot(
        "overwrite.svg",
        "First overwrite under a snapshot (line: to reach)",
        RATE,
        &OVERWRITES,
        &SNAPSHOTS,
        &|f| Some(f.ratio),
    )?;
    plot(
        "steady.svg",
        "Tracking, second overwrite, image reads (line: to reach)",
        RATE,
        &READS,
        &ALL,
        &|f| Some(f.ratio),
    )?;
    plot(
        "latency.svg",
        "First overwrite: latency, median",
        "µs",
        &OVERWRITES,
        &SNAPSHOTS,
        &|f| f.p50_ns.map(|ns| ns as f64 / 1e3),
    )?;
    plot(
        "latency-99.svg",
        "First overwrite: latency, 99 %",
        "µs",
        &OVERWRITES,
        &SNAPSHOTS,
        &|f| f.p99_ns.map(|ns| ns as f64 / 1e3),
    )?;
    plot(
        "amplification.svg",
        "First overwrite: stored for each byte written",
        "bytes",
        &OVERWRITES,
        &SNAPSHOTS,
        &|f| f.store_amplification,
    )?;
    plot(
        "memory.svg",
        "Memory of a snapshot after it",
        "MiB",
        &OVERWRITES,
        &["device"],
        &|f| f.memory_bytes.map(|b| b as f64 / 1048576.0),
    )
}

const RATE: &str = "rate, as a part of the raw device's";
