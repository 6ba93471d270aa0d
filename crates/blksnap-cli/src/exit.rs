// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each exit code means. `blksnap --help` and the documentation show this table.

use blksnap::{Error, ErrorKind};

/// Done.
pub const OK: u8 = 0;
/// Failed for a reason without a code of its own.
pub const FAILURE: u8 = 1;
/// The arguments make no sense; nothing was done. (Also what clap exits with.)
pub const USAGE: u8 = 2;
/// The kernel modules are not loaded, are too old, or root is needed.
pub const UNAVAILABLE: u8 = 3;
/// A backup is damaged or incomplete.
pub const DAMAGED: u8 = 4;
/// The snapshot failed while it was used, for example because its storage overflowed.
pub const SNAPSHOT_FAILED: u8 = 5;
/// Refused for safety; `--force` may allow it.
pub const REFUSED: u8 = 6;
/// `snapshot run`: the command was not run.
pub const NOT_RUN: u8 = 125;
/// `snapshot run`: the command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// `snapshot run`: there is no such command.
pub const NOT_FOUND: u8 = 127;
/// Ended by SIGINT.
pub const INTERRUPTED: u8 = 130;

/// The table, as the help shows it.
pub const HELP: &str = "\
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

/// The code of an error.
#[must_use]
pub fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::ModuleMissing | ErrorKind::Unsupported | ErrorKind::NotPermitted => UNAVAILABLE,
        ErrorKind::Invalid => USAGE,
        ErrorKind::Damaged => DAMAGED,
        ErrorKind::Overflow | ErrorKind::SnapshotFailed => SNAPSHOT_FAILED,
        ErrorKind::Refused | ErrorKind::Leg => REFUSED,
        ErrorKind::Interrupted => crate::signals::code(),
        _ => FAILURE,
    }
}
