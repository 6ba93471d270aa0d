// SPDX-License-Identifier: GPL-2.0-only
//! The figures of a run: `docs/bench/results.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cells::{self, Kind, On};
use super::machine::Machine;
use super::measured::Measured;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Results {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// What it ran on.
    #[serde(default)]
    pub(crate) on: Machine,
    /// The same in words, with the processor.
    pub(crate) machine: String,
    /// The figures, in the order in which they were had.
    pub(crate) cells: Vec<Figure>,
    /// The takes under a load.
    pub(crate) gates: Vec<Gate>,
    /// Cells that were measured twice.
    pub(crate) repeated: Vec<Repeated>,
}

/// One cell's.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// I/Os a second of the guest's time.
    pub(crate) rate: f64,
    /// To the raw device's at the same work.
    pub(crate) ratio: f64,
    pub(crate) mean_ns: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ns: Option<u64>,
    /// Bytes of the origin read for each byte that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_amplification: Option<f64>,
    /// Bytes stored for each byte that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_amplification: Option<f64>,
    /// Memory held by the snapshot, without a storage in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    /// Where the devices are disks of the emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<Requests>,
}

/// What two disks were asked for, for each I/O.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub(crate) struct Requests {
    /// Reads and writes.
    pub(crate) origin: [f64; 2],
    pub(crate) store: [f64; 2],
    /// Bytes written to it.
    pub(crate) store_bytes: f64,
}

/// The gates of takes, one after the other, under a load.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Gate {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) takes: Vec<Take>,
    /// The load's median write.
    pub(crate) median_ns: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Take {
    /// From the gate's closing to its opening.
    pub(crate) gate_ns: u64,
    /// Writes that ended meanwhile: those that were in flight.
    pub(crate) in_flight: u64,
    /// From the end of the last of them to the gate's opening; where there is none, all of it.
    pub(crate) beyond_ns: u64,
}

/// A cell that was measured twice.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Repeated {
    pub(crate) name: String,
    /// How much more the second rate was than the first, as a part of it.
    pub(crate) off: f64,
    /// How far it may be off.
    pub(crate) limit: f64,
}

impl Results {
    /// The figures from what was measured.
    pub(crate) fn new(kernel: &str, machine: Machine, measured: &[Measured]) -> Result<Self> {
        let find = |wanted: &str| {
            measured
                .iter()
                .find(|m| m.cell.name() == wanted)
                .with_context(|| format!("no cell {wanted}"))
        };
        let mut results = Self {
            kernel: kernel.into(),
            on: machine,
            machine: machine.words(),
            cells: Vec::new(),
            gates: Vec::new(),
            repeated: Vec::new(),
        };
        for one in measured {
            let Measured { cell, taken, said } = one;
            if cell.again {
                results.repeated.push(Repeated {
                    name: cell.base(),
                    off: digits(one.repeatable() / find(&cell.base())?.repeatable() - 1.0, 5),
                    limit: machine.agree(cell.work.agree),
                });
                continue;
            }
            if let (On::Takes, Some(spread)) = (cell.work.on, taken.spread) {
                results.gates.push(Gate {
                    name: cell.name(),
                    takes: said.gates.clone(),
                    median_ns: spread.p50_ns,
                });
                continue;
            }
            let raw = find(&cell.raw())?.taken.rate;
            // What was saved before the measured work is in the sums, too: they say something of a first overwrite alone.
            let first =
                matches!(cell.work.on, On::Origin | On::File(_)) && cell.work.before.is_none();
            let part = |bytes: Option<u64>| {
                bytes
                    .filter(|_| first)
                    .map(|b| digits(b as f64 / taken.bytes as f64, 3))
            };
            results.cells.push(Figure {
                name: cell.name(),
                rate: digits(taken.rate, if taken.rate < 10.0 { 3 } else { 0 }),
                ratio: digits(taken.rate / raw, 4),
                mean_ns: digits(taken.mean_ns, 0),
                p50_ns: taken.spread.map(|s| s.p50_ns),
                p99_ns: taken.spread.map(|s| s.p99_ns),
                read_amplification: part(said.copy_read()),
                store_amplification: part(said.stored()),
                memory_bytes: said.memory_bytes,
                requests: one.requests(),
            });
        }
        Ok(results)
    }

