// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `blksnap` on the simulated kernel in the folder `$BLKSNAP_FAKE`.

use std::process::ExitCode;
use std::sync::Arc;

use blksnap::Blksnap;
use blksnap_fake::FakeKernel;

fn main() -> ExitCode {
    let Some(root) = std::env::var_os("BLKSNAP_FAKE") else {
        eprintln!("set BLKSNAP_FAKE to the folder of a simulated kernel");
        return ExitCode::FAILURE;
    };
    blksnap_cli::run(Blksnap::with_door(Arc::new(FakeKernel::new(root))))
}
