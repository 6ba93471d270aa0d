// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backup from beginning to end: attach, snapshot, plan, copy, publish.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Result, Snapshot};
use serde::Serialize;

use crate::copy::{Context, Work, copy_all, nanoseconds, prepare, utc};
use crate::folder::{Folder, Listing};
use crate::manifest::{Manifest, Statistics};
use crate::names::{Kind, device_name};
use crate::observe::{Cancel, Observer};
use crate::plan::Mode;
use crate::session::{self, Request, Subject};
use crate::store;

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full, differential, or by itself.
    pub mode: Mode,
    /// The snapshot.
    pub request: Request,
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
        observer, cancel, ..
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

    let request = &options.request;
    let (snapshot, store) = request.create(blksnap, &devices, Some(to), true)?;
    let job = Job {
        blksnap,
        options,
        company,
        folder: &folder,
        listing: &listing,
        store,
        begun,
    };
    let (watched, id) = (blksnap.clone(), snapshot.id());
    thread::scope(|scope| {
        // It ends with the snapshot, and that with `run`, however it returns.
        scope.spawn(move || session::watch(&watched, id, observer));
        job.run(snapshot, &devices, identities, attached)
    })
}

/// A backup whose snapshot is there.
struct Job<'a> {
    blksnap: &'a Blksnap,
    options: &'a Options,
    company: Company<'a>,
    folder: &'a Folder,
    listing: &'a Listing,
    store: String,
    begun: Instant,
}

impl Job<'_> {
    fn run(
        self,
        mut snapshot: Snapshot,
        devices: &[BlockDevice],
        identities: Vec<String>,
        attached: Vec<bool>,
    ) -> Result<Report> {
        let Self {
            blksnap,
            options,
            company,
            folder,
            listing,
            store,
            begun,
        } = self;
        let Company {
            observer,
            cancel,
            while_held,
        } = company;
        let subjects = Subject::of(devices)?;
        let info = session::take(blksnap, &mut snapshot, devices, &store, observer)?;
        cancel.check()?;

        let works = subjects
            .into_iter()
            .zip(identities)
            .zip(attached)
            .map(|((subject, identity), attached)| {
                prepare(
                    (subject, identity, attached),
                    &snapshot,
                    listing,
                    options,
                    observer,
                )
            })
            .collect::<Result<Vec<_>>>()
            .map_err(|error| session::explain(&snapshot, error))?;
        let kernel = blksnap.door().kernel_release();
        let context = Context {
            folder,
            info: &info,
            observer,
            kernel: &kernel,
        };
        let done = copy_all(&works, context, cancel)
            .map_err(|error| session::explain(&snapshot, error))?;
        let besides = match while_held {
            Some(call) => {
                let images: Vec<_> = works.iter().map(|work| work.image.path.clone()).collect();
                let begun = Instant::now();
                call(Held {
                    snapshot: &snapshot,
                    devices,
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
            .map(|(work, (_, manifest))| report(work, manifest, folder))
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
