// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backup from beginning to end: attach, snapshot, plan, copy, publish.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Instant, SystemTime};

use blksnap::{
    Blksnap, BlockDevice, Error, ErrorKind, Extent, Image, Result, Snapshot, SnapshotInfo,
    SnapshotOptions, Tracking,
};
use serde::Serialize;

use crate::extents::widen;
use crate::folder::{Folder, Listing, Unpublished};
use crate::layer::{CLUSTER_BYTES, LayerWriter};
use crate::manifest::{Device, FORMAT, Manifest, Parent, Statistics, VERSION};
use crate::names::{Kind, device_name};
use crate::observe::{Cancel, Observer};
use crate::plan::{Mode, Now, Plan, plan};
use crate::source::Source;
use crate::store::{self, Choice};

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Full, differential, or by itself.
    pub mode: Mode,
    /// Where differences are stored meanwhile.
    pub store: Choice,
    /// The most bytes of them.
    pub limit_bytes: Option<u64>,
    /// Attach also legs of other devices.
    pub force: bool,
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
    /// Figures.
    #[serde(flatten)]
    pub statistics: Statistics,
}

/// One device on its way.
#[derive(Debug)]
struct Work<'a> {
    device: &'a BlockDevice,
    name: String,
    identity: String,
    attached_now: bool,
    tracking: Tracking,
    image: Image,
    plan: Plan,
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
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Report> {
    let begun = Instant::now();
    let devices = open(blksnap, paths)?;
    let names = names(&devices);
    let folder = Folder::open_to_write(to)?;
    for line in folder.recover()? {
        observer.note(&line);
    }
    if store::is_on(blksnap, to, &devices) {
        observer.warn(&format!("{} is on a device that is being backed up; restoring from it will not be possible if that device is lost", to.display()));
    }
    let listing = folder.list()?;
    let attached = attach(&devices, options.force, observer)?;
    cancel.check()?;

    let (place, store) = store::choose(&options.store, blksnap, &devices, Some(to));
    let request = SnapshotOptions {
        bound: true,
        store: place,
        limit_bytes: options.limit_bytes,
        gate_timeout: None,
    };
    let mut snapshot = blksnap.create(&request)?;
    for device in &devices {
        snapshot.add(device)?;
    }
    let info = snapshot.take()?;
    observer.note(&format!(
        "took {} of {} at one instant, writes held for {:.3} ms; differences go to {store}",
        if devices.len() == 1 {
            "a snapshot"
        } else {
            "one snapshot"
        },
        devices
            .iter()
            .map(|device| device.path().display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
        info.gate.as_secs_f64() * 1e3,
    ));
    cancel.check()?;

    let mut works = Vec::new();
    for ((device, identity), attached_now) in devices.iter().zip(names).zip(attached) {
        works.push(prepare(
            device,
            identity,
            attached_now,
            &listing,
            options.mode,
            observer,
        )?);
    }
    let done = copy_all(&works, &folder, &info, observer, cancel, blksnap)
        .map_err(|error| explain(&snapshot, error))?;
    let end = snapshot.info()?;
    if let Some(failure) = end.failure() {
        return Err(failure);
    }
    snapshot.destroy()?;

    let devices = works
        .iter()
        .zip(&done)
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
        seconds: begun.elapsed().as_secs_f64(),
        kernel: blksnap.door().kernel_release(),
        devices,
    })
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
fn names(devices: &[BlockDevice]) -> Vec<String> {
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
fn attach(devices: &[BlockDevice], force: bool, observer: &dyn Observer) -> Result<Vec<bool>> {
    let mut attached = Vec::new();
    for device in devices {
        let now = device.tracking()?.is_none();
        if now {
            if force {
                device.attach_anyway()?
            } else {
                device.attach()?
            }
            observer.note(&format!(
                "attached {}: its changes are tracked from now on",
                device.path().display()
            ));
        }
        attached.push(now);
    }
    Ok(attached)
}

fn prepare<'a>(
    device: &'a BlockDevice,
    identity: String,
    attached_now: bool,
    listing: &Listing,
    mode: Mode,
    observer: &dyn Observer,
) -> Result<Work<'a>> {
    let lost = || {
        Error::new(
            ErrorKind::NoDevice,
            format!("{} went away", device.path().display()),
        )
    };
    let image = device.image()?.ok_or_else(lost)?;
    let tracking = device.tracking()?.ok_or_else(lost)?;
    let name = device_name(&identity);
    let mut change_id = tracking.change_id;
    change_id.number = image.number;
    let now = Now {
        name: name.clone(),
        identity: identity.clone(),
        size_bytes: tracking.size_bytes,
        change_id,
        just_attached: attached_now,
    };
    let plan = plan(
        mode,
        listing.devices.get(&name).map_or(&[], Vec::as_slice),
        &now,
    )?;
    let line = format!(
        "{}: {} backup, because {}",
        device.path().display(),
        plan.kind,
        plan.reason
    );
    if plan.fallback {
        observer.warn(&line)
    } else {
        observer.note(&line)
    }
    Ok(Work {
        device,
        name,
        identity,
        attached_now,
        tracking,
        image,
        plan,
    })
}

