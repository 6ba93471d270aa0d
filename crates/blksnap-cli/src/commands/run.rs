// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot run DEVICE… -- CMD`.
//!
//! The snapshot is bound to this process, whose descriptor the command does not inherit: however
//! this process ends, the snapshot ends with it. SIGTERM and SIGHUP are passed on to the
//! command; SIGINT comes to it from the terminal. Then its end is waited for.

use std::ffi::OsString;
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Result, Snapshot, SnapshotOptions};
use blksnap_backup::{Observer, store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::args::Storage;
use crate::commands::attached_devices;
use crate::output::{Output, time};
use crate::{exit, signals};

/// The command's process, while it runs.
static CHILD: AtomicI32 = AtomicI32::new(0);

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
    let code = execute(&devices, &snapshot, &images, command, output);
    if let Ok(Some(failure)) = snapshot.info().map(|info| info.failure()) {
        output.error(&failure.with_help("what the command read may be incomplete; give the storage more room with --store or --limit"));
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

fn prepare(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    storage: &Storage,
    output: &Output,
) -> Result<(Vec<BlockDevice>, Snapshot, Vec<PathBuf>)> {
    signals::each(pass_on)
        .map_err(|error| Error::new(ErrorKind::Io, "cannot catch signals").caused_by(error))?;
    let devices = attached_devices(blksnap, paths, output)?;
    let (place, _) = store::choose(&storage.store, blksnap, &devices, None);
    let options = SnapshotOptions {
        bound: true,
        store: place,
        limit_bytes: storage.limit,
        gate_timeout: None,
    };
    let mut snapshot = blksnap.create(&options)?;
    devices.iter().try_for_each(|device| snapshot.add(device))?;
    let info = snapshot.take()?;
    let mut images = Vec::new();
    for device in &devices {
        let lost = || {
            Error::new(
                ErrorKind::NoDevice,
                format!("{} went away", device.path().display()),
            )
        };
        images.push(device.image()?.ok_or_else(lost)?.path);
    }
    let pairs = devices.iter().zip(&images);
    let document = json!({
        "snapshot": info.id.to_string(),
        "gate_ns": u64::try_from(info.gate.as_nanos()).unwrap_or(u64::MAX),
        "images": pairs.clone().map(|(device, image)| json!({ "device": device.path(), "image": image })).collect::<Vec<_>>(),
    });
    output.result(&document, String::new);
    for (device, image) in pairs {
        output.screen().note(&format!(
            "{} is {} as of now, writes held for {}",
            image.display(),
            device.path().display(),
            time(info.gate)
        ));
    }
    Ok((devices, snapshot, images))
}

/// In the thread of signals.
fn pass_on(signal: i32) {
    let child = Pid::from_raw(CHILD.load(Ordering::SeqCst));
    let signal = match signal {
        signal_hook::consts::SIGTERM => Signal::TERM,
        signal_hook::consts::SIGHUP => Signal::HUP,
        // The terminal sends it to the command, too.
        _ => return,
    };
    if let Some(child) = child {
        let _ = kill_process(child, signal);
    }
}

fn execute(
    devices: &[BlockDevice],
    snapshot: &Snapshot,
    images: &[PathBuf],
    command: &[OsString],
    output: &Output,
) -> u8 {
    let mut process = Command::new(&command[0]);
    process
        .args(&command[1..])
        .envs(environment(devices, snapshot, images));
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => {
            let missing = error.kind() == IoErrorKind::NotFound;
            let context = format!("cannot run {}", Path::new(&command[0]).display());
            output.error(&Error::new(ErrorKind::Io, context).caused_by(error));
            return if missing {
                exit::NOT_FOUND
            } else {
                exit::NOT_EXECUTABLE
            };
        }
    };
    CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let status = child.wait();
    CHILD.store(0, Ordering::SeqCst);
    let code = status.ok().and_then(|status| {
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
    });
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(exit::FAILURE)
}

fn environment(
    devices: &[BlockDevice],
    snapshot: &Snapshot,
    images: &[PathBuf],
) -> Vec<(OsString, OsString)> {
    let mut all = OsString::new();
    let mut variables = vec![("BLKSNAP_SNAPSHOT".into(), snapshot.id().to_string().into())];
    for (at, (device, image)) in devices.iter().zip(images).enumerate() {
        if at > 0 {
            all.push(" ");
        }
        all.push(image);
        variables.push((format!("BLKSNAP_IMAGE_{at}").into(), image.into()));
        variables.push((format!("BLKSNAP_DEVICE_{at}").into(), device.path().into()));
        variables.push((
            format!("BLKSNAP_IMAGE_{}", variable(&device.facts().name)).into(),
            image.into(),
        ));
    }
    variables.push(("BLKSNAP_IMAGES".into(), all));
    variables
}

/// A device's name in a variable's.
fn variable(name: &str) -> String {
    name.chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect()
}
