// SPDX-License-Identifier: GPL-2.0-only
//! What is measured, as data: devices, states, and which works are run with them. The works are in `works.rs`.

use super::cells::{Cell, Kind, State, state_named, work_named};
use super::kinds::{NULL, NULLS, RAM, SCSI, THIN, TWO, VIRTIO};

const fn state(name: &'static str, words: &'static str, title: &'static str) -> State {
    State {
        name,
        words,
        title,
        steady: false,
    }
}

const fn steady(name: &'static str, words: &'static str, title: &'static str) -> State {
    State {
        name,
        words,
        title,
        steady: true,
    }
}

/// In the order in which they are run: the modules are loaded once.
pub(crate) const STATES: [State; 26] = [
    steady("raw", "raw", "raw device"),
    steady("linear", "linear", "dm-linear"),
    state("n4", "dm N 8", "dm-snapshot N, 4 KiB"),
    state("n8", "dm N 16", "dm-snapshot N, 8 KiB"),
    state("n64", "dm N 128", "dm-snapshot N, 64 KiB"),
    state("p4", "dm P 8", "dm-snapshot P, 4 KiB"),
    state("p8", "dm P 16", "dm-snapshot P, 8 KiB"),
    state("p64", "dm P 128", "dm-snapshot P, 64 KiB"),
    steady("loaded", "loaded", "modules loaded"),
    steady("other", "other", "another device tracked"),
    steady("tracked", "tracked", "tracked"),
    state("device", "snapshot device", "snapshot, store on a device"),
    state("memory", "snapshot memory", "snapshot, store in memory"),
    state("file", "file", "snapshot, store in a file"),
    state(
        "own",
        "snapshot auto",
        "snapshot, store in a file on the same file system",
    ),
    state("two", "snapshot device 2", "2 snapshots"),
    state("eight", "snapshot device 8", "8 snapshots"),
    state("1g", "size 1G snapshot device", "snapshot of 1 GiB"),
    state("32g", "size 32G snapshot device", "snapshot of 32 GiB"),
    state("1t", "size 1T snapshot device", "snapshot of 1 TiB"),
    state("16t", "size 16T snapshot device", "snapshot of 16 TiB"),
    steady("devices1", "size 64G many 1", "1 device tracked"),
    steady("devices16", "size 64G many 16", "16 devices tracked"),
    steady("devices256", "size 64G many 256", "256 devices tracked"),
    state("zero", "size 64G snapshot device", "snapshot of 64 GiB"),
    state(
        "zero128",
        "size 128G snapshot device",
        "snapshot of 128 GiB",
    ),
];

/// Which works are run in which states, on which devices.
struct Block {
    kind: &'static Kind,
    works: &'static [&'static str],
    states: &'static [&'static str],
}

const OVERWRITTEN: [&str; 7] = ["raw", "linear", "n4", "n8", "n64", "device", "memory"];
const PERSISTENT: [&str; 3] = ["p4", "p8", "p64"];

const PLAN: [Block; 25] = [
    block(
        &RAM,
        &["random"],
        &["raw", "linear", "loaded", "other", "tracked"],
    ),
    block(
        &RAM,
        &[
            "sparse",
            "sparse32",
            "sixteen",
            "sixteen32",
            "dense32",
            "mix32",
            "seq",
            "second",
            "image-clean",
            "image-saved",
        ],
        &OVERWRITTEN,
    ),
    block(&RAM, &["sparse", "seq"], &PERSISTENT),
    block(&RAM, &["sparse", "seq"], &["file"]),
    block(&RAM, &["sparse"], &["two", "eight"]),
    block(&RAM, &["mix32"], &["tracked"]),
    block(
        &RAM,
        &["read", "read-seq"],
        &["raw", "linear", "n4", "tracked", "device"],
    ),
    block(
        &RAM,
        &["written", "written-random"],
        &["raw", "n4", "n64", "device", "memory"],
    ),
    block(
        &RAM,
        &["file", "fsync", "sqlite", "new"],
        &["raw", "linear", "n4", "n64", "tracked", "device", "memory"],
    ),
    block(
        &RAM,
        &["pgbench"],
        &["raw", "n4", "n64", "tracked", "device", "memory"],
    ),
    block(&RAM, &["file", "fsync"], &["own"]),
    block(&RAM, &["backup", "backup-again"], &["raw", "tracked"]),
    block(&TWO, &["random"], &["raw", "linear", "other", "tracked"]),
    block(
        &TWO,
        &["sparse", "sparse32"],
        &["raw", "linear", "n4", "device"],
    ),
    block(
        &SCSI,
        &["sparse", "sparse32"],
        &["raw", "linear", "n4", "n64", "tracked", "device", "memory"],
    ),
    block(&NULL, &["sparse", "sparse32"], &OVERWRITTEN),
    block(&NULL, &["sparse"], &PERSISTENT),
    block(&NULL, &["takes"], &["tracked"]),
    block(&NULLS, &["takes"], &["tracked"]),
    block(
        &VIRTIO,
        &["sparse", "sparse32", "seq"],
        &["raw", "n4", "n64", "device", "memory"],
    ),
    block(
        &THIN,
        &["wide"],
        &[
            "raw",
            "1g",
            "32g",
            "1t",
            "16t",
            "devices1",
            "devices16",
            "devices256",
        ],
    ),
    block(&THIN, &["look"], &["raw", "1g", "32g", "1t", "16t"]),
    block(&THIN, &["saved3"], &["raw"]),
    block(
        &THIN,
        &[
            "saved3", "saved4", "saved5", "saved6", "look3", "look5", "look6",
        ],
        &["zero"],
    ),
    block(&THIN, &["saved7", "look7"], &["zero128"]),
];

