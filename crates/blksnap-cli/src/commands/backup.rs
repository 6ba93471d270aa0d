// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap backup`.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use blksnap::{Blksnap, Error, ErrorKind, Result};
use blksnap_backup::{Company, Held, Mode, Options, Report, backup};

use crate::args::Backup;
use crate::commands::cancel;
use crate::commands::snapshot::request;
use crate::output::{Output, size, table, time};
use crate::{child, exit};

pub(crate) fn run(blksnap: &Blksnap, arguments: &Backup, output: &Output) -> Result<u8> {
    let mode = match arguments {
        Backup { full: true, .. } => Mode::Full,
        Backup {
            differential: true, ..
        } => Mode::Differential,
        _ => Mode::Auto,
    };
    let options = Options {
        mode,
        request: request(&arguments.storage),
    };
    let (screen, cancel) = (output.screen(), cancel()?);
    let exec = arguments.exec.as_deref();
    let call = |held: Held<'_>| exec.map_or(Ok(()), |command| execute(command, held));
    let mut company = Company::new(&screen, &cancel);
    if exec.is_some() {
        company.while_held = Some(&call);
    }
    let report = backup(
        blksnap,
        &arguments.devices,
        &arguments.to,
        &options,
        company,
    )?;
    let document = serde_json::to_value(&report).unwrap_or_default();
    output.result(&document, || text(&report));
    Ok(exit::OK)
}

/// Runs `--exec` by the shell, its output on stderr: stdout is for the report.
fn execute(command: &str, held: Held<'_>) -> Result<()> {
    let context = format!("`{command}` failed, so the backup was given up");
    let failed = |error: std::io::Error| Error::new(ErrorKind::Io, &*context).caused_by(error);
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed)?;
    let mut process = Command::new("sh");
    process
        .arg("-c")
        .arg(command)
        .envs(child::environment(held))
        .stdout(Stdio::from(stderr));
    match child::run(&mut process).map_err(failed)? {
        0 => Ok(()),
        code => Err(Error::new(ErrorKind::Io, &*context).caused_by(format!("exit code {code}"))),
    }
}

fn text(report: &Report) -> String {
    let rows: Vec<_> = report
        .devices
        .iter()
        .map(|device| {
            let figures = &device.statistics;
            vec![
                device.path.display().to_string(),
                device.kind.to_string(),
                size(device.size_bytes),
                size(figures.changed_bytes),
                size(figures.free_bytes),
                size(figures.bytes_read),
                size(figures.bytes_written),
                format!(
                    "{} in {}",
                    size(figures.copy_read_bytes),
                    figures.copy_reads
                ),
                format!("{} in {}", size(figures.store_bytes), figures.stores),
                time(Duration::from_secs_f64(figures.seconds)),
                device.file.display().to_string(),
            ]
        })
        .collect();
    let titles = [
        "DEVICE", "KIND", ">SIZE", ">CHANGED", ">FREE", ">READ", ">WRITTEN", ">COPIED", ">STORED",
        ">TIME", "FILE",
    ];
    format!(
        "{}taken {}, writes held for {}; {} of differences stored, {} of memory; {} in all\n",
        table(&titles, &rows),
        report.taken,
        time(Duration::from_nanos(report.gate_ns)),
        size(report.store_used_bytes),
        size(report.memory_bytes),
        time(Duration::from_secs_f64(report.seconds)),
    )
}
