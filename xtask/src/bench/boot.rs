// SPDX-License-Identifier: GPL-2.0-only
//! Runs the cells of one kind of device in a guest.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::cells::{Cell, Kind, On};
use super::machine::Machine;
use super::measured::Measured;
use super::profile::{self, Profiler};
use super::{database, exchange};
use crate::setup::Setup;
use crate::tools::Kernel;
use crate::vm::{self, Disk, Spec};
use crate::{modules, sh};

/// Mitigations, addresses that change from boot to boot, and pages cleared when they are allocated are not what is measured.
const APPEND: &str = "nokaslr norandmaps mitigations=off init_on_alloc=0";

/// A disk that is not of the guest's memory: as large as those that are.
const DISK_BYTES: u64 = 768 << 20;

/// Says that the I/O begins or ends, and waits until that is heard.
const MARK: &str = "/repo/tests/bench/mark.sh";

/// What a boot needs.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) kernel: &'a Kernel,
    pub(crate) machine: Machine,
    /// Programs for the guest.
    pub(crate) programs: &'a [PathBuf],
    /// Each cell is cut to that many I/Os, and its instructions are counted by function into `target/bench/profile-NAME.txt`; its times
    /// mean nothing then.
    pub(crate) profile: Option<u64>,
}

/// Runs the cells of one kind of device in one boot.
pub(crate) fn run(boot: &Boot<'_>, kind: &Kind, cells: &[Cell]) -> Result<Vec<Measured>> {
    let kernel = boot.kernel;
    let claim = vm::claim(&format!("bench-{}-{}", kind.name, kernel.series))?;
    let share = vm::share(&claim.name);
    let symbols = share.join("kallsyms");
    exchange::prepare(&share, cells, |cell| {
        boot.profile.map_or(String::new(), |ios| cut(cell, ios))
    })?;
    if cells.iter().any(Cell::needs_database) {
        database::copy(&share)?;
    }
    let mut profiler = match boot.profile {
        Some(_) => {
            // The guest fills it.
            fs::write(&symbols, "")?;
            Some(Profiler::new(sh::target().join("vm").join(&claim.name))?)
        }
        None => None,
    };
    let disk = |serial: &str| Disk {
        serial: serial.into(),
        bytes: DISK_BYTES,
        nvme: false,
    };
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 4096,
        cpus: kind.cpus,
        timeout: Duration::from_secs(3600),
        disks: if kind.real {
            vec![disk("origin"), disk("store")]
        } else {
            Vec::new()
        },
        append: APPEND.into(),
        script: format!("exec bash /repo/tests/bench/run.sh {}\n", kind.name),
        programs: boot.programs.to_vec(),
        modules: Some(modules::folder(kernel).join("guest")),
        accel: boot.machine.accel(kind),
        emulator: profiler
            .as_ref()
            .map(Profiler::arguments)
            .unwrap_or_default(),
    };
    exchange::begin(kind, cells, &kernel.release);
    let mut done = 0;
    let mut marks = Ok(());
    let outcome = vm::run(boot.setup, &spec, &mut |line, live| {
        if let ("MARK", Some(profiler)) = (line, &mut profiler) {
            if marks.is_ok() {
                marks = profiler.mark();
            }
            live.answer("go on");
        } else {
            exchange::line(line, cells.len(), &mut done);
        }
    })?;
    if let Some(failure) = outcome.failure() {
        bail!(failure);
    }
    marks?;
    let measured = exchange::read(&share, cells)?;
    if let Some(profiler) = &profiler {
        let kallsyms = fs::read_to_string(&symbols)?;
        for (number, one) in measured.iter().enumerate() {
            let table = profiler.table(number, &kallsyms, one.taken.ios)?;
            keep(&one.cell.name(), &table)?;
        }
    }
    Ok(measured)
}

/// More arguments for fio, so that a cell has that many I/Os and says when they begin and end. Those of a MiB take so long that a sixteenth is enough.
fn cut(cell: &Cell, ios: u64) -> String {
    if cell.work.on == On::Program {
        return String::new();
    }
    let ios = if cell.work.fio.contains("--bs=1M") {
        ios.div_ceil(16)
    } else {
        ios
    };
    format!(" --number_ios={ios} --exec_prerun={MARK} --exec_postrun={MARK}")
}

/// How many lines of a profile are shown; all of it stays in its file.
const SHOWN: usize = 60;

/// Leaves a profile in `target/bench`.
fn keep(name: &str, table: &str) -> Result<()> {
    let file = profile::file(name);
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&file, table)?;
    println!("{name}:");
    table
        .lines()
        .take(SHOWN)
        .for_each(|line| println!("{line}"));
    println!("… ({})\n", file.display());
    Ok(())
}
