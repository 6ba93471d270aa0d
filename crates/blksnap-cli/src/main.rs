// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `blksnap`, on the running kernel.

use std::process::ExitCode;

fn main() -> ExitCode {
    blksnap_cli::run(blksnap::Blksnap::new())
}
