// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file a command: ask the libraries, then say what came.

mod attach;
mod backup;
mod changes;
mod consumer;
mod list;
mod mount;
mod prune;
mod restore;
mod snapshot;
mod status;
mod verify;

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Result};
use blksnap_backup::{Cancel, Observer};

use crate::args::{Arguments, Command};
use crate::output::Output;
use crate::signals;

/// Does what was asked; gives the exit code.
pub(crate) fn run(blksnap: &Blksnap, arguments: Arguments, output: &Output) -> Result<u8> {
    match arguments.command {
        Command::List => list::run(blksnap, output),
        Command::Attach(attach) => attach::attach(blksnap, &attach, output),
        Command::Detach(detach) => attach::detach(blksnap, &detach, output),
        Command::Snapshot(command) => snapshot::run(blksnap, command, output),
        Command::Consumer(command) => consumer::run(blksnap, command, output),
        Command::Changes(changes) => changes::run(blksnap, &changes, output),
        Command::Backup(backup) => backup::run(blksnap, &backup, output),
        Command::Restore(restore) => restore::run(&restore, output),
        Command::Verify(verify) => verify::run(&verify, output),
        Command::Prune(prune) => prune::run(&prune, output),
        Command::Version => status::version(blksnap, output),
        Command::Status(status) => status::status(blksnap, &status, output),
        Command::Mount(mount) => mount::mount(blksnap, &mount, output),
        Command::Umount { dir } => mount::umount(blksnap, &dir, output),
    }
}

/// A flag that SIGINT, SIGTERM and SIGHUP set.
fn cancel() -> Result<Cancel> {
    signals::cancel()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot catch signals").caused_by(error))
}

/// Opens devices, and attaches those that are not, saying so.
fn attached_devices(
    blksnap: &Blksnap,
    paths: &[std::path::PathBuf],
    output: &Output,
) -> Result<Vec<BlockDevice>> {
    let devices = paths
        .iter()
        .map(|path| blksnap.device(path))
        .collect::<Result<Vec<_>>>()?;
    let screen = output.screen();
    for device in &devices {
        if device.ensure_attached()? {
            screen.note(&format!(
                "attached {}: its changes are tracked from now on",
                device.path().display()
            ));
        }
    }
    Ok(devices)
}
