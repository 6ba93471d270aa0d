// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot run DEVICE… -- CMD`.
//!
//! The snapshot is bound to this process: however it ends, the snapshot ends with it.

use std::ffi::OsString;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Result, Snapshot};
use blksnap_backup::{Held, Observer, session};
use serde_json::json;

use super::{request, taken};
use crate::args::Storage;
use crate::commands::attached_devices;
use crate::output::Output;
use crate::{child, exit, signals};

pub(crate) fn run(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    storage: &Storage,
    command: &[OsString],
    output: &Output,
) -> u8 {
    let (devices, snapshot, images) = match prepare(blksnap, paths, storage, output) {
        Ok(ready) => ready,
        Err(error) => {
            output.error(&error);
            return exit::NOT_RUN;
        }
    };
    let held = Held {
        snapshot: &snapshot,
        devices: &devices,
        images: &images,
    };
    // It ends with the snapshot.
    let (watched, id, screen) = (blksnap.clone(), snapshot.id(), output.screen());
    thread::spawn(move || session::watch(&watched, id, &screen));
    let code = execute(held, command, output);
    if let Ok(Some(failure)) = snapshot.info().map(|info| info.failure()) {
        output.error(&failure.with_help(
            "what the command read may be incomplete; give the storage more room with --store or --limit",
        ));
        return if code == exit::OK {
            exit::SNAPSHOT_FAILED
        } else {
            code
        };
    }
    // Dropping the handle destroys it in any case; this says what went wrong.
    if let Err(error) = snapshot.destroy() {
        output.error(&error);
    }
    code
}

/// What is there while the command runs.
type Ready = (Vec<BlockDevice>, Snapshot, Vec<PathBuf>);

fn prepare(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    storage: &Storage,
    output: &Output,
) -> Result<Ready> {
    signals::each(child::pass_on)
        .map_err(|error| Error::new(ErrorKind::Io, "cannot catch signals").caused_by(error))?;
    let devices = attached_devices(blksnap, paths, output)?;
    let (mut snapshot, store) = request(storage).create(blksnap, &devices, None, true)?;
    let unused = taken(
        blksnap,
        &mut snapshot,
        &devices,
        &store,
        storage.all_blocks,
        output,
    )?;
    let info = snapshot.info()?;
    let (mut images, mut values) = (Vec::new(), Vec::new());
    for (device, unused) in devices.iter().zip(unused) {
        let path = device.path();
        let lost = || Error::new(ErrorKind::NoDevice, format!("{} went away", path.display()));
        let image = device.image_in(info.id)?.ok_or_else(lost)?.path;
        output.screen().note(&format!(
            "{} is {} as of now",
            image.display(),
            path.display()
        ));
        values.push(json!({
            "device": path,
            "image": image,
            "free_bytes": unused.bytes(),
            "free_reason": unused.reason,
        }));
        images.push(image);
    }
    let document = json!({
        "snapshot": info.id.to_string(),
        "gate_ns": u64::try_from(info.gate.as_nanos()).unwrap_or(u64::MAX),
        "store": store,
        "images": values,
    });
    output.result(&document, String::new);
    Ok((devices, snapshot, images))
}

fn execute(held: Held<'_>, command: &[OsString], output: &Output) -> u8 {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]).envs(child::environment(held));
    child::run(&mut process).unwrap_or_else(|error| {
        let missing = error.kind() == IoErrorKind::NotFound;
        let context = format!("cannot run {}", Path::new(&command[0]).display());
        output.error(&Error::new(ErrorKind::Io, context).caused_by(error));
        if missing {
            exit::NOT_FOUND
        } else {
            exit::NOT_EXECUTABLE
        }
    })
}
