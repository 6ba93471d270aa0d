// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask demo`: the main job on real input, shown as it goes, with a table and a report at the end.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::accel::Accel;
use crate::tools::Kernel;
use crate::vm::{self, Disk, Spec};
use crate::{cache, host, modules, programs, setup, sh, tools};

/// Backs up two live disks in full, incrementally and differentially, restores all and proves them.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The guest's kernel: 6.1, 6.12 or 7.3
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// On this machine, on loop devices, in place of a virtual machine
    #[arg(long)]
    host: bool,
}

/// The kinds of backup, in order.
const KINDS: [&str; 3] = ["full", "incremental", "differential"];
/// Serial, MiB: the ext4, the XFS, where they are restored to, and scratch space.
const DISKS: [(&str, u64); 6] = [
    ("handover", 2048),
    ("ext4", 512),
    ("xfs", 384),
    ("ext4-restored", 512),
    ("xfs-restored", 384),
    ("scratch", 4096),
];

/// What the report has of each backup.
const FIGURES: [&str; 14] = [
    "bytes_read",
    "bytes_written",
    "changed_bytes",
    "zero_bytes",
    "seconds",
    "copy_reads",
    "copy_read_bytes",
    "stores",
    "store_bytes",
    "held",
    "memory_bytes",
    "reason",
    "change_id",
    "file",
];

/// What is shown while the script runs.
struct Screen {
    bar: Option<ProgressBar>,
    stage: String,
    start: Instant,
    checks: u32,
    failed: Vec<String>,
}

impl Screen {
    fn new() -> Screen {
        Screen {
            bar: None,
            stage: String::new(),
            start: Instant::now(),
            checks: 0,
            failed: Vec::new(),
        }
    }

