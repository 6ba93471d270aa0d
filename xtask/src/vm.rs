// SPDX-License-Identifier: GPL-2.0-only
//! One run of a guest: disks, an exchange folder, a script; its output line by line; the check of its kernel's log.
//!
//! The guest has two serial lines. The first is the kernel's console, kept in `kernel.log`. The second is the
//! script's output, handed to the caller as it comes and kept in `output.log`; its last line is `@@END NONCE CODE`.
//! A run without that line has crashed or hung. What the caller writes is the script's to read from `/dev/ttyS1`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::accel::{self, Accel};
use crate::setup::Setup;
use crate::tools::Kernel;
use crate::{cache, klog, sh, tsc};

/// A disk of the guest, a sparse file outside; found inside as `/dev/disk/by-id/virtio-SERIAL`, or by `modprobe nvme`.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) serial: String,
    pub(crate) bytes: u64,
    pub(crate) nvme: bool,
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    /// The run's folder is `target/vm/NAME`.
    pub(crate) name: String,
    pub(crate) kernel: &'a Kernel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) timeout: Duration,
    pub(crate) disks: Vec<Disk>,
    /// Added to the kernel's command line.
    pub(crate) append: String,
    /// The bash script.
    pub(crate) script: String,
    /// Programs for /usr/local/bin.
    pub(crate) programs: Vec<PathBuf>,
    /// A folder with modules and the index files that depmod made.
    pub(crate) modules: Option<PathBuf>,
    /// What runs it.
    pub(crate) accel: Accel,
    /// More arguments for the emulator.
    pub(crate) emulator: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The script's exit code, if it came to its end.
    pub(crate) code: Option<i32>,
    /// What the kernel's log complains about, with an excerpt.
    pub(crate) complaint: Option<String>,
    /// The guest was stopped at its time limit.
    pub(crate) timed_out: bool,
    pub(crate) seconds: f32,
    /// The run's folder.
    pub(crate) dir: PathBuf,
}

impl Outcome {
    /// One sentence on what went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        let logs = self.dir.display();
        if let Some(complaint) = &self.complaint {
            return Some(format!(
                "the kernel complained:\n{complaint}\n(logs in {logs})"
            ));
        }
        match self.code {
            Some(0) => None,
            Some(code) => Some(format!("the script ended with {code} (logs in {logs})")),
            None if self.timed_out => Some(format!(
                "the guest hung: stopped after {:.0} s (logs in {logs})",
                self.seconds
            )),
            None => Some(format!(
                "the guest died before the script's end (logs in {logs})"
            )),
        }
    }
}

/// A guest that runs.
#[derive(Debug)]
pub(crate) struct Live {
    input: ChildStdin,
    process: u32,
}

impl Live {
    /// A line for the script to read from `/dev/ttyS1`. A guest that is gone shows by itself.
    pub(crate) fn answer(&mut self, line: &str) {
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
    }

    /// Seconds of processor time that the guest has taken from this machine until now.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_ticks(self.process) as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

/// Ticks of processor time of a process and all below it.
fn cpu_ticks(process: u32) -> u64 {
    let dir = format!("/proc/{process}");
    let stat = fs::read_to_string(format!("{dir}/stat")).unwrap_or_default();
    // After the name in brackets: the state is the first word, utime the 12th, stime the 13th.
    let words = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let own: u64 = words
        .split_whitespace()
        .skip(11)
        .take(2)
        .flat_map(str::parse::<u64>)
        .sum();
    let below = fs::read_to_string(format!("{dir}/task/{process}/children")).unwrap_or_default();
    own + below
        .split_whitespace()
        .flat_map(str::parse)
        .map(cpu_ticks)
        .sum::<u64>()
}

/// A run's name, held as long as this lives: two runs at once get two folders.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The name.
    pub(crate) name: String,
    _lock: File,
}

/// Claims a name for a run: the one given, or that with a number.
pub(crate) fn claim(base: &str) -> Result<Claim> {
    for number in 1..100 {
        let name = if number == 1 {
            base.to_owned()
        } else {
            format!("{base}-{number}")
        };
        let dir = sh::target().join("vm").join(&name);
        fs::create_dir_all(&dir)?;
        let lock = File::create(dir.join("lock"))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(Claim { name, _lock: lock });
        }
    }
    bail!("too many runs named {base}")
}

/// Where the exchange folder of a run is.
pub(crate) fn share(name: &str) -> PathBuf {
    sh::target().join("vm").join(name).join("share")
}

/// What `make install` gives to udev, the guest's has, too.
const RULES: &str = "mkdir -p /run/udev/rules.d && cp /repo/kernel/udev/*.rules /run/udev/rules.d/ && udevadm control --reload\n";

