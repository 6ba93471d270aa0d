// SPDX-License-Identifier: GPL-2.0-only
//! Every automation of blk-snap. The root Makefile's targets only call it; `cargo xtask help` lists the commands.

mod apt;
mod cache;
mod guest;
mod setup;
mod sh;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every automation of blk-snap")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes the tools tree and the guest in the cache (other commands do it by themselves)
    Setup {
        /// Ask the archive for newer kernels
        #[arg(long)]
        refresh: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<()> {
    match action {
        Action::Setup { refresh } => setup::ensure(refresh).map(drop),
    }
}
