// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backup from beginning to end: attach, snapshot, plan, copy, publish.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blksnap::{
    Blksnap, BlockDevice, Error, ErrorKind, Result, Snapshot, SnapshotInfo, SnapshotOptions,
};
use serde::Serialize;

use crate::copy::{Context, Subject, Work, copy_all, nanoseconds, prepare, utc};
use crate::folder::Folder;
use crate::manifest::{Manifest, Statistics};
use crate::names::{Kind, device_name};
use crate::observe::{Cancel, Observer};
use crate::plan::Mode;
use crate::store::{self, Choice};

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full, differential, or by itself.
    pub mode: Mode,
    /// Where differences are stored meanwhile.
    pub store: Choice,
    /// The most bytes of them, in each place.
    pub limit_bytes: Option<u64>,
    /// Whether what a file system does not use is saved and backed up, too.
    pub all_blocks: bool,
}

/// What a backup came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The snapshot, by which backups of one instant are known.
    pub snapshot: String,
    /// The instant, in UTC.
    pub taken: String,
    /// How long the take held writes.
    pub gate_ns: u64,
    /// Where differences were stored.
    pub store: String,
    /// How much of that was used.
    pub store_used_bytes: u64,
    /// Kernel memory of the snapshot at the end.
    pub memory_bytes: u64,
    /// From the first step to the last.
    pub seconds: f64,
    /// The running kernel.
    pub kernel: String,
    /// Each device.
    pub devices: Vec<DeviceReport>,
}

/// What a backup of one device came to.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Its name in file names.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Full, incremental or differential.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// The number of the backup.
    pub sequence: u64,
    /// The image.
    pub file: PathBuf,
    /// The manifest.
    pub manifest: PathBuf,
    /// The image's backing file.
    pub parent: Option<String>,
    /// The instant, as change tracking knows it.
    pub change_id: String,
    /// Whether this run attached the device.
    pub attached_now: bool,
    /// Why the space that its file system does not use was backed up, too; else it was left out.
    pub free_reason: Option<String>,
    /// Figures.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// What is held while a backup is made: the snapshot, the devices, and the image of each.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The taken snapshot.
    pub snapshot: &'a Snapshot,
    /// The devices.
    pub devices: &'a [BlockDevice],
    /// The image of each, in the same order.
    pub images: &'a [PathBuf],
}

/// Does something with the images of a backup.
pub type WhileHeld<'a> = dyn Fn(Held<'_>) -> Result<()> + 'a;

/// Who goes along with a backup.
#[derive(Clone, Copy)]
pub struct Company<'a> {
    /// Hears of it.
    pub observer: &'a dyn Observer,
    /// Can end it.
    pub cancel: &'a Cancel,
    /// Called once everything is written, while the images are still there; its error fails the
    /// backup.
    pub while_held: Option<&'a WhileHeld<'a>>,
}

impl<'a> Company<'a> {
    /// An observer and a way to end it.
    #[must_use]
    pub fn new(observer: &'a dyn Observer, cancel: &'a Cancel) -> Self {
        Self {
            observer,
            cancel,
            while_held: None,
        }
    }
}

