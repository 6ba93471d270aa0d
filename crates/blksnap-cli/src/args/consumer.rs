// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap consumer …`.

use std::path::PathBuf;

use blksnap::ChangeId;
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Consumer {
    /// Set the base of a consumer, making it if there is none
    #[command(after_help = SET_EXAMPLES)]
    Set {
        /// A block device
        device: PathBuf,
        /// The consumer's name, at most 63 bytes
        name: String,
        /// The base: a change id [default: the device's last take]
        #[arg(long, value_name = "GEN/NUM")]
        to: Option<ChangeId>,
    },
    /// List consumers with their bases
    #[command(after_help = "Example:\n  blksnap consumer list /dev/vdb --json")]
    List {
        /// Block devices [default: all that are attached]
        #[arg(value_name = "DEVICE")]
        devices: Vec<PathBuf>,
    },
    /// Forget a consumer
    #[command(after_help = "Example:\n  blksnap consumer remove /dev/vdb nightly")]
    Remove {
        /// A block device
        device: PathBuf,
        /// The consumer's name
        name: String,
    },
}

const SET_EXAMPLES: &str = "\
Examples:
  blksnap consumer set /dev/vdb nightly                 from the last take on
  blksnap changes /dev/vdb --consumer nightly --json    what changed since, as of the last take
  blksnap consumer set /dev/vdb nightly --to 6b1f0c9e-…/42

Changes since a base that is kept stay exact however many takes follow. A detach, a resize or a
restart begins a new generation, and with it there are no consumers.";
