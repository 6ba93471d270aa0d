// SPDX-License-Identifier: GPL-2.0-only
//! A load of stamped sectors, and the proof of an image against it.
//!
//! Each sector that is written carries its number, the number of its write, the time and a checksum; a journal keeps
//! when each write began and ended. `prove` then says whether images could be the state of their devices at one
//! instant; `delta` compares what change tracking reported with the true difference of two images.
//!
//! ```text
//! stamp load /dev/vdb --direct --journal a.journal --stop stop &
//! … take a snapshot, read its image, touch stop …
//! stamp prove /dev/blksnap-image0:a.journal
//! ```

mod delta;
mod journal;
mod load;
mod proof;
mod sector;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(about = "A load of stamped sectors, and the proof of an image against it")]
enum Command {
    Load(load::Load),
    Prove(proof::Prove),
    Delta(delta::Delta),
    /// Prints the nanoseconds of CLOCK_MONOTONIC
    Now,
}

fn main() -> ExitCode {
    let result: Result<()> = match Command::parse() {
        Command::Load(load) => load.run(),
        Command::Prove(prove) => prove.run(),
        Command::Delta(delta) => delta.run(),
        Command::Now => {
            println!("{}", load::now_ns());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stamp: {error:#}");
            ExitCode::FAILURE
        }
    }
}
