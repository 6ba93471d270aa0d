// SPDX-License-Identifier: GPL-2.0-only
//! Runs the cells of one kind of device on this machine itself, on disks made of memory by the kernel's own drivers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::cells::{Cell, Kind};
use super::exchange;
use super::measured::Measured;
use crate::setup::Setup;
use crate::{apt, host, sh};

/// What a run needs.
#[derive(Debug)]
pub(crate) struct Here {
    /// The folder of the modules for the running kernel.
    modules: PathBuf,
    /// The folder of the commands.
    programs: PathBuf,
    release: String,
}

/// Fails where nothing can be measured on this machine itself. Before anything is built.
pub(crate) fn possible() -> Result<()> {
    ensure!(
        host::can_load_modules(),
        "the kernel of this machine cannot load modules; `--machine tcg` (or kvm) measures in a guest"
    );
    Ok(())
}

impl Here {
    /// Builds the modules for the running kernel, and has the programs that the script needs.
    pub(crate) fn new(setup: &Setup, programs: &[PathBuf]) -> Result<Here> {
        let modules = host::build(setup)?;
        apt::host_packages(&[
            ("fio", "fio"),
            ("jq", "jq"),
            ("dmsetup", "dmsetup"),
            ("sqlite3", "sqlite3"),
            ("qemu-img", "qemu-utils"),
            ("mkfs.ext4", "e2fsprogs"),
            ("udevadm", "udev"),
        ])?;
        let programs = programs.first().and_then(|p| p.parent());
        Ok(Here {
            modules,
            programs: programs.context("no programs")?.to_owned(),
            release: host::release()?,
        })
    }

    /// The running kernel's.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// Runs them all.
    pub(crate) fn run(&self, kind: &Kind, cells: &[Cell]) -> Result<Vec<Measured>> {
        let share = sh::target().join("bench/host");
        exchange::prepare(&share, cells, |_| String::new())?;
        exchange::begin(kind, cells, &self.release);
        let mut child = self
            .command(kind, &share)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the script")?;
        let mut done = 0;
        for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
            exchange::line(&line.unwrap_or_default(), cells.len(), &mut done);
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("the script ended with {status}");
        }
        exchange::read(&share, cells)
    }

    fn command(&self, kind: &Kind, share: &Path) -> Command {
        let mut command = sh::privileged("env");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg(format!("SHARE={}", share.display()))
            .arg(format!("MODULES={}", self.modules.display()))
            .arg(format!(
                "PATH={}:{path}:/usr/sbin:/sbin",
                self.programs.display()
            ))
            .arg("bash")
            .arg(sh::root().join("tests/bench/run.sh"))
            .arg(kind.name);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::RAM;
    use super::*;

    #[test]
    fn the_script_is_told_where_everything_is() {
        let here = Here {
            modules: "/m".into(),
            programs: "/p".into(),
            release: "6".into(),
        };
        let command = here.command(&RAM, Path::new("/s"));
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        for word in ["SHARE=/s", "MODULES=/m", "bash", "ram"] {
            assert!(words.iter().any(|there| there == word), "{words:?}");
        }
        assert!(words.iter().any(|word| word.starts_with("PATH=/p:")));
    }
}
