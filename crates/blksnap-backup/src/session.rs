// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot of several devices, as every command makes one: choose the storage, create, add, take,
//! leave out what file systems do not use, and hear of what happens meanwhile.

use std::fs;
use std::path::Path;
use std::time::Duration;

use blksnap::{
    Blksnap, BlockDevice, Error, ErrorKind, Event, Mounted, Policy, Result, Snapshot, SnapshotId,
    SnapshotInfo, SnapshotOptions,
};
use rustix::fs::syncfs;

use crate::free::{Unused, leave_out};
use crate::observe::Observer;
use crate::store::{self, Choice};

/// How a snapshot is made.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where differences are stored; the next when one is full. None is [`Choice::Auto`].
    pub stores: Vec<Choice>,
    /// The most bytes of them, in each place.
    pub limit_bytes: Option<u64>,
    /// What happens when copies that are not yet stored fill their memory.
    pub policy: Policy,
    /// That memory in bytes; `None` is the module's own bound.
    pub copy_memory_bytes: Option<u64>,
    /// Whether what a file system does not use is saved, too.
    pub all_blocks: bool,
}

impl Request {
    /// Creates a snapshot of attached devices; says where differences are stored, and why there.
    /// `folder` is where backups go, if they do.
    ///
    /// # Errors
    ///
    /// Those of [`Blksnap::create`] and [`Snapshot::add`]; then there is no snapshot.
    pub fn create(
        &self,
        blksnap: &Blksnap,
        devices: &[BlockDevice],
        folder: Option<&Path>,
        bound: bool,
    ) -> Result<(Snapshot, String)> {
        let auto = [Choice::Auto];
        let choices = if self.stores.is_empty() {
            &auto[..]
        } else {
            &self.stores
        };
        let chosen: Vec<_> = choices
            .iter()
            .map(|choice| store::choose(choice, self.limit_bytes, blksnap, devices, folder))
            .collect();
        let why: Vec<_> = chosen.iter().map(|chosen| chosen.why.clone()).collect();
        let options = SnapshotOptions {
            bound,
            stores: chosen.into_iter().map(|chosen| chosen.storage).collect(),
            gate_timeout: None,
            policy: self.policy,
            copy_memory_bytes: self.copy_memory_bytes,
        };
        let mut snapshot = blksnap.create(&options)?;
        if let Err(error) = devices.iter().try_for_each(|device| snapshot.add(device)) {
            // Nothing half made is left behind; the first error is the one that matters.
            let _ = snapshot.destroy();
            return Err(error);
        }
        Ok((snapshot, why.join(", then ")))
    }
}

/// A device of a snapshot that is about to be taken.
#[derive(Debug)]
pub struct Subject<'a> {
    device: &'a BlockDevice,
    mounted: Option<Mounted>,
}

impl<'a> Subject<'a> {
    /// Looks at devices before the take.
    ///
    /// # Errors
    ///
    /// The list of mounts cannot be read.
    pub fn of(devices: &'a [BlockDevice]) -> Result<Vec<Self>> {
        let one = |device: &'a BlockDevice| {
            let mounted = device.mounted()?;
            Ok(Self { device, mounted })
        };
        devices.iter().map(one).collect()
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &'a BlockDevice {
        self.device
    }

    /// After the take: hands in what the file system did not use, in ranges of whole `unit` bytes.
    ///
    /// # Errors
    ///
    /// The snapshot failed. That nothing can be left out is told in the answer.
    pub fn leave_out(
        &self,
        snapshot: &Snapshot,
        unit: u64,
        observer: &dyn Observer,
    ) -> Result<Unused> {
        leave_out(snapshot, self.device, self.mounted.as_ref(), unit, observer)
    }
}

/// Has file systems on the devices write out what they hold. The take freezes those that it
/// finds, which is quick then; btrfs it does not find, and this is what such an image has.
fn write_out(blksnap: &Blksnap, devices: &[BlockDevice]) {
    let mounts = blksnap.door().mounts().unwrap_or_default();
    let same = |device: &BlockDevice, source: &Path| {
        let real = |path: &Path| fs::canonicalize(path).ok();
        real(source).is_some_and(|source| real(device.path()) == Some(source))
    };
    for mount in mounts {
        let of = |device: &BlockDevice| {
            device.facts().number == mount.number || same(device, &mount.source)
        };
        if devices.iter().any(of)
            && let Ok(root) = fs::File::open(&mount.point)
        {
            // Should it fail, the take says so.
            let _ = syncfs(&root);
        }
    }
}

/// Takes a snapshot.
///
/// # Errors
///
/// Those of [`Snapshot::take`].
pub fn take(
    blksnap: &Blksnap,
    snapshot: &mut Snapshot,
    devices: &[BlockDevice],
    store: &str,
    observer: &dyn Observer,
) -> Result<SnapshotInfo> {
    write_out(blksnap, devices);
    let info = snapshot.take()?;
    let names: Vec<_> = devices
        .iter()
        .map(|device| device.path().display().to_string())
        .collect();
    observer.note(&format!(
        "took {} of {}, writes held for {:.3} ms; differences go to {store}",
        if names.len() == 1 {
            "a snapshot"
        } else {
            "one snapshot at one instant"
        },
        names.join(", "),
        info.gate.as_secs_f64() * 1e3,
    ));
    Ok(info)
}

/// Warns when the storage gets low, until the snapshot ends.
pub fn watch(blksnap: &Blksnap, id: SnapshotId, observer: &dyn Observer) {
    let Ok(snapshot) = blksnap.snapshot(id) else {
        return;
    };
    loop {
        match snapshot.wait_event(Duration::from_secs(10)) {
            Ok(Some(event @ Event::LowSpace { .. })) => {
                let id = snapshot.id();
                observer.warn(&format!(
                    "{}; give it more: blksnap snapshot grow {id} --store PATH",
                    describe(&event)
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// An event in words.
#[must_use]
pub fn describe(event: &Event) -> String {
    match event {
        Event::Corrupted { device, error } => {
            let cause = std::io::Error::from_raw_os_error(error.saturating_neg());
            format!("the snapshot of {device} failed: {cause}")
        }
        Event::NoSpace { requested_sectors } => format!(
            "the difference storage is full ({} KiB were wanted)",
            requested_sectors / 2
        ),
        Event::LowSpace {
            used,
            limit,
            full_in,
        } => {
            let mib = |bytes: &u64| bytes >> 20;
            let when = full_in.map_or_else(String::new, |full_in| {
                format!(", full in {} s as it fills now", full_in.as_secs())
            });
            format!(
                "the difference storage gets low: {} of {} MiB used{when}",
                mib(used),
                mib(limit)
            )
        }
        other => format!("{other:?}"),
    }
}

/// The failure of the snapshot where that is why something failed.
pub fn explain(snapshot: &Snapshot, error: Error) -> Error {
    if error.kind() == ErrorKind::Interrupted {
        return error;
    }
    snapshot
        .info()
        .ok()
        .and_then(|info| info.failure())
        .unwrap_or(error)
}