    fn print(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    fn stage(&mut self, text: &str) {
        self.finish();
        self.stage = text.into();
        if std::io::stdout().is_terminal() {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(self.stage.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            self.bar = Some(bar);
        } else {
            println!("{:7.1}  {text}", self.start.elapsed().as_secs_f32());
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) {
            bar.set_length(total);
            if let Ok(style) = ProgressStyle::with_template(
                "{spinner} {msg}  [{bar:30}] {binary_bytes} read of {binary_total_bytes}  {elapsed}",
            ) {
                bar.set_style(style);
            }
        }
        bar.set_position(done.min(total));
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            println!("{:7.1}  {}", self.start.elapsed().as_secs_f32(), self.stage);
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("@stage ") {
            self.stage(text);
        } else if let Some(rest) = line.strip_prefix("@progress ") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            if let [_, done, total] = words[..]
                && let (Ok(done), Ok(total)) = (done.parse(), total.parse())
            {
                self.progress(done, total);
            }
        } else if let Some(rest) = line.strip_prefix("@check ") {
            self.checks += 1;
            match rest.strip_prefix("ok ") {
                Some(text) => self.print(&format!("           ok    {text}")),
                None => {
                    let text = rest.strip_prefix("FAIL ").unwrap_or(rest).to_owned();
                    self.print(&format!("           FAIL  {text}"));
                    self.failed.push(text);
                }
            }
        } else if !line.is_empty() {
            self.print(&format!("           {line}"));
        }
    }
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let setup = setup::ensure(false)?;
    let list = programs::build()?;
    let out = sh::target().join("demo");
    cache::remove_tree(&out)?;
    fs::create_dir_all(&out)?;

    let mut screen = Screen::new();
    let on_host = arguments.host && host::can_load_modules();
    if arguments.host && !on_host {
        sh::say("this machine cannot load modules: using a virtual one");
    }
    let (kernel, failure) = if on_host {
        host::demo(&setup, &list, &out, &mut |line| screen.line(line))?
    } else {
        let kernel = tools::find(&setup.kernels, &arguments.kernel)?;
        modules::build(&setup, std::slice::from_ref(kernel))?;
        sh::say(format!(
            "starting a virtual machine with Debian's kernel {}",
            kernel.release
        ));
        screen.start = Instant::now();
        (
            kernel.release.clone(),
            in_guest(&setup, kernel, &list, &out, &mut |line| screen.line(line))?,
        )
    };
    screen.finish();
    finish(&out, &kernel, &screen, failure, start)
}

fn in_guest(
    setup: &setup::Setup,
    kernel: &Kernel,
    list: &[PathBuf],
    out: &Path,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<String>> {
    let claim = vm::claim("demo")?;
    let share = vm::share(&claim.name);
    cache::remove_tree(&share)?;
    fs::create_dir_all(&share)?;
    fs::write(share.join("demo.sh"), include_str!("../demo/demo.sh"))?;
    let script = "set -e
disk() { readlink -f \"/dev/disk/by-id/virtio-$1\"; }
mkfs.ext4 -q -F -O ^has_journal \"$(disk scratch)\"
mkdir -p /scratch; mount \"$(disk scratch)\" /scratch
export EXT=$(disk ext4) XFS=$(disk xfs) EXT_TARGET=$(disk ext4-restored) XFS_TARGET=$(disk xfs-restored)
export SCRATCH=/scratch OUT=/host/demo HANDOVER=$(disk handover)
exec bash /host/demo.sh
";
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 1536,
        cpus: 2,
        timeout: Duration::from_secs(1800),
        disks: DISKS
            .map(|(serial, mib)| Disk {
                serial: serial.into(),
                bytes: mib << 20,
                nvme: false,
            })
            .to_vec(),
        append: String::new(),
        script: script.into(),
        programs: list.to_vec(),
        modules: Some(modules::folder(kernel).join("guest")),
        accel: Accel::Any,
        emulator: Vec::new(),
    };
    let outcome = vm::run(setup, &spec, &mut |line, _| on_line(line))?;
    let disks = outcome.dir.join("disks");
    if share.join("demo/figures/backup.sums").is_file() {
        let mut tar = Command::new("tar");
        sh::run(
            tar.arg("-xf")
                .arg(disks.join("handover.raw"))
                .arg("-C")
                .arg(out),
        )?;
    }
    let _ = fs::remove_dir_all(disks);
    let made = share.join("demo");
    if made.is_dir() {
        for entry in fs::read_dir(&made)? {
            let entry = entry?;
            fs::rename(entry.path(), out.join(entry.file_name()))?;
        }
    }
    Ok(outcome.failure())
}

/// The backups as they are here, against their checksums as they were verified: what differs.
fn differing(out: &Path) -> Result<Vec<String>> {
    let sums = fs::read_to_string(out.join("figures/backup.sums")).unwrap_or_default();
    let mut wrong = Vec::new();
    if sums.is_empty() {
        wrong.push("no backups were handed over".to_owned());
    }
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").context("not a list of checksums")?;
        let mut sha = Sha256::new();
        if let Ok(mut file) = File::open(out.join("backup").join(name)) {
            std::io::copy(&mut file, &mut sha)?;
        }
        let found: String = sha.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if found != sum {
            wrong.push(format!("{name} is not as it was verified"));
        }
    }
    Ok(wrong)
}

/// The figures of one kind of backup, by device.
fn figures(out: &Path, kind: &str) -> Option<Value> {
    serde_json::from_str(
        &fs::read_to_string(out.join("figures").join(format!("{kind}.json"))).ok()?,
    )
    .ok()
}

fn finish(
    out: &Path,
    kernel: &str,
    screen: &Screen,
    failure: Option<String>,
    start: Instant,
) -> Result<()> {
    let mut devices: Vec<Value> = Vec::new();
    let mut failed = screen.failed.clone();
    failed.extend(differing(out)?);
    let mut takes = Vec::new();
    let mut complete = true;
    for kind in KINDS {
        let Some(report) = figures(out, kind) else {
            complete = false;
            continue;
        };
        takes.push(json!({
            "kind": kind, "gate_ns": report["gate_ns"], "memory_bytes": report["memory_bytes"],
            "store_used_bytes": report["store_used_bytes"], "seconds": report["seconds"],
        }));
        for device in report["devices"].as_array().into_iter().flatten() {
            let path = device["path"].as_str().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or(path);
            let place = devices
                .iter()
                .position(|d| d["name"] == name)
                .unwrap_or_else(|| {
                    devices.push(json!({ "name": name, "size_bytes": device["size_bytes"] }));
                    devices.len() - 1
                });
            let mut entry = json!({});
            for field in FIGURES {
                entry[field] = device[field].clone();
            }
            // The path as it is here, not as the guest saw it.
            if let Some(file) = device["file"].as_str().and_then(|f| f.rsplit('/').next()) {
                entry["file"] = json!(out.join("backup").join(file));
            }
            devices[place][kind] = entry;
        }
    }
    complete &= devices.len() == 2;
    let verified = complete && failure.is_none() && failed.is_empty() && screen.checks > 0;
    let gate = takes.first().map_or(Value::Null, |t| t["gate_ns"].clone());
    let report = json!({
        "kernel": kernel,
        "gate_ns": gate,
        "verified": verified,
        "checks": screen.checks,
        "checks_failed": failed,
        "seconds": (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "takes": takes,
        "devices": devices,
    });
    let path = out.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;

    println!();
    println!("Debian kernel {kernel}");
    print!("{}", table(&report));
    println!();
    println!("backups   {}", out.join("backup").display());
    println!("report    {}", path.display());
    let log = out.join("log.txt");
    if let Some(failure) = failure {
        bail!(
            "{failure}\n(what the commands said is in {})",
            log.display()
        );
    }
    if !verified {
        bail!(
            "not verified: {} (what the commands said is in {})",
            failed.join("; "),
            log.display()
        );
    }
    println!(
        "verified  all {} checks, in {:.0} s",
        screen.checks,
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// What a person reads.
fn table(report: &Value) -> String {
    let mut rows = vec![
        [
            "device",
            "size",
            "backup",
            "read",
            "written",
            "changed",
            "gate",
            "COW read",
            "COW stored",
            "memory",
            "seconds",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for device in report["devices"].as_array().into_iter().flatten() {
        for (index, kind) in KINDS.iter().enumerate() {
            let f = &device[*kind];
            if f.is_null() {
                continue;
            }
            let take = &report["takes"][index];
            rows.push(vec![
                device["name"].as_str().unwrap_or("?").to_owned(),
                size(&device["size_bytes"]),
                (*kind).to_owned(),
                size(&f["bytes_read"]),
                size(&f["bytes_written"]),
                size(&f["changed_bytes"]),
                take["gate_ns"]
                    .as_f64()
                    .map_or("-".into(), |ns| format!("{:.2} ms", ns / 1e6)),
                format!("{} in {}", size(&f["copy_read_bytes"]), f["copy_reads"]),
                format!("{} in {}", size(&f["store_bytes"]), f["stores"]),
                size(&take["memory_bytes"]),
                f["seconds"]
                    .as_f64()
                    .map_or("-".into(), |s| format!("{s:.1}")),
            ]);
        }
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Words to the left, figures to the right.
            text += &if column == 0 || column == 2 {
                format!("{cell:<width$}  ")
            } else {
                format!("{cell:>width$}  ")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if index == 0 {
            text += &widths
                .iter()
                .map(|w| "-".repeat(*w))
                .collect::<Vec<_>>()
                .join("  ");
            text.push('\n');
        }
    }
    text
}

fn size(value: &Value) -> String {
    let Some(bytes) = value.as_f64() else {
        return "-".into();
    };
    if bytes >= 1024.0 * 1024.0 * 1024.0 {
        format!("{:.2} GiB", bytes / 1024.0 / 1024.0 / 1024.0)
    } else if bytes >= 1024.0 * 1024.0 {
        format!("{:.1} MiB", bytes / 1024.0 / 1024.0)
    } else {
        format!("{:.0} KiB", bytes / 1024.0)
    }
}
