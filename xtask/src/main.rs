// SPDX-License-Identifier: GPL-2.0-only
//! Every automation of blk-snap. The root Makefile's targets only call it; `cargo xtask help` lists the commands.

mod accel;
mod apt;
mod bench;
mod cache;
mod check_command;
mod debug_kernel;
mod demo_command;
mod guest;
mod guest_tests;
mod host;
mod hunt_command;
mod klog;
mod modules;
mod programs;
mod seeded_faults;
mod setup;
mod sh;
mod test_command;
mod tools;
mod tsc;
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
        /// A kernel: 6.1, 6.12, 7.3 or 6.1-debug
        #[arg(long)]
        kernel: Vec<String>,
    },
    /// Backs up two live disks, restores and proves them: the main job, shown
    Demo(demo_command::Arguments),
    /// Formatting, lints, the layer rule, licences, documentation
    Check,
    /// Installs the modules for the running kernel, and the command, on this machine
    Install {
        /// Take them off again
        #[arg(long)]
        remove: bool,
    },
    /// Removes target/ (the cache stays, unless asked)
    Clean {
        /// The cache too
        #[arg(long)]
        cache: bool,
    },
    /// Runs every test; the last line is the count
    Test(test_command::Arguments),
    /// Runs the core in the simulator: seeds, steps or seconds as it takes them
    Sim {
        /// Options of the simulator (`-- --help` lists them)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Builds the seeded defects one after the other, and has the simulator find each (about 7 minutes)
    Mutants,
    /// Measures, in a virtual machine whose clock counts instructions
    Bench(bench::Arguments),
    /// Tries every decoder on inputs made by a machine (libFuzzer)
    Fuzz(hunt_command::Fuzz),
    /// Runs the crates' tests under the address sanitizer
    Sanitize,
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

fn cargo(arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(arguments).current_dir(sh::root());
    command
}

fn run(action: Action) -> Result<()> {
    match action {
        Action::Setup { refresh } => setup::ensure(refresh).map(drop),
        Action::Modules { kernel } => {
            let setup = setup::ensure(false)?;
            modules::build(&setup, &debug_kernel::chosen(&setup, &kernel)?)?;
            sh::say("the modules are in target/modules");
            Ok(())
        }
        Action::Check => check_command::run(),
        Action::Fuzz(arguments) => hunt_command::fuzz(&arguments),
        Action::Sanitize => hunt_command::sanitize(),
        Action::Demo(arguments) => demo_command::run(&arguments),
        Action::Install { remove: true } => host::remove(),
        Action::Install { remove: false } => host::install(&setup::ensure(false)?),
        Action::Clean { cache } => {
            if cache {
                cache::remove_tree(&cache::dir()?)?;
            }
            cache::remove_tree(&sh::target())
        }
        Action::Sim { options } => {
            let mut command = cargo(&[
                "run",
                "--quiet",
                "--release",
                "--package",
                "blksnap_sim",
                "--",
            ]);
            sh::run(command.args(options))
        }
        Action::Mutants => sh::run(&mut cargo(&[
            "test",
            "--package",
            "blksnap_sim",
            "--test",
            "mutants",
            "--",
            "--ignored",
        ])),
        Action::Test(arguments) => {
            if !test_command::run(&arguments)? {
                // The count is the last word.
                std::process::exit(1);
            }
            Ok(())
        }
        Action::Bench(arguments) => bench::run(&arguments),
        Action::Vm(arguments) => vm_command::run(&arguments),
    }
}