/// Runs a guest to its end.
pub(crate) fn run(
    setup: &Setup,
    spec: &Spec<'_>,
    on_line: &mut dyn FnMut(&str, &mut Live),
) -> Result<Outcome> {
    let dir = sh::target().join("vm").join(&spec.name);
    let share = dir.join("share");
    let disks = dir.join("disks");
    // The share may have been filled by the caller already.
    fs::create_dir_all(&share)?;
    cache::remove_tree(&disks)?;
    fs::create_dir_all(&disks)?;
    for name in ["exit-code", "dmesg.txt"] {
        let _ = fs::remove_file(share.join(name));
    }
    for name in ["kernel.log", "output.log"] {
        let _ = fs::remove_file(dir.join(name));
    }

    let nonce = format!(
        "{:x}",
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos()
    );
    fs::write(share.join("nonce"), format!("{nonce}\n"))?;
    fs::write(share.join("run"), format!("{RULES}{}", spec.script))?;
    cache::remove_tree(&share.join("bin"))?;
    for program in &spec.programs {
        sh::copy_into(program, &share.join("bin"))?;
    }
    cache::remove_tree(&share.join("modules"))?;
    if let Some(modules) = &spec.modules {
        for entry in fs::read_dir(modules)? {
            let path = entry?.path();
            if path.is_file() {
                sh::copy_into(&path, &share.join("modules"))?;
            }
        }
    }

    let (accel, counted) = (spec.accel.of(setup)?, spec.accel == Accel::Counted);
    let mut command = setup.tree.command("setpriv")?;
    command.args(["--pdeathsig", "TERM", "timeout", "--foreground", "-k", "5"]);
    command.arg(spec.timeout.as_secs().to_string());
    let mut append = spec.append.clone();
    if accel.starts_with("tcg") && !counted {
        append += &format!(" tsc_early_khz={}", tsc::khz());
    }
    command.args(base_arguments(
        setup,
        spec.kernel,
        &accel::processor(&accel, counted),
        spec.cpus,
        spec.memory_mib,
        &append,
    ));
    command.args(&spec.emulator);
    command.args([
        "-chardev",
        &format!("file,id=console,path={}", dir.join("kernel.log").display()),
    ]);
    command.args([
        "-serial",
        "chardev:console",
        "-chardev",
        "stdio,id=output,signal=off",
        "-serial",
        "chardev:output",
    ]);
    command.args([
        "-virtfs",
        &format!(
            "local,path={},mount_tag=host,security_model=none",
            share.display()
        ),
    ]);
    command.args([
        "-virtfs",
        &format!(
            "local,path={},mount_tag=repo,security_model=none,readonly=on",
            sh::root().display()
        ),
    ]);
    command.args(drive("root", &setup.guest.root(), true, "virtio-blk-pci"));
    for disk in &spec.disks {
        let path = disks.join(format!("{}.raw", disk.serial));
        File::create(&path)?.set_len(disk.bytes)?;
        let device = if disk.nvme { "nvme" } else { "virtio-blk-pci" };
        command.args(drive(&disk.serial, &path, false, device));
    }

    let start = Instant::now();
    let mut log = File::create(dir.join("output.log"))?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(dir.join("qemu.log"))?)
        .spawn()
        .context("cannot start the guest")?;
    let mut live = Live {
        input: child.stdin.take().context("no input")?,
        process: child.id(),
    };
    let mut code = None;
    let mut reader = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if let Some(end) = text
            .strip_prefix("@@END ")
            .and_then(|t| t.strip_prefix(&nonce))
        {
            code = end.trim().parse().ok();
            continue;
        }
        writeln!(log, "{:8.2} {text}", start.elapsed().as_secs_f32())?;
        on_line(text, &mut live);
    }
    let status = child.wait()?;
    // `timeout` says 124, or 137 when it had to kill.
    let timed_out = matches!(status.code(), Some(124 | 137));
    let text = fs::read(dir.join("kernel.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.is_empty() && code.is_none() && !timed_out {
        bail!(
            "qemu failed: {}",
            fs::read_to_string(dir.join("qemu.log"))
                .unwrap_or_default()
                .trim_end()
        );
    }
    // The log as dmesg had it may hold what a busy console dropped.
    let dmesg = fs::read(share.join("dmesg.txt")).unwrap_or_default();
    let complaint =
        klog::complaint(&text).or_else(|| klog::complaint(&String::from_utf8_lossy(&dmesg)));
    Ok(Outcome {
        code,
        complaint,
        timed_out,
        seconds: start.elapsed().as_secs_f32(),
        dir,
    })
}

fn drive(serial: &str, path: &Path, read_only: bool, device: &str) -> [String; 4] {
    let extra = if read_only {
        ",readonly=on"
    } else {
        ",discard=unmap,detect-zeroes=unmap"
    };
    [
        "-drive".into(),
        format!(
            "if=none,id=drive-{serial},file={},format=raw,cache=unsafe,aio=threads,werror=report{extra}",
            path.display()
        ),
        "-device".into(),
        format!("{device},drive=drive-{serial},serial={serial}"),
    ]
}

pub(crate) fn base_arguments(
    setup: &Setup,
    kernel: &Kernel,
    processor: &[String],
    cpus: u32,
    memory_mib: u32,
    append: &str,
) -> Vec<String> {
    let append = format!(
        "console=ttyS0 quiet loglevel=7 panic=-1 oops=panic no_timer_check tsc=reliable \
         rcupdate.rcu_cpu_stall_timeout=60 random.trust_cpu=on net.ifnames=0 {append}"
    );
    let mut arguments = vec!["qemu-system-x86_64".to_owned()];
    arguments.extend(processor.iter().cloned());
    arguments.extend([
        "-machine".into(),
        "pc".into(),
        "-smp".into(),
        cpus.to_string(),
        "-m".into(),
        memory_mib.to_string(),
    ]);
    arguments.extend([
        "-kernel".into(),
        setup.guest.kernel(kernel).display().to_string(),
    ]);
    arguments.extend([
        "-initrd".into(),
        setup.guest.initrd(kernel).display().to_string(),
    ]);
    arguments.extend(["-append".into(), append]);
    arguments.extend(
        [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-device",
            "virtio-rng-pci",
        ]
        .map(String::from),
    );
    arguments
}
