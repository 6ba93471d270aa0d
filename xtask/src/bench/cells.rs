// SPDX-License-Identifier: GPL-2.0-only
//! What a figure is of: devices, a state above them, a work. `plan.rs` and `works.rs` have all there are.

use super::plan::STATES;
use super::works::WORKS;

/// What origin and store are made of. One boot of a guest each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What `tests/bench/lib.sh` knows it by.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// Processors of the guest; more than one take turns.
    pub(crate) cpus: u32,
    /// Origin and store are virtio disks, whose time is the machine's: it cannot be counted.
    pub(crate) real: bool,
}

/// What lies above the origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    /// In names of cells.
    pub(crate) name: &'static str,
    /// `up_…` of `tests/bench/lib.sh`, with its arguments.
    pub(crate) words: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// The same I/O again costs the same, so that more of it can be measured.
    pub(crate) steady: bool,
}

/// A state by its name.
pub(crate) fn state_named(name: &str) -> Option<&'static State> {
    STATES.iter().find(|state| state.name == name)
}

/// What a work is done on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Origin,
    Image,
    /// The image, while the origin is written to at random, 2000 times a second.
    Written,
    /// A file of this name on an ext4 on the origin: `old` is there before the state above the origin is made, and has 256 MiB.
    File(&'static str),
    /// No work of fio's: `program_NAME` of `tests/bench/lib.sh`, with `Work::fio` for its name. The same ext4 is there.
    Program,
    /// On the origin, without an end, while snapshots of it are taken one after the other: their gates are the figure.
    Takes,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// In names of cells.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// What is worked on.
    pub(crate) on: On,
    /// Done before and not measured: arguments of fio.
    pub(crate) before: Option<&'static str>,
    /// Arguments of fio.
    pub(crate) fio: &'static str,
    /// How much, as arguments of fio: where a snapshot's first overwrites are measured, and where more can be had.
    pub(crate) once: &'static str,
    /// See `once`.
    pub(crate) long: &'static str,
    /// How far a cell that is measured again may be off, as a part.
    pub(crate) agree: f64,
    /// The work whose raw cell this is compared with, where that is another one.
    pub(crate) like: &'static str,
}

/// A work by its name.
pub(crate) fn work_named(name: &str) -> Option<&'static Work> {
    WORKS.iter().find(|work| work.name == name)
}

/// One figure to be had.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) kind: &'static Kind,
    pub(crate) state: &'static State,
    pub(crate) work: &'static Work,
    /// Measured before: this is to agree with it.
    pub(crate) again: bool,
}

impl Cell {
    /// Its name without `again`.
    pub(crate) fn base(&self) -> String {
        name(self.kind, self.state.name, self.work.name)
    }

    /// The name of the raw cell that it is compared with.
    pub(crate) fn raw(&self) -> String {
        let work = match self.work.like {
            "" => self.work.name,
            other => other,
        };
        name(self.kind, "raw", work)
    }

    /// PostgreSQL is needed for it.
    pub(crate) fn needs_database(&self) -> bool {
        self.work.fio == "pgbench"
    }

    /// What is unique to it.
    pub(crate) fn name(&self) -> String {
        let again = if self.again { "_again" } else { "" };
        self.base() + again
    }

    /// Its line for `tests/bench/run.sh`.
    pub(crate) fn line(&self) -> String {
        let target = match self.work.on {
            On::Origin => "origin",
            On::Image => "image",
            On::Written => "written",
            On::File(name) => name,
            On::Program => "program",
            On::Takes => "takes",
        };
        let amount = if self.state.steady {
            self.work.long
        } else {
            self.work.once
        };
        format!(
            "{}\t{}\t{target}\t{}\t{} {amount}",
            self.name(),
            self.state.words,
            self.work.before.unwrap_or("-"),
            self.work.fio,
        )
    }
}

/// A cell's name.
pub(crate) fn name(kind: &Kind, state: &str, work: &str) -> String {
    format!("{}_{state}_{work}", kind.name)
}
