// SPDX-License-Identifier: GPL-2.0-only
//! The programs that a guest is given: the command `blksnap`, the stamped load, and the library's example of the older interface.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::sh;

/// Packages, and where their programs are in the folder of what cargo builds.
const PROGRAMS: [(&str, &str); 3] = [
    ("blksnap-cli", "blksnap"),
    ("stamp", "stamp"),
    ("blksnap", "examples/upstream"),
];

/// Builds them (cargo knows what is up to date) and says where they are.
pub(crate) fn build() -> Result<Vec<PathBuf>> {
    let mut command = Command::new("nice");
    command.arg(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args(["build", "--quiet", "--release", "--bins"])
        .args(["--example", "upstream"])
        .current_dir(sh::root());
    for (package, _) in PROGRAMS {
        command.args(["--package", package]);
    }
    sh::run(&mut command)?;
    Ok(PROGRAMS
        .iter()
        .map(|(_, program)| sh::target().join("release").join(program))
        .collect())
}