const fn block(
    kind: &'static Kind,
    works: &'static [&'static str],
    states: &'static [&'static str],
) -> Block {
    Block {
        kind,
        works,
        states,
    }
}

/// Cells of which there are only profiles, no figures: a program that has nothing to be compared with.
const PROFILED: [(&Kind, &str, &str); 1] = [(&RAM, "tracked", "take")];

/// All cells, and those of which there are only profiles.
pub(crate) fn profiled() -> Vec<Cell> {
    let more = PROFILED
        .iter()
        .filter_map(|(kind, state, work)| cell(kind, state, work, false));
    all()
        .into_iter()
        .filter(|cell| !cell.again)
        .chain(more)
        .collect()
}

/// Cells that are measured twice: state and work. The bench fails where the two do not agree.
const TWICE: [(&Kind, &str, &str); 18] = [
    (&RAM, "raw", "random"),
    (&RAM, "tracked", "random"),
    (&RAM, "n8", "sparse"),
    (&RAM, "device", "sparse"),
    (&RAM, "device", "sparse32"),
    (&RAM, "device", "image-saved"),
    (&RAM, "raw", "sqlite"),
    (&RAM, "device", "sqlite"),
    (&RAM, "raw", "pgbench"),
    (&RAM, "device", "pgbench"),
    (&RAM, "raw", "backup"),
    (&RAM, "tracked", "backup"),
    (&RAM, "raw", "backup-again"),
    (&RAM, "tracked", "backup-again"),
    (&NULL, "raw", "sparse32"),
    (&NULL, "device", "sparse32"),
    (&VIRTIO, "n4", "sparse32"),
    (&VIRTIO, "device", "sparse32"),
];

/// The cells of `make bench-check`: those of ours that are promised something, and what they are compared with.
const SHORT: [(&Kind, &str, &str); 17] = [
    (&RAM, "raw", "random"),
    (&RAM, "other", "random"),
    (&RAM, "tracked", "random"),
    (&RAM, "raw", "sparse"),
    (&RAM, "device", "sparse"),
    (&RAM, "raw", "sparse32"),
    (&RAM, "device", "sparse32"),
    (&RAM, "raw", "dense32"),
    (&RAM, "device", "dense32"),
    (&RAM, "raw", "seq"),
    (&RAM, "device", "seq"),
    (&RAM, "raw", "second"),
    (&RAM, "device", "second"),
    (&RAM, "raw", "image-clean"),
    (&RAM, "device", "image-clean"),
    (&RAM, "raw", "image-saved"),
    (&RAM, "device", "image-saved"),
];

/// All cells, those of a kind together, in the order in which they are run.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for block in &PLAN {
        for work in block.works {
            for state in block.states {
                cells.extend(cell(block.kind, state, work, false));
            }
        }
    }
    // The module is loaded once: the sort keeps the order within a state.
    cells.sort_by_key(|cell| STATES.iter().position(|s| s.name == cell.state.name));
    cells.extend(
        TWICE
            .iter()
            .filter_map(|(kind, state, work)| cell(kind, state, work, true)),
    );
    cells
}

/// The short form.
pub(crate) fn short() -> Vec<Cell> {
    SHORT
        .iter()
        .filter_map(|(kind, state, work)| cell(kind, state, work, false))
        .collect()
}

fn cell(kind: &'static Kind, state: &str, work: &str, again: bool) -> Option<Cell> {
    Some(Cell {
        kind,
        state: state_named(state)?,
        work: work_named(work)?,
        again,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::cells::On;
    use super::*;

    #[test]
    fn every_name_of_the_plan_is_known_and_no_cell_is_there_twice() {
        let blocks: usize = PLAN.iter().map(|b| b.works.len() * b.states.len()).sum();
        let cells = all();
        assert_eq!(cells.len(), blocks + TWICE.len());
        let names: BTreeSet<_> = cells.iter().map(Cell::name).collect();
        assert_eq!(names.len(), cells.len());
        let profiled: BTreeSet<_> = profiled().iter().map(Cell::name).collect();
        assert_eq!(profiled.len(), blocks + PROFILED.len());
        assert_eq!(short().len(), SHORT.len());
        for cell in cells.iter().filter(|cell| cell.again).chain(&short()) {
            assert!(names.contains(&cell.base()), "{}", cell.name());
        }
    }

    #[test]
    fn every_cell_has_its_raw_one() {
        for cell in all() {
            let raw = cell.raw();
            let there = all().iter().any(|other| other.name() == raw);
            assert!(there || cell.work.on == On::Takes, "{raw}");
        }
    }
}
