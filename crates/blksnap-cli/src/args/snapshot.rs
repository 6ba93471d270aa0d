// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot …`.

use std::ffi::OsString;
use std::path::PathBuf;

use blksnap::{Policy, SnapshotId};
use blksnap_backup::store::Choice;
use clap::{Args, Subcommand, ValueEnum};

use crate::output::parse_size;

/// What a snapshot stores, where, and what it does when that gets tight.
#[derive(Debug, Args)]
pub struct Storage {
    /// Where differences are stored meanwhile: auto, memory, or a file, folder or block device;
    /// given several times, the next when one is full
    #[arg(
        long = "store",
        value_name = "auto|memory|PATH",
        default_value = "auto"
    )]
    pub stores: Vec<Choice>,
    /// The most to store in each of them, such as 10G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: Option<u64>,
    /// What happens when old content comes faster than it can be stored, and its memory is full:
    /// writers wait, or the snapshot is given up
    #[arg(long, value_enum, default_value_t = PolicyName::Hold)]
    pub policy: PolicyName,
    /// That memory, such as 64M [default: the module's parameter copy_memory_kib]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub copy_memory: Option<u64>,
    /// Save also what a mounted file system does not use; else the images have zeros there
    #[arg(long)]
    pub all_blocks: bool,
}

/// `--policy`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PolicyName {
    /// Writers wait until there is room
    Hold,
    /// The snapshot fails, and writers go on
    GiveUp,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Hold => Self::Hold,
            PolicyName::GiveUp => Self::GiveUp,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Create a snapshot of devices; it lives until `snapshot destroy`
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Block devices; they may be in other snapshots, too
        #[arg(value_name = "DEVICE", required = true)]
        devices: Vec<PathBuf>,
        /// Where differences are stored
        #[command(flatten)]
        storage: Storage,
        /// Take it at once
        #[arg(long)]
        take: bool,
    },
    /// Take a created snapshot: all its devices at one instant
    #[command(
        after_help = "Example:\n  blksnap snapshot take 0b6c7f1e-5a52-4b0e-9d6e-6a3c1f0e2d11"
    )]
    Take {
        /// Its id
        id: SnapshotId,
        /// Save also what a mounted file system does not use; else the images have zeros there
        #[arg(long)]
        all_blocks: bool,
    },
    /// Say what is known of a snapshot, or of all: images, costs, storage, when that will be full
    #[command(
        after_help = "Examples:\n  blksnap snapshot info\n  blksnap snapshot info 0b6c7f1e-5a52-4b0e-9d6e-6a3c1f0e2d11 --json"
    )]
    Info {
        /// Its id [default: all snapshots]
        id: Option<SnapshotId>,
    },
    /// Give a snapshot more storage, also while it is held
    #[command(
        after_help = "Example:\n  blksnap snapshot grow 0b6c7f1e-5a52-4b0e-9d6e-6a3c1f0e2d11 --store /var/tmp --limit 20G"
    )]
    Grow {
        /// Its id
        id: SnapshotId,
        /// Where: auto, memory, or a file, folder or block device; may be given several times
        #[arg(long = "store", value_name = "auto|memory|PATH", required = true)]
        stores: Vec<Choice>,
        /// The most to store in each of them, such as 10G
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        limit: Option<u64>,
    },
    /// Say what happens to a snapshot, as it happens, until it ends
    #[command(
        after_help = "Example:\n  blksnap snapshot events 0b6c7f1e-5a52-4b0e-9d6e-6a3c1f0e2d11 --json\n\nWith --json each event is a document on a line of its own. Each event is told once, to one listener."
    )]
    Events {
        /// Its id
        id: SnapshotId,
    },
    /// Destroy snapshots
    #[command(
        after_help = "Example:\n  blksnap snapshot destroy 0b6c7f1e-5a52-4b0e-9d6e-6a3c1f0e2d11"
    )]
    Destroy {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<SnapshotId>,
    },
    /// List snapshots
    #[command(after_help = "Example:\n  blksnap snapshot list")]
    List,
    /// Take a snapshot, run a command on its images, and destroy it, whatever happens
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// Block devices; they may be in other snapshots, too
        #[arg(value_name = "DEVICE", required = true)]
        devices: Vec<PathBuf>,
        /// Where differences are stored
        #[command(flatten)]
        storage: Storage,
        /// The command and its arguments
        #[arg(last = true, value_name = "CMD", required = true)]
        command: Vec<OsString>,
    },
}

const CREATE_EXAMPLES: &str = "\
Examples:
  blksnap snapshot create --take /dev/vda /dev/vdb
  blksnap snapshot create --take /dev/vda --store memory --limit 1G --store /var/tmp
  id=$(blksnap snapshot create /dev/vdb --json | jq -r .id); blksnap snapshot take $id

What a mounted ext4 or XFS did not use at the take reads as zeros from its image and is not saved
when it is overwritten; --all-blocks saves it, too.";

const RUN_EXAMPLES: &str = "\
Examples:
  blksnap snapshot run /dev/vdb -- sh -c 'cat $BLKSNAP_IMAGE_0 > vdb.raw'
  blksnap snapshot run /dev/vda1 /dev/vdb -- restic backup --stdin-from-command …

In the command's environment:
  BLKSNAP_SNAPSHOT     the snapshot's id
  BLKSNAP_IMAGES       all image paths, with spaces between, in the order of the devices
  BLKSNAP_IMAGE_0 …    one each, in the same order; BLKSNAP_DEVICE_0 … the devices
  BLKSNAP_IMAGE_vdb …  one each, by the device's name (other characters than letters and digits: _)

The exit code is that of the command; 125 if it was not run, 126 if it cannot be executed, 127 if
there is none, 128+N if signal N ended it, and 5 if it was 0 but the snapshot failed. With --json, what is said about the snapshot goes to
stderr, as stdout is the command's.";
