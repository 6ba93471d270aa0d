// SPDX-License-Identifier: MIT OR Apache-2.0
//! One device of a backup: decide what to copy, copy it into a file that is not yet published.
//!
//! All devices of a backup are copied at the same time, each by a thread that writes and one
//! that reads ahead of it.

use std::thread;
use std::time::{Instant, SystemTime};

use blksnap::{
    BlockDevice, ChangeId, Error, ErrorKind, Image, Result, Snapshot, SnapshotInfo, Tracking,
};

use crate::folder::{Folder, Listing, Unpublished};
use crate::free::{Share, Unused};
use crate::job::Options;
use crate::layer::{CLUSTER_BYTES, LayerWriter, Written};
use crate::manifest::{Device, FORMAT, Manifest, Parent, Statistics, VERSION};
use crate::names::{BackupName, device_name};
use crate::observe::{Cancel, Observer};
use crate::plan::{Now, Plan, plan};
use crate::runs::Runs;
use crate::session::Subject;
use crate::source::Source;

/// One device on its way.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) device: &'a BlockDevice,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) attached_now: bool,
    pub(crate) tracking: Tracking,
    pub(crate) image: Image,
    pub(crate) plan: Plan,
    pub(crate) unused: Unused,
}

/// Decides what is copied of a device whose snapshot was taken.
pub(crate) fn prepare<'a>(
    (subject, identity, attached_now): (Subject<'a>, String, bool),
    snapshot: &Snapshot,
    listing: &Listing,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Work<'a>> {
    let device = subject.device();
    let lost = || {
        Error::new(
            ErrorKind::NoDevice,
            format!("{} went away", device.path().display()),
        )
    };
    let image = device.image_in(snapshot.id())?.ok_or_else(lost)?;
    let tracking = device.tracking()?.ok_or_else(lost)?;
    let name = device_name(&identity);
    let now = Now {
        name: name.clone(),
        identity: identity.clone(),
        size_bytes: tracking.size_bytes,
        change_id: ChangeId {
            number: image.number,
            ..tracking.change_id
        },
        just_attached: attached_now,
    };
    let plan = plan(
        options.mode,
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
    let unused = if options.request.all_blocks {
        Unused::nothing("all blocks were asked for")
    } else {
        subject.leave_out(snapshot, cluster_bytes(&tracking), observer)?
    };
    Ok(Work {
        device,
        name,
        identity,
        attached_now,
        tracking,
        image,
        plan,
        unused,
    })
}

/// Clusters are no larger than tracking blocks, so that a changed block is whole clusters and
/// nothing has to be read besides.
fn cluster_bytes(tracking: &Tracking) -> u64 {
    CLUSTER_BYTES.min(u64::from(tracking.block_size)).max(4096)
}

/// What copying needs beside the device.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Where it goes.
    pub(crate) folder: &'a Folder,
    /// The taken snapshot.
    pub(crate) info: &'a SnapshotInfo,
    /// Who hears of it.
    pub(crate) observer: &'a dyn Observer,
    /// The running kernel.
    pub(crate) kernel: &'a str,
}