    /// Takes the figures that it has not measured itself from another run on the same kernel; those of `kind` are not wanted any more.
    pub(crate) fn join(&mut self, other: Self, kind: Option<&str>) {
        let names = |list: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
            list.cloned().collect()
        };
        let measured = names(
            &mut (self.cells.iter().map(|f| &f.name)).chain(self.gates.iter().map(|g| &g.name)),
        );
        let again = names(&mut self.repeated.iter().map(|r| &r.name));
        let stays = |name: &str, own: &BTreeSet<String>| match kind {
            Some(kind) => !name.starts_with(&format!("{kind}_")),
            None => !own.contains(name),
        };
        if other.kernel == self.kernel {
            let cells = other.cells.into_iter();
            self.cells
                .extend(cells.filter(|f| stays(&f.name, &measured)));
            let gates = other.gates.into_iter();
            self.gates
                .extend(gates.filter(|g| stays(&g.name, &measured)));
            let repeated = other.repeated.into_iter();
            self.repeated
                .extend(repeated.filter(|r| stays(&r.name, &again)));
        }
    }

    /// A cell's figure.
    pub(crate) fn get(&self, kind: &Kind, state: &str, work: &str) -> Option<&Figure> {
        let name = cells::name(kind, state, work);
        self.cells.iter().find(|figure| figure.name == name)
    }

    /// What disagreed with itself.
    pub(crate) fn disagreements(&self) -> Vec<String> {
        let wrong = self.repeated.iter().filter(|r| r.off.abs() > r.limit);
        wrong
            .map(|r| {
                format!(
                    "{}: measured again it is off by {:+.2} %",
                    r.name,
                    r.off * 100.0
                )
            })
            .collect()
    }

    /// What is below the least that is bearable.
    pub(crate) fn below(&self, least: &[(&str, f64)]) -> Vec<String> {
        least
            .iter()
            .filter_map(|&(name, least)| {
                let figure = self.cells.iter().find(|figure| figure.name == name)?;
                (figure.ratio < least)
                    .then(|| format!("{name}: {:.3} of raw, and not {least}", figure.ratio))
            })
            .collect()
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read {}; `make bench` writes it", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        Ok(fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

/// Rounded, so that the file has no more digits than the figure.
pub(crate) fn digits(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::super::fio::Taken;
    use super::super::measured::Said;
    use super::super::plan;
    use super::*;

    fn measured(name: &str, rate: f64, again: bool) -> Measured {
        let mut cell = plan::all()
            .into_iter()
            .find(|cell| cell.name() == name)
            .unwrap();
        cell.again = again;
        let taken = Taken {
            ios: 1,
            bytes: 4096,
            rate,
            mean_ns: 1e9 / rate,
            spread: None,
        };
        Measured {
            cell,
            taken,
            said: Said::default(),
        }
    }

    #[test]
    fn ratios_are_to_the_raw_device_at_the_same_work() {
        let list = [
            measured("ram_raw_sparse", 1000.0, false),
            measured("ram_device_sparse", 550.0, false),
            measured("ram_device_sparse", 560.0, true),
        ];
        let results = Results::new("k", Machine::Tcg, &list).unwrap();
        assert_eq!(results.cells[1].ratio, 0.55);
        assert_eq!(results.disagreements().len(), 1);
        assert!(Results::new("k", Machine::Tcg, &list[1..]).is_err());
    }

    #[test]
    fn what_is_below_the_least_is_named() {
        let list = [
            measured("ram_raw_random", 1000.0, false),
            measured("ram_other_random", 989.0, false),
            measured("ram_tracked_random", 971.0, false),
        ];
        let results = Results::new("k", Machine::Tcg, &list).unwrap();
        let below = results.below(&[("ram_other_random", 0.99), ("ram_tracked_random", 0.97)]);
        assert_eq!(below, ["ram_other_random: 0.989 of raw, and not 0.99"]);
        assert!(results.below(&[("ram_device_sparse", 0.5)]).is_empty());
    }

    #[test]
    fn figures_of_other_devices_stay() {
        let run =
            |name: &str| Results::new("k", Machine::Tcg, &[measured(name, 1000.0, false)]).unwrap();
        let mut new = run("ram_raw_seq");
        let mut old = run("ram_raw_sparse");
        old.cells.extend(run("null_raw_sparse").cells);
        let (mut some, mut more) = (new.clone(), old.clone());
        new.join(old, Some("ram"));
        let names = |results: &Results| -> Vec<String> {
            results.cells.iter().map(|f| f.name.clone()).collect()
        };
        assert_eq!(names(&new), ["ram_raw_seq", "null_raw_sparse"]);
        more.cells.extend(run("ram_raw_seq").cells);
        some.join(more, None);
        assert_eq!(
            names(&some),
            ["ram_raw_seq", "ram_raw_sparse", "null_raw_sparse"]
        );
    }
}
