// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask vm`: any command in a guest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::accel::Accel;
use crate::vm::{self, Disk, Spec};
use crate::{debug_kernel, modules, programs, setup, sh};

/// Runs a command in a virtual machine.
///
/// The command runs as root with the exchange folder at /host (outside: target/vm/NAME/share), the repository
/// read-only at /repo, `blksnap` and `stamp` in the path, and the modules ready for modprobe.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  cargo xtask vm --kernel 6.12 --disk 256M:a --disk 1G:b -- 'modprobe blksnap && lsblk'\n  \
                        cargo xtask vm --kernel 6.1 -- ./some-script.sh argument"
)]
pub(crate) struct Arguments {
    /// 6.1, 6.12, 7.3, or 6.1-debug, which is built when it is missing
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// A disk: SIZE\[:SERIAL\], found at /dev/disk/by-id/virtio-SERIAL; /dev/vda is the root, the first disk is /dev/vdb
    #[arg(long, value_name = "SIZE[:SERIAL]")]
    disk: Vec<String>,
    /// MiB of memory
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Seconds until the guest counts as hung
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// The run's name: its folder is target/vm/NAME
    #[arg(long, default_value = "adhoc")]
    name: String,
    /// More for the kernel's command line
    #[arg(long, default_value = "")]
    append: String,
    /// Take modules and programs as they are, or none
    #[arg(long)]
    no_build: bool,
    /// Print the kernel's log at the end
    #[arg(long)]
    dmesg: bool,
    /// Keep the disks' files
    #[arg(long)]
    keep: bool,
    /// The command: a script file on this machine with its arguments, or shell words
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs it; its exit code decides.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let setup = setup::ensure(false)?;
    let kernels = debug_kernel::chosen(&setup, std::slice::from_ref(&arguments.kernel))?;
    let kernel = kernels.first().context("no kernel")?;
    let mut list = Vec::new();
    if arguments.no_build {
        for program in ["blksnap", "stamp"] {
            let path = sh::target().join("release").join(program);
            if path.is_file() {
                list.push(path);
            }
        }
    } else {
        modules::build(&setup, std::slice::from_ref(kernel))?;
        list = programs::build()?;
    }
    let folder = modules::folder(kernel).join("guest");
    let disks = arguments
        .disk
        .iter()
        .enumerate()
        .map(|(i, text)| disk(i, text))
        .collect::<Result<Vec<_>>>()?;

    let claim = vm::claim(&arguments.name)?;
    let share = vm::share(&claim.name);
    fs::create_dir_all(&share)?;
    let first = Path::new(arguments.command.first().context("no command")?);
    let script = if first.is_file() {
        fs::copy(first, share.join("script"))?;
        let words: Vec<String> = arguments.command[1..].iter().map(|w| quote(w)).collect();
        format!("exec bash /host/script {}\n", words.join(" "))
    } else {
        format!("{}\n", arguments.command.join(" "))
    };
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: arguments.memory,
        cpus: arguments.cpus,
        timeout: Duration::from_secs(arguments.timeout),
        disks,
        append: arguments.append.clone(),
        script,
        programs: list,
        modules: folder.is_dir().then_some(folder),
        accel: Accel::Any,
        emulator: Vec::new(),
    };
    let outcome = vm::run(&setup, &spec, &mut |line, _| println!("{line}"))?;
    if arguments.dmesg {
        print!(
            "{}",
            String::from_utf8_lossy(&fs::read(outcome.dir.join("kernel.log"))?)
        );
    }
    if !arguments.keep {
        let _ = fs::remove_dir_all(outcome.dir.join("disks"));
    }
    sh::say(format!("the guest ran {:.1} s", outcome.seconds));
    match outcome.failure() {
        None => Ok(()),
        Some(failure) => bail!(failure),
    }
}

fn disk(index: usize, text: &str) -> Result<Disk> {
    let (size, serial) = match text.split_once(':') {
        Some((size, serial)) => (size, serial.to_owned()),
        None => (text, format!("disk{}", index + 1)),
    };
    Ok(Disk {
        serial,
        bytes: bytes(size).with_context(|| format!("{size} is no size; try 512M or 2G"))?,
        nvme: false,
    })
}

/// `512M`, `2G`, `4096`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()? {
        'K' | 'k' => (&text[..text.len() - 1], 10),
        'M' | 'm' => (&text[..text.len() - 1], 20),
        'G' | 'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A word for the shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