/// Copies every device, each in a thread of its own.
///
/// When one fails, the others are told to stop, and its error is the one that counts.
pub(crate) fn copy_all(
    works: &[Work<'_>],
    context: Context<'_>,
    cancel: &Cancel,
) -> Result<Vec<(Unpublished, Manifest)>> {
    let part = &cancel.part();
    let results: Vec<_> = thread::scope(|scope| {
        let copy = |work| {
            let result = copy(work, context, part);
            if result.is_err() {
                part.cancel();
            }
            result
        };
        let threads: Vec<_> = works
            .iter()
            .map(|work| scope.spawn(move || copy(work)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("a copying thread does not panic")
        };
        threads.into_iter().map(join).collect()
    });
    let (done, mut failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    // Those that were merely told to stop come last.
    failed.sort_by_key(|result| {
        result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Interrupted)
    });
    failed.into_iter().chain(done).collect()
}

/// Copies one device into a file that is not yet published.
fn copy(work: &Work<'_>, context: Context<'_>, cancel: &Cancel) -> Result<(Unpublished, Manifest)> {
    let begun = Instant::now();
    let Work {
        device,
        plan,
        tracking,
        image,
        ..
    } = work;
    let size_bytes = tracking.size_bytes;
    let cluster_bytes = cluster_bytes(tracking);
    let now = &work.unused.extents;
    let (share, changed_bytes) = match &plan.parent {
        None => (Share::full(now, size_bytes), size_bytes),
        Some(parent) => {
            let changes = device
                .changes(parent.change())?
                .collect::<Result<Vec<_>>>()?;
            let changed = changes.iter().map(|extent| extent.length).sum();
            let then = parent.unused();
            (
                Share::increment(&changes, &then, now, cluster_bytes, size_bytes),
                changed,
            )
        }
    };
    let Share { read, zeros } = &share;
    let unpublished = context.folder.prepare(&work.name, plan.sequence, plan.kind);
    let parent_file = plan.parent.as_ref().map(|parent| parent.file.as_str());
    let mut writer =
        LayerWriter::create(&unpublished.image(), size_bytes, cluster_bytes, parent_file)?;
    let total: u64 = read.iter().map(|extent| extent.length).sum();
    let task = context
        .observer
        .task(&format!("{} {}", work.name, plan.kind), total);
    let source = Source::open(&image.path)?;
    let mut zeros = zeros.iter().peekable();
    let bytes_read = source.read_ahead(read, cancel, &mut |offset, data| {
        while let Some(zero) = zeros.next_if(|zero| zero.offset < offset) {
            writer.zeros(zero.offset, zero.length)?;
        }
        writer.write(offset, data)?;
        task.advance(data.len() as u64);
        Ok(())
    })?;
    drop(source);
    for zero in zeros {
        writer.zeros(zero.offset, zero.length)?;
    }
    let written = writer.finish()?;
    drop(task);
    let cost = device
        .image_in(context.info.id)?
        .unwrap_or_else(|| image.clone());
    let statistics = Statistics {
        bytes_read,
        bytes_written: written.file_bytes,
        changed_bytes,
        zero_bytes: written.zero_bytes,
        free_bytes: work.unused.bytes(),
        seconds: begun.elapsed().as_secs_f64(),
        gate_ns: nanoseconds(context.info),
        copy_reads: cost.copy_reads,
        copy_read_bytes: cost.copy_read_bytes,
        stores: cost.stores,
        store_bytes: cost.store_bytes,
        held: cost.held,
        memory_bytes: cost.memory_bytes + tracking.memory_bytes,
    };
    let manifest = work.manifest(context, written, statistics);
    Ok((unpublished, manifest))
}

impl Work<'_> {
    fn manifest(&self, context: Context<'_>, written: Written, statistics: Statistics) -> Manifest {
        let Work {
            device,
            plan,
            tracking,
            ..
        } = self;
        let name = BackupName {
            device: self.name.clone(),
            sequence: plan.sequence,
            kind: plan.kind,
        };
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            kind: plan.kind,
            reason: plan.reason.clone(),
            sequence: plan.sequence,
            file: name.image(),
            file_bytes: written.file_bytes,
            device: Device {
                name: self.name.clone(),
                path: device.path().display().to_string(),
                identity: self.identity.clone(),
                size_bytes: tracking.size_bytes,
            },
            change_id: ChangeId {
                number: self.image.number,
                ..tracking.change_id
            }
            .to_string(),
            parent: plan.parent.as_ref().map(|parent| Parent {
                file: parent.file.clone(),
                sequence: parent.sequence,
                change_id: parent.change_id.clone(),
                checksum: parent.checksum.total.clone(),
            }),
            cluster_bytes: cluster_bytes(tracking),
            tracking_block_bytes: u64::from(tracking.block_size),
            snapshot: context.info.id.to_string(),
            taken: utc(context.info.taken),
            free: Runs::new(&self.unused.extents, cluster_bytes(tracking)),
            checksum: written.checksum,
            statistics,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: context.kernel.to_owned(),
        }
    }
}

pub(crate) fn nanoseconds(info: &SnapshotInfo) -> u64 {
    u64::try_from(info.gate.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn utc(time: Option<SystemTime>) -> String {
    humantime::format_rfc3339_millis(time.unwrap_or_else(SystemTime::now)).to_string()
}
