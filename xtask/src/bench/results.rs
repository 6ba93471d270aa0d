// SPDX-License-Identifier: GPL-2.0-only
//! The figures of a run: `docs/bench/results.json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cells::{self, Cell, Kind, On};
use super::fio::Taken;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Results {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// What it ran on, in words.
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
}

/// The gates of takes, one after the other, under a load.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Gate {
    pub(crate) name: String,
    /// From the gate's closing to its opening.
    pub(crate) gates_ns: Vec<u64>,
    /// The load's slowest write and its median. It was waited for, or was held, or both.
    pub(crate) slowest_ns: u64,
    pub(crate) median_ns: u64,
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

/// A cell as it was measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    /// What fio said.
    pub(crate) taken: Taken,
    pub(crate) said: Said,
}

/// What a snapshot said of itself after its cell.
#[derive(Debug, Default, Clone, Deserialize)]
pub(crate) struct Said {
    error: Option<String>,
    memory_bytes: Option<u64>,
    #[serde(default)]
    images: Vec<Image>,
    /// Sectors of dm-snapshot's storage: `ALLOCATED/ALL`, or what went wrong.
    dm: Option<String>,
    /// Nanoseconds that takes held writes.
    #[serde(default)]
    gates: Vec<u64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Image {
    copy_read_bytes: u64,
    store_bytes: u64,
}

impl Said {
    /// What is wrong with the snapshot, if anything is.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.dm {
            Some(dm) if !dm.contains('/') => Some(dm.clone()),
            _ => self.error.clone(),
        }
    }

    /// Bytes stored, as it says.
    fn stored(&self) -> Option<u64> {
        match (&self.dm, self.images.first()) {
            (Some(dm), _) => dm.split('/').next()?.parse::<u64>().ok().map(|s| s * 512),
            (None, image) => image.map(|image| image.store_bytes),
        }
    }
}

impl Results {
    /// The figures from what was measured.
    pub(crate) fn new(kernel: &str, machine: String, measured: &[Measured]) -> Result<Self> {
        let rate = |wanted: &str| {
            measured
                .iter()
                .find(|m| m.cell.name() == wanted)
                .map(|m| m.taken.rate)
                .with_context(|| format!("no cell {wanted}"))
        };
        let mut results = Self {
            kernel: kernel.into(),
            machine,
            cells: Vec::new(),
            gates: Vec::new(),
            repeated: Vec::new(),
        };
        for Measured { cell, taken, said } in measured {
            if cell.again {
                results.repeated.push(Repeated {
                    name: cell.base(),
                    off: digits(taken.rate / rate(&cell.base())? - 1.0, 5),
                    limit: cell.work.agree,
                });
                continue;
            }
            if let (On::Takes, Some(spread)) = (cell.work.on, taken.spread) {
                results.gates.push(Gate {
                    name: cell.name(),
                    gates_ns: said.gates.clone(),
                    slowest_ns: spread.max_ns,
                    median_ns: spread.p50_ns,
                });
                continue;
            }
            let raw = rate(&cells::name(cell.kind, "raw", cell.work.name))?;
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
                read_amplification: part(said.images.first().map(|i| i.copy_read_bytes)),
                store_amplification: part(said.stored()),
                memory_bytes: said.memory_bytes,
            });
        }
        Ok(results)
    }

    /// Takes the figures of other kinds of devices than `kind` from another run on the same kernel.
    pub(crate) fn join(&mut self, other: Self, kind: &str) {
        let foreign = |name: &str| !name.starts_with(&format!("{kind}_"));
        if other.kernel == self.kernel {
            self.cells
                .extend(other.cells.into_iter().filter(|f| foreign(&f.name)));
            self.gates
                .extend(other.gates.into_iter().filter(|g| foreign(&g.name)));
            self.repeated
                .extend(other.repeated.into_iter().filter(|r| foreign(&r.name)));
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
fn digits(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
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
        let results = Results::new("k", String::new(), &list).unwrap();
        assert_eq!(results.cells[1].ratio, 0.55);
        assert_eq!(results.disagreements().len(), 1);
        assert!(Results::new("k", String::new(), &list[1..]).is_err());
    }

    #[test]
    fn figures_of_other_devices_stay() {
        let run = |name: &str| {
            Results::new("k", String::new(), &[measured(name, 1000.0, false)]).unwrap()
        };
        let mut new = run("ram_raw_seq");
        let mut old = run("ram_raw_sparse");
        old.cells.extend(run("null_raw_sparse").cells);
        new.join(old, "ram");
        let names: Vec<_> = new.cells.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["ram_raw_seq", "null_raw_sparse"]);
    }

    #[test]
    fn what_snapshots_say_is_read() {
        let dm: Said = serde_json::from_str(r#"{ "dm": "49152/1572864" }"#).unwrap();
        assert_eq!((dm.stored(), dm.failure()), (Some(49152 * 512), None));
        let full: Said = serde_json::from_str(r#"{ "dm": "Invalid" }"#).unwrap();
        assert_eq!(full.failure().unwrap(), "Invalid");
        let none: Said = serde_json::from_str("{}").unwrap();
        assert_eq!((none.stored(), none.failure()), (None, None));
    }
}
