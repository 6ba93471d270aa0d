// SPDX-License-Identifier: GPL-2.0-only
//! Every automation of blk-snap. The root Makefile's targets only call it; `cargo xtask help` lists the commands.

mod apt;
mod cache;
mod guest;
mod klog;
mod modules;
mod programs;
mod setup;
mod sh;
mod test_command;
mod tools;
mod vm;
mod vm_command;

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
    /// Builds the kernel modules, for every kernel or those named
    Modules {
        /// A kernel: 6.1, 6.12 or 7.3
        #[arg(long)]
        kernel: Vec<String>,
    },
    /// Runs every test; the last line is the count
    Test(test_command::Arguments),
    /// Runs a command in a virtual machine with the freshly built modules and commands
    Vm(vm_command::Arguments),
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
        Action::Modules { kernel } => {
            let setup = setup::ensure(false)?;
            modules::build(&setup, &setup.chosen(&kernel)?)?;
            sh::say("the modules are in target/modules");
            Ok(())
        }
        Action::Test(arguments) => {
            if !test_command::run(&arguments)? {
                // The count is the last word.
                std::process::exit(1);
            }
            Ok(())
        }
        Action::Vm(arguments) => vm_command::run(&arguments),
    }
}
