// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments, and the help texts with their examples.

mod consumer;
mod snapshot;

use std::path::PathBuf;

use blksnap::ChangeId;
use clap::{Args, Parser, Subcommand};

pub use consumer::Consumer;
pub use snapshot::{PolicyName, Snapshot, Storage};

/// Snapshots, changed block tracking and backups of live block devices, on stock kernels.
#[derive(Debug, Parser)]
#[command(name = "blksnap", version, propagate_version = true, after_help = TOP_EXAMPLES, after_long_help = TOP_LONG)]
pub struct Arguments {
    /// Say the result as one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing on the way: no notes, no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  blksnap backup /dev/vdb --to /backup        full the first time, then only what changed
  blksnap verify /backup
  blksnap restore /backup /dev/vdc
  blksnap snapshot run /dev/vdb -- sh -c 'dd if=$BLKSNAP_IMAGE_0 bs=1M | zstd > vdb.zst'

`blksnap --help` tells the exit codes.";

const TOP_LONG: &str = "\
Examples:
  blksnap backup /dev/vdb --to /backup        full the first time, then only what changed
  blksnap verify /backup
  blksnap restore /backup /dev/vdc
  blksnap snapshot run /dev/vdb -- sh -c 'dd if=$BLKSNAP_IMAGE_0 bs=1M | zstd > vdb.zst'

Exit codes:
  0    done
  1    failed
  2    the arguments make no sense; nothing was done
  3    the kernel modules are not loaded or too old, or root is needed
  4    a backup is damaged or incomplete
  5    the snapshot failed while it was used (its storage overflowed); the device is unharmed
  6    refused for safety; --force may allow it
  130  ended by SIGINT (143: SIGTERM, 129: SIGHUP); nothing incomplete is left behind
`snapshot run` exits with the code of its command; 125 if that was not run, 126 if it cannot be
executed, 127 if there is none, 128+N if signal N ended it; 5 if that was 0 but the snapshot failed.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List attached devices
    #[command(after_help = "Example:\n  blksnap list --json | jq -r '.devices[].change_id'")]
    List,
    /// Attach devices: from now on their changes are tracked
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(Attach),
    /// Detach devices: their changes are no longer tracked, and the next backup is a full one
    #[command(after_help = "Example:\n  blksnap detach /dev/vdb1")]
    Detach(Devices),
    /// Create, take and destroy snapshots, or run a command on one
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Keep named bases of a device's changes, one for each who asks for them
    #[command(subcommand)]
    Consumer(Consumer),
    /// Say which extents of a device changed, as of its last take
    #[command(after_help = CHANGES_EXAMPLES)]
    Changes(Changes),
    /// Back up live devices, all of one instant, into a folder
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Restore a backup to a block device or a raw file, verifying it on the way
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Verify backups: files, chains, checksums
    #[command(
        after_help = "Examples:\n  blksnap verify /backup\n  blksnap verify /backup/vdb.000007.incr.qcow2   this one and all it rests on\n\nExits with 4 when something is damaged."
    )]
    Verify(Verify),
    /// Remove old backups, and nothing that a kept one rests on
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(Prune),
    /// Say the versions of this program, the module and the kernel
    #[command(after_help = "Example:\n  blksnap version --json")]
    Version,
    /// Say whether the modules are loaded, and what they hold: devices, snapshots, memory
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Mount the image of a snapshot, read-only unless told otherwise
    #[command(after_help = MOUNT_EXAMPLES)]
    Mount(Mount),
    /// Unmount what `mount` mounted
    #[command(after_help = "Example:\n  blksnap umount /mnt")]
    Umount {
        /// Where it is mounted
        dir: PathBuf,
    },
}

const ATTACH_EXAMPLES: &str = "\
Examples:
  blksnap attach /dev/vda /dev/vdb1
  blksnap attach --force /dev/sdb        though /dev/md0 is made of it

What an active LVM, device-mapper, RAID or bcache device is made of is refused: a snapshot of the
part is seldom what is wanted. It lacks what the device above has not written yet, several parts are
of one instant only in one snapshot, and what is sent as requests (multipath) is not seen at all.";

const CHANGES_EXAMPLES: &str = "\
Examples:
  blksnap changes /dev/vdb                              since its tracking began
  blksnap changes /dev/vdb --since 6b1f0c9e-…/41 --json since take 41, for a program
  blksnap changes /dev/vdb --since '*'                  everything: the whole device
  blksnap changes /dev/vdb --consumer nightly           since the base of a consumer

A change id is GENERATION/NUMBER; `blksnap list`, the manifest of a backup and `until` in the
JSON have them. Take it as opaque text. After a detach, a resize or a restart the generation is
another, and the answer is an error: then everything counts as changed.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  blksnap backup /dev/vda /dev/vdb --to /backup
  blksnap backup /dev/vdb --to /backup --differential
  blksnap backup /dev/vdb --to /backup --store /var/tmp --limit 20G
  blksnap backup /dev/vdb --to /backup --exec 'sha256sum < $BLKSNAP_IMAGE_0 > /backup/vdb.sha256'

