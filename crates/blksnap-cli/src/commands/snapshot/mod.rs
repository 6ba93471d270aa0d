// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot create | take | info | grow | events | destroy | list | run`.

mod events;
mod run;
pub(crate) mod show;

use std::path::{Path, PathBuf};

use blksnap::{Blksnap, BlockDevice, Result, Snapshot as Handle, SnapshotId};
use blksnap_backup::session::{self, Request, Subject};
use blksnap_backup::{Observer, Unused, store};
use serde_json::{Value, json};

use crate::args::{Snapshot, Storage};
use crate::commands::attached_devices;
use crate::exit;
use crate::output::Output;

/// Free space is left out in blocks of this size, in which old content is saved.
const BLOCK_BYTES: u64 = 4096;

pub(crate) fn run(blksnap: &Blksnap, command: Snapshot, output: &Output) -> Result<u8> {
    match command {
        Snapshot::Create {
            devices,
            storage,
            take,
        } => create(blksnap, &devices, &storage, take, output)?,
        Snapshot::Take { id, all_blocks } => {
            let devices = members(blksnap, id)?;
            let mut snapshot = blksnap.snapshot(id)?;
            let unused = taken(
                blksnap,
                &mut snapshot,
                &devices,
                "its storage",
                all_blocks,
                output,
            )?;
            say(blksnap, id, &unused, output)?;
        }
        Snapshot::Info { id } => show::run(blksnap, id, output)?,
        Snapshot::Grow { id, stores, limit } => {
            let devices = members(blksnap, id)?;
            let snapshot = blksnap.snapshot(id)?;
            for choice in &stores {
                let chosen = store::choose(choice, limit, blksnap, &devices, None);
                snapshot.add_store(&chosen.storage)?;
                let note = format!("differences also go to {}", chosen.why);
                output.screen().note(&note);
            }
            show::run(blksnap, Some(id), output)?;
        }
        Snapshot::Events { id } => return events::run(blksnap, id, output),
        Snapshot::Destroy { ids } => destroy(blksnap, &ids, output)?,
        Snapshot::List => show::list(blksnap, output)?,
        Snapshot::Run {
            devices,
            storage,
            command,
        } => return Ok(run::run(blksnap, &devices, &storage, &command, output)),
    }
    Ok(exit::OK)
}

/// What the options ask for.
pub(crate) fn request(storage: &Storage) -> Request {
    Request {
        stores: storage.stores.clone(),
        limit_bytes: storage.limit,
        policy: storage.policy.into(),
        copy_memory_bytes: storage.copy_memory,
        all_blocks: storage.all_blocks,
    }
}

fn create(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    storage: &Storage,
    take: bool,
    output: &Output,
) -> Result<()> {
    let devices = attached_devices(blksnap, paths, output)?;
    let (mut snapshot, store) = request(storage).create(blksnap, &devices, None, false)?;
    let id = snapshot.id();
    if !take {
        let note = format!("differences will go to {store}");
        output.screen().note(&note);
        return say(blksnap, id, &[], output);
    }
    match taken(
        blksnap,
        &mut snapshot,
        &devices,
        &store,
        storage.all_blocks,
        output,
    ) {
        Ok(unused) => say(blksnap, id, &unused, output),
        Err(error) => {
            // Nothing half made is left behind; the first error is the one that matters.
            let _ = snapshot.destroy();
            Err(error)
        }
    }
}

/// Takes a snapshot, and leaves out what file systems do not use; of each device, in order.
fn taken(
    blksnap: &Blksnap,
    snapshot: &mut Handle,
    devices: &[BlockDevice],
    store: &str,
    all_blocks: bool,
    output: &Output,
) -> Result<Vec<Unused>> {
    let subjects = Subject::of(devices)?;
    let screen = output.screen();
    session::take(blksnap, snapshot, devices, store, &screen)?;
    let unused = subjects.iter().map(|subject| {
        if all_blocks {
            Ok(Unused::nothing("all blocks were asked for"))
        } else {
            subject.leave_out(snapshot, BLOCK_BYTES, &screen)
        }
    });
    unused
        .collect::<Result<Vec<_>>>()
        .map_err(|error| session::explain(snapshot, error))
}

/// Shows one snapshot, and why free space was not left out.
fn say(blksnap: &Blksnap, id: SnapshotId, unused: &[Unused], output: &Output) -> Result<()> {
    let (mut document, text) = show::one(blksnap, id)?;
    let images = document["images"].as_array_mut();
    for (image, unused) in images.into_iter().flatten().zip(unused) {
        image["free_reason"] = unused.reason.clone().map_or(Value::Null, Value::String);
    }
    output.result(&document, || text);
    Ok(())
}

/// The devices of a snapshot, opened.
fn members(blksnap: &Blksnap, id: SnapshotId) -> Result<Vec<BlockDevice>> {
    let members = blksnap.snapshot(id)?.members()?;
    members
        .iter()
        .map(|member| blksnap.device(Path::new(&member.shown())))
        .collect()
}

fn destroy(blksnap: &Blksnap, ids: &[SnapshotId], output: &Output) -> Result<()> {
    let mut text = String::new();
    for id in ids {
        blksnap.snapshot(*id)?.destroy()?;
        text += &format!("destroyed {id}\n");
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    output.result(&json!({ "destroyed": ids }), || text);
    Ok(())
}