/// Backs up `devices`, all of one instant, into the folder `to`.
///
/// # Errors
///
/// Nothing is left in `to`, no snapshot is left behind, and the devices are unharmed.
pub fn backup(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    to: &Path,
    options: &Options,
    company: Company<'_>,
) -> Result<Report> {
    let Company {
        observer,
        cancel,
        while_held,
    } = company;
    let begun = Instant::now();
    let devices = open(blksnap, paths)?;
    let identities = identities(&devices);
    let folder = Folder::open_to_write(to)?;
    for line in folder.recover()? {
        observer.note(&line);
    }
    if store::is_on(blksnap, to, &devices) {
        let to = to.display();
        observer.warn(&format!(
            "{to} is on a device that is being backed up, and is lost with it"
        ));
    }
    let listing = folder.list()?;
    let attached = attach(&devices, observer)?;
    cancel.check()?;

    let (place, store) = store::choose(&options.store, blksnap, &devices, Some(to));
    let request = SnapshotOptions {
        stores: vec![place],
        limit_bytes: options.limit_bytes,
        ..SnapshotOptions::bound()
    };
    let mut snapshot = blksnap.create(&request)?;
    devices.iter().try_for_each(|device| snapshot.add(device))?;
    let subjects = devices.iter().zip(identities).zip(attached);
    let subjects = subjects
        .map(|((device, identity), attached_now)| {
            Ok(Subject {
                device,
                identity,
                attached_now,
                mounted: device.mounted()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let info = snapshot.take()?;
    observer.note(&taken(&devices, &info, &store));
    cancel.check()?;

    let works = subjects
        .into_iter()
        .map(|subject| prepare(subject, &snapshot, &listing, options, observer))
        .collect::<Result<Vec<_>>>()
        .map_err(|error| explain(&snapshot, error))?;
    let kernel = blksnap.door().kernel_release();
    let context = Context {
        folder: &folder,
        info: &info,
        observer,
        kernel: &kernel,
    };
    let done = copy_all(&works, context, cancel).map_err(|error| explain(&snapshot, error))?;
    let besides = match while_held {
        Some(call) => {
            let images: Vec<_> = works.iter().map(|work| work.image.path.clone()).collect();
            let begun = Instant::now();
            call(Held {
                snapshot: &snapshot,
                devices: &devices,
                images: &images,
            })?;
            begun.elapsed()
        }
        None => Duration::ZERO,
    };
    let end = snapshot.info()?;
    if let Some(failure) = end.failure() {
        return Err(failure);
    }
    snapshot.destroy()?;

    let reports = works.iter().zip(&done);
    let devices = reports
        .map(|(work, (_, manifest))| report(work, manifest, &folder))
        .collect();
    cancel.check()?;
    folder.publish(done)?;
    Ok(Report {
        snapshot: info.id.to_string(),
        taken: utc(info.taken),
        gate_ns: nanoseconds(&info),
        store,
        store_used_bytes: end.store_used,
        memory_bytes: end.memory_bytes,
        seconds: begun.elapsed().saturating_sub(besides).as_secs_f64(),
        kernel,
        devices,
    })
}

fn taken(devices: &[BlockDevice], info: &SnapshotInfo, store: &str) -> String {
    let names: Vec<_> = devices
        .iter()
        .map(|device| device.path().display().to_string())
        .collect();
    format!(
        "took {} of {}, writes held for {:.3} ms; differences go to {store}",
        if names.len() == 1 {
            "a snapshot"
        } else {
            "one snapshot at one instant"
        },
        names.join(", "),
        info.gate.as_secs_f64() * 1e3,
    )
}

fn open(blksnap: &Blksnap, paths: &[PathBuf]) -> Result<Vec<BlockDevice>> {
    let devices = paths
        .iter()
        .map(|path| blksnap.device(path))
        .collect::<Result<Vec<_>>>()?;
    for (at, device) in devices.iter().enumerate() {
        if let Some(same) = devices[..at]
            .iter()
            .find(|other| other.facts().number == device.facts().number)
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{} and {} are the same device",
                    same.path().display(),
                    device.path().display()
                ),
            ));
        }
    }
    Ok(devices)
}

/// The identities files are named by: where two devices claim the same, the kernel's names.
fn identities(devices: &[BlockDevice]) -> Vec<String> {
    let shared = |identity: &str| {
        devices
            .iter()
            .filter(|device| device_name(&device.facts().identity) == device_name(identity))
            .count()
            > 1
    };
    devices
        .iter()
        .map(|device| {
            let facts = device.facts();
            if shared(&facts.identity) {
                format!("kernel:{}", facts.name)
            } else {
                facts.identity.clone()
            }
        })
        .collect()
}

/// Attaches what is not; says which.
fn attach(devices: &[BlockDevice], observer: &dyn Observer) -> Result<Vec<bool>> {
    let mut attached = Vec::new();
    for device in devices {
        let now = device.ensure_attached()?;
        if now {
            observer.note(&format!(
                "attached {}: its changes are tracked from now on",
                device.path().display()
            ));
        }
        attached.push(now);
    }
    Ok(attached)
}

/// An I/O error from an image is the failure of its snapshot, where that failed.
fn explain(snapshot: &Snapshot, error: Error) -> Error {
    if error.kind() == ErrorKind::Interrupted {
        return error;
    }
    snapshot
        .info()
        .ok()
        .and_then(|info| info.failure())
        .unwrap_or(error)
}

fn report(work: &Work<'_>, manifest: &Manifest, folder: &Folder) -> DeviceReport {
    let json = manifest.file.replace(".qcow2", ".json");
    DeviceReport {
        name: work.name.clone(),
        path: work.device.path().to_owned(),
        size_bytes: work.tracking.size_bytes,
        kind: manifest.kind,
        reason: manifest.reason.clone(),
        sequence: manifest.sequence,
        file: folder.file(&manifest.file),
        manifest: folder.file(&json),
        parent: manifest.parent.as_ref().map(|parent| parent.file.clone()),
        change_id: manifest.change_id.clone(),
        attached_now: work.attached_now,
        free_reason: work.unused.reason.clone(),
        statistics: manifest.statistics,
    }
}