Each device gets NAME.NUMBER.KIND.qcow2, which any QEMU tool opens as the whole device, and a
.json with checksums. The first is full; then an incremental follows whenever the newest backup
in the folder is whole and of the same generation of change tracking; the reason is always said.
A device that is not attached is attached. What is in the folder is whole or not there.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  blksnap restore /backup /dev/vdc                        the newest backup
  blksnap restore /backup disk.raw --device vdb --point 3 backup 3 of several devices'
  blksnap restore /backup/vdb.000003.incr.qcow2 disk.raw  the same

A device in use, or of another size, and a file that exists, are refused without --force.";

const STATUS_EXAMPLES: &str = "\
Examples:
  blksnap status
  blksnap status --watch             a live screen: fill of the storage, rates, time to full
  blksnap status --watch --json      a document a line every two seconds
  blksnap status --metrics > /var/lib/node_exporter/blksnap.prom

Exits with 3 when the modules are not loaded.";

const MOUNT_EXAMPLES: &str = "\
Examples:
  blksnap mount /dev/blksnap-image0 /mnt
  blksnap mount /dev/vdb /mnt            the newest image of this device
  blksnap mount --write /dev/vdb /mnt    what is written goes to the snapshot's storage

It mounts beside the original, also where the file system has an id that is there twice then (XFS,
btrfs). Destroying the snapshot needs it unmounted.";

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Go on saying it until interrupted, with rates
    #[arg(long, short)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2.0,
        requires = "watch"
    )]
    pub interval: f64,
    /// As OpenMetrics text
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    pub metrics: bool,
}

/// `mount`.
#[derive(Debug, Args)]
pub struct Mount {
    /// An image, or a device: then its newest image
    pub image: PathBuf,
    /// An existing folder
    pub dir: PathBuf,
    /// Allow writing; it changes the image, never the device
    #[arg(long)]
    pub write: bool,
    /// More options for mount(8)
    #[arg(long, short, value_name = "OPTIONS")]
    pub options: Option<String>,
}

/// Devices.
#[derive(Debug, Args)]
pub struct Devices {
    /// Block devices
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<PathBuf>,
}

/// `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Block devices
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<PathBuf>,
    /// Also what an active LVM, device-mapper, RAID or bcache device is made of
    #[arg(long)]
    pub force: bool,
}

/// `changes`.
#[derive(Debug, Args)]
pub struct Changes {
    /// A block device
    pub device: PathBuf,
    /// Since which take: a change id, or * for everything [default: since tracking began]
    #[arg(long, value_name = "GEN/NUM|*", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// Since the base of this consumer
    #[arg(long, value_name = "NAME", conflicts_with = "since")]
    pub consumer: Option<String>,
    /// Begin at this byte of the device: `next` of an earlier answer
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub start: u64,
    /// Say at most so many extents; `next` in the JSON tells where to go on
    #[arg(long, value_name = "N")]
    pub max: Option<usize>,
}

/// `--since`.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    /// `*`.
    Everything,
    /// A change id.
    Take(ChangeId),
}

impl Since {
    fn parse(text: &str) -> Result<Self, blksnap::Error> {
        if text == "*" {
            Ok(Self::Everything)
        } else {
            text.parse().map(Self::Take)
        }
    }
}

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Block devices; all are of one instant
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<PathBuf>,
    /// The folder of backups; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Make full backups
    #[arg(long, conflicts_with = "differential")]
    pub full: bool,
    /// Back up what changed since the newest full backup
    #[arg(long)]
    pub differential: bool,
    /// Where differences are stored
    #[command(flatten)]
    pub storage: Storage,
    /// Run this by the shell when all is written and the images are still there, with the
    /// environment of `snapshot run`; its failure fails the backup
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// A folder of backups, or one of its files
    #[arg(value_name = "DIR|FILE")]
    pub from: PathBuf,
    /// The block device or raw file to write
    pub target: PathBuf,
    /// Whose backup, by its name in file names [default: the only one there is]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Which backup, by its number in file names [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    pub point: Option<u64>,
    /// Overwrite a device in use or of a larger size, or a file that exists
    #[arg(long)]
    pub force: bool,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  blksnap prune /backup --keep 7              the newest seven of each device
  blksnap prune /backup --keep 7 --dry-run    say what would go

What a kept increment rests on stays, too: full backups now and then let the chains before them go.";

/// `prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// A folder of backups
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// How many backups of each device to keep, at least
    #[arg(long, value_name = "N")]
    pub keep: usize,
    /// Only backups of this device, by its name in file names
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// A folder of backups, or one of its files
    #[arg(value_name = "DIR|FILE")]
    pub from: PathBuf,
    /// Only backups of this device, by its name in file names
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

impl Arguments {
    /// Whether stdout belongs to another command.
    #[must_use]
    pub fn runs_a_command(&self) -> bool {
        matches!(self.command, Command::Snapshot(Snapshot::Run { .. }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_has_the_exit_codes() {
        assert!(TOP_LONG.ends_with(crate::exit::HELP));
        assert!(TOP_LONG.starts_with(TOP_EXAMPLES.split("\n\n").next().unwrap()));
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    help.contains("Example"),
                    "{} has no example",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