/// Each device in a thread of its own.
fn copy_all(
    works: &[Work<'_>],
    folder: &Folder,
    info: &SnapshotInfo,
    observer: &dyn Observer,
    cancel: &Cancel,
    blksnap: &Blksnap,
) -> Result<Vec<(Unpublished, Manifest)>> {
    let part = cancel.part();
    thread::scope(|scope| {
        let threads: Vec<_> = works
            .iter()
            .map(|work| {
                scope.spawn(|| {
                    let result = copy(
                        work,
                        folder,
                        info,
                        observer,
                        &part,
                        &blksnap.door().kernel_release(),
                    );
                    if result.is_err() {
                        // The others need not go on.
                        part.cancel();
                    }
                    result
                })
            })
            .collect();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a copying thread does not panic"))
            .collect();
        // The one that failed first is the one that was not merely told to stop.
        let (mut done, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(finished) => done.push(finished),
                Err(error) => errors.push(error),
            }
        }
        errors.sort_by_key(|error| error.kind() == ErrorKind::Interrupted);
        errors.into_iter().next().map_or(Ok(done), Err)
    })
}

/// Copies one device into a file that is not yet published.
fn copy(
    work: &Work<'_>,
    folder: &Folder,
    info: &SnapshotInfo,
    observer: &dyn Observer,
    cancel: &Cancel,
    kernel: &str,
) -> Result<(Unpublished, Manifest)> {
    let begun = Instant::now();
    let Work {
        device,
        plan,
        tracking,
        image,
        ..
    } = work;
    let size_bytes = tracking.size_bytes;
    let cluster_bytes = CLUSTER_BYTES.min(u64::from(tracking.block_size)).max(4096);
    let (extents, changed_bytes) = match &plan.parent {
        None => (
            vec![Extent {
                offset: 0,
                length: size_bytes,
            }],
            size_bytes,
        ),
        Some(parent) => {
            let changes = device
                .changes(parent.change())?
                .collect::<Result<Vec<_>>>()?;
            let changed = changes.iter().map(|extent| extent.length).sum();
            (widen(&changes, cluster_bytes, size_bytes), changed)
        }
    };
    let unpublished = folder.prepare(&work.name, plan.sequence, plan.kind);
    let parent_file = plan.parent.as_ref().map(|parent| parent.file.as_str());
    let mut writer =
        LayerWriter::create(&unpublished.image(), size_bytes, cluster_bytes, parent_file)?;
    let total: u64 = extents.iter().map(|extent| extent.length).sum();
    let task = observer.task(&format!("{} {}", work.name, plan.kind), total);
    let bytes_read =
        Source::open(&image.path)?.read_ahead(&extents, cancel, &mut |offset, data| {
            writer.write(offset, data)?;
            task.advance(data.len() as u64);
            Ok(())
        })?;
    let written = writer.finish()?;
    drop(task);
    let cost = device.image()?.unwrap_or_else(|| image.clone());
    let statistics = Statistics {
        bytes_read,
        bytes_written: written.file_bytes,
        changed_bytes,
        zero_bytes: written.zero_bytes,
        seconds: begun.elapsed().as_secs_f64(),
        gate_ns: nanoseconds(info),
        copy_reads: cost.copy_reads,
        copy_read_bytes: cost.copy_read_bytes,
        stores: cost.stores,
        store_bytes: cost.store_bytes,
        held: cost.held,
        memory_bytes: cost.memory_bytes + tracking.memory_bytes,
    };
    let mut change_id = tracking.change_id;
    change_id.number = image.number;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        kind: plan.kind,
        reason: plan.reason.clone(),
        sequence: plan.sequence,
        file: crate::names::BackupName {
            device: work.name.clone(),
            sequence: plan.sequence,
            kind: plan.kind,
        }
        .image(),
        file_bytes: written.file_bytes,
        device: Device {
            name: work.name.clone(),
            path: device.path().display().to_string(),
            identity: work.identity.clone(),
            size_bytes,
        },
        change_id: change_id.to_string(),
        parent: plan.parent.as_ref().map(|parent| Parent {
            file: parent.file.clone(),
            sequence: parent.sequence,
            change_id: parent.change_id.clone(),
            checksum: parent.checksum.total.clone(),
        }),
        cluster_bytes,
        tracking_block_bytes: u64::from(tracking.block_size),
        snapshot: info.id.to_string(),
        taken: utc(info.taken),
        checksum: written.checksum,
        statistics,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel.to_owned(),
    };
    Ok((unpublished, manifest))
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
        statistics: manifest.statistics,
    }
}

fn nanoseconds(info: &SnapshotInfo) -> u64 {
    u64::try_from(info.gate.as_nanos()).unwrap_or(u64::MAX)
}

fn utc(time: Option<SystemTime>) -> String {
    humantime::format_rfc3339_millis(time.unwrap_or_else(SystemTime::now)).to_string()
}
