// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `blksnap`: arguments, output and exit codes around the libraries.
//!
//! | module | what |
//! |---|---|
//! | [`args`] | the arguments and the help texts |
//! | `commands` | one file a command: ask the libraries, then say what came |
//! | [`exit`] | what each exit code means |
//! | `output` | tables, sizes, JSON, errors |
//! | `observer` | progress bars on a terminal, none in a pipe |
//! | `child` | another command run on the images |
//! | `signals` | SIGINT, SIGTERM, SIGHUP end the work tidily |
#![forbid(unsafe_code)]

pub mod args;
mod child;
mod commands;
pub mod exit;
mod observer;
mod output;
mod signals;

use std::process::ExitCode;

use blksnap::Blksnap;
use clap::Parser;

use crate::args::Arguments;
use crate::output::Output;

/// Runs the command with the arguments of this process; gives its exit code.
#[must_use]
pub fn run(blksnap: Blksnap) -> ExitCode {
    // Errors of usage end here, with code 2.
    let arguments = Arguments::parse();
    let output = Output::new(&arguments);
    let code = match commands::run(&blksnap, arguments, &output) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            exit::code(&error)
        }
    };
    ExitCode::from(code)
}
