// SPDX-License-Identifier: GPL-2.0-only
//! What figures are taken on.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::cells::Kind;
use crate::accel::Accel;
use crate::sh;

/// One of the three. Each has a report of its own: their figures are not to be mixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Machine {
    /// An emulated guest whose clock counts instructions: the same figures everywhere
    #[default]
    Tcg,
    /// A guest under KVM, by the clock
    Kvm,
    /// This machine itself, by the clock: needs root, and a kernel that loads modules
    Host,
}

/// How far a cell that is measured again may be off by the clock, as a part.
const BY_THE_CLOCK: f64 = 0.10;

impl Machine {
    /// Where its report is kept.
    pub(crate) fn folder(self) -> PathBuf {
        let bench = sh::root().join("docs/bench");
        match self {
            Self::Tcg => bench,
            Self::Kvm => bench.join("kvm"),
            Self::Host => bench.join("host"),
        }
    }

    /// How a guest with this kind of devices is run.
    pub(crate) fn accel(self, kind: &Kind) -> Accel {
        match self {
            Self::Tcg if kind.real => Accel::Emulated,
            Self::Tcg => Accel::Counted,
            _ => Accel::Kvm,
        }
    }

    /// How far a cell that is measured again may be off, when it may be by `counted` in counted time.
    pub(crate) fn agree(self, counted: f64) -> f64 {
        match self {
            Self::Tcg => counted,
            _ => counted.max(BY_THE_CLOCK),
        }
    }

    /// For people, with the processor of this machine.
    pub(crate) fn words(self) -> String {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        self.on(&processor(&info))
    }

    fn on(self, processor: &str) -> String {
        match self {
            Self::Tcg => format!(
                "QEMU, emulated x86_64 (TCG), instruction-counted time: 1 ns = 1 instruction; on {processor}, which changes nothing"
            ),
            Self::Kvm => format!("QEMU with KVM, by the guest's clock; on {processor}"),
            Self::Host => format!("no virtual machine, by the clock; on {processor}"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
            Self::Host => "host",
        })
    }
}

/// The processors' name and number, from `/proc/cpuinfo`.
fn processor(info: &str) -> String {
    let value = |line: &str| Some(line.split_once(':')?.1.trim().to_owned());
    let names: Vec<String> = info
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(value)
        .collect();
    match names.first() {
        Some(name) => format!("{name} ({} processors)", names.len()),
        None => "an unknown processor".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::RAM;
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t: x\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2GHz\n";
        assert_eq!(processor(info), "Some CPU @ 2GHz (2 processors)");
        assert!(Machine::Kvm.on(&processor(info)).contains("KVM"));
        assert_eq!(processor(""), "an unknown processor");
    }

    #[test]
    fn only_emulated_time_is_counted() {
        let real = Kind { real: true, ..RAM };
        assert_eq!(Machine::Tcg.accel(&RAM), Accel::Counted);
        assert_eq!(Machine::Tcg.accel(&real), Accel::Emulated);
        assert_eq!(Machine::Kvm.accel(&RAM), Accel::Kvm);
        assert_eq!(Machine::Tcg.agree(0.01), 0.01);
        assert_eq!(Machine::Kvm.agree(0.01), BY_THE_CLOCK);
        assert_ne!(Machine::Tcg.folder(), Machine::Host.folder());
    }
}
