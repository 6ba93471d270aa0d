// SPDX-License-Identifier: GPL-2.0-only
//! Runs the cells of one kind of device in a guest, and reads what it left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cells::{Cell, Kind, On};
use super::fio::{self, Taken};
use super::profile::Profiler;
use super::results::{Measured, Said};
use crate::setup::Setup;
use crate::tools::Kernel;
use crate::vm::{self, Spec};
use crate::{cache, modules, programs, sh};

/// Mitigations, addresses that change from boot to boot, and pages cleared when they are allocated are not what is measured.
const APPEND: &str = "nokaslr norandmaps mitigations=off init_on_alloc=0";

/// Says that the I/O begins or ends, and waits until that is heard.
const MARK: &str = "/repo/tests/bench/mark.sh";

/// Runs them all in one boot with instruction-counted time. With `profile`, each is cut to that many I/Os, and its instructions are counted by
/// function into `target/bench/profile-NAME.txt`; its times mean nothing then.
pub(crate) fn run(
    setup: &Setup,
    kernel: &Kernel,
    kind: &Kind,
    cells: &[Cell],
    profile: Option<u64>,
) -> Result<Vec<Measured>> {
    let claim = vm::claim(&format!("bench-{}-{}", kind.name, kernel.series))?;
    let share = vm::share(&claim.name);
    cache::remove_tree(&share.join("out"))?;
    fs::create_dir_all(&share)?;
    let symbols = share.join("kallsyms");
    match profile {
        // The guest fills it.
        Some(_) => fs::write(&symbols, "")?,
        None => drop(fs::remove_file(&symbols)),
    }
    let cut = profile.map_or(String::new(), |ios| {
        format!(" --number_ios={ios} --exec_prerun={MARK} --exec_postrun={MARK}")
    });
    let lines = cells.iter().map(|cell| cell.line() + &cut + "\n");
    fs::write(share.join("cells"), lines.collect::<String>())?;
    let mut profiler = match profile {
        Some(_) => Some(Profiler::new(sh::target().join("vm").join(&claim.name))?),
        None => None,
    };
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 4096,
        cpus: kind.cpus,
        timeout: Duration::from_secs(3600),
        disks: Vec::new(),
        append: APPEND.into(),
        script: format!("exec bash /repo/tests/bench/run.sh {}\n", kind.name),
        programs: programs::build()?,
        modules: Some(modules::folder(kernel).join("guest")),
        counted: true,
        emulator: profiler
            .as_ref()
            .map(Profiler::arguments)
            .unwrap_or_default(),
    };
    sh::say(format!(
        "{}: {} cells on {}",
        kind.title,
        cells.len(),
        kernel.release
    ));
    let mut done = 0;
    let mut marks = Ok(());
    let outcome = vm::run(setup, &spec, &mut |line, live| {
        if let Some(name) = line.strip_prefix("DONE ") {
            done += 1;
            sh::say(format!("{done}/{} {name}", cells.len()));
        } else if let ("MARK", Some(profiler)) = (line, &mut profiler) {
            if marks.is_ok() {
                marks = profiler.mark();
            }
            live.answer("go on");
        } else {
            println!("{line}");
        }
    })?;
    if let Some(failure) = outcome.failure() {
        bail!(failure);
    }
    marks?;
    let mut measured = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        let (taken, said) =
            read(&share.join("out"), cell).with_context(|| format!("the cell {}", cell.name()))?;
        if let Some(profiler) = &profiler {
            let kallsyms = fs::read_to_string(&symbols)?;
            keep(&cell.name(), &profiler.table(number, &kallsyms, taken.ios)?)?;
        }
        let cell = cell.clone();
        measured.push(Measured { cell, taken, said });
    }
    Ok(measured)
}

/// Leaves a profile in `target/bench`.
fn keep(name: &str, table: &str) -> Result<()> {
    let dir = sh::target().join("bench");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(format!("profile-{name}.txt")), table)?;
    println!("{name}: {table}");
    Ok(())
}

fn read(out: &Path, cell: &Cell) -> Result<(Taken, Said)> {
    let name = cell.name();
    let text = fs::read_to_string(out.join(format!("{name}.json")))?;
    let taken = match cell.work.on {
        On::Program => fio::parse_program(&text)?,
        _ => fio::parse(&text)?,
    };
    let said: Said = serde_json::from_str(&fs::read_to_string(out.join(format!("{name}.info")))?)?;
    if let Some(failure) = said.failure() {
        bail!("the snapshot failed: {failure}");
    }
    Ok((taken, said))
}
