// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot create | take | info | destroy | list`; `run` has a file of its own.

use std::path::PathBuf;

use blksnap::{Blksnap, Image, Result, SnapshotId, SnapshotInfo, SnapshotOptions, State};
use blksnap_backup::store;
use serde_json::{Value, json};

use crate::args::{Snapshot, Storage};
use crate::commands::{attached_devices, run as execution};
use crate::exit;
use crate::output::{Output, size, table, time};

pub(crate) fn run(blksnap: &Blksnap, command: Snapshot, output: &Output) -> Result<u8> {
    match command {
        Snapshot::Create {
            devices,
            storage,
            take,
        } => create(blksnap, &devices, &storage, take, output)?,
        Snapshot::Take { id } => {
            blksnap.snapshot(id)?.take()?;
            show(blksnap, id, output)?;
        }
        Snapshot::Info { id } => show(blksnap, id, output)?,
        Snapshot::Destroy { ids } => destroy(blksnap, &ids, output)?,
        Snapshot::List => list(blksnap, output)?,
        Snapshot::Run {
            devices,
            storage,
            command,
        } => {
            return Ok(execution::run(
                blksnap, &devices, &storage, &command, output,
            ));
        }
    }
    Ok(exit::OK)
}

fn create(
    blksnap: &Blksnap,
    paths: &[PathBuf],
    storage: &Storage,
    take: bool,
    output: &Output,
) -> Result<()> {
    let devices = attached_devices(blksnap, paths, output)?;
    let (place, _) = store::choose(&storage.store, blksnap, &devices, None);
    let options = SnapshotOptions {
        bound: false,
        stores: vec![place],
        limit_bytes: storage.limit,
        ..SnapshotOptions::default()
    };
    let mut snapshot = blksnap.create(&options)?;
    let id = snapshot.id();
    let fill = || -> Result<()> {
        devices.iter().try_for_each(|device| snapshot.add(device))?;
        if take {
            snapshot.take().map(drop)
        } else {
            Ok(())
        }
    };
    if let Err(error) = { fill }() {
        // Nothing half made is left behind; the first error is the one that matters.
        let _ = blksnap.snapshot(id).and_then(blksnap::Snapshot::destroy);
        return Err(error);
    }
    show(blksnap, id, output)
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

fn list(blksnap: &Blksnap, output: &Output) -> Result<()> {
    let infos = blksnap.snapshots()?;
    let document = json!({ "snapshots": infos.iter().map(value).collect::<Vec<_>>() });
    output.result(&document, || text(&infos));
    Ok(())
}

/// One snapshot with its devices and images.
fn show(blksnap: &Blksnap, id: SnapshotId, output: &Output) -> Result<()> {
    let info = blksnap.snapshot(id)?.info()?;
    let mut images: Vec<(String, Option<Image>)> = Vec::new();
    for attached in blksnap
        .attached()?
        .into_iter()
        .filter(|device| device.snapshot == Some(id))
    {
        let path = attached
            .path
            .unwrap_or_else(|| PathBuf::from(attached.number.to_string()));
        // The image of a failed snapshot is an error, which the snapshot's own state tells.
        let image = blksnap
            .device(&path)
            .ok()
            .and_then(|device| device.image().ok().flatten());
        images.push((path.display().to_string(), image));
    }
    let mut document = value(&info);
    document["images"] = images
        .iter()
        .map(|(device, image)| image_value(device, image.as_ref()))
        .collect();
    output.result(&document, || detail(&info, &images));
    Ok(())
}

/// A snapshot as JSON.
pub(crate) fn value(info: &SnapshotInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "state": info.state.as_str(),
        "error": info.failure().map(|failure| failure.chain()),
        "devices": info.devices,
        "gate_ns": u64::try_from(info.gate.as_nanos()).unwrap_or(u64::MAX),
        "taken": info.taken.map(|taken| humantime::format_rfc3339_millis(taken).to_string()),
        "store_capacity_bytes": info.store_capacity,
        "store_used_bytes": info.store_used,
        "store_limit_bytes": info.store_limit,
        "memory_bytes": info.memory_bytes,
    })
}

fn image_value(device: &str, image: Option<&Image>) -> Value {
    let Some(image) = image else {
        return json!({ "device": device, "image": null });
    };
    json!({
        "device": device,
        "image": image.path,
        "number": image.number,
        "copy_reads": image.copy_reads,
        "copy_read_bytes": image.copy_read_bytes,
        "stores": image.stores,
        "store_bytes": image.store_bytes,
        "held": image.held,
        "image_reads": image.image_reads,
        "image_writes": image.image_writes,
        "saved_blocks": image.saved_blocks,
        "memory_bytes": image.memory_bytes,
    })
}

/// Snapshots as a table.
pub(crate) fn text(infos: &[SnapshotInfo]) -> String {
    if infos.is_empty() {
        return "there is no snapshot\n".to_owned();
    }
    let rows: Vec<_> = infos
        .iter()
        .map(|info| {
            vec![
                info.id.to_string(),
                info.state.as_str().to_owned(),
                info.devices.to_string(),
                taken(info),
                fill(info),
            ]
        })
        .collect();
    table(&["ID", "STATE", ">DEVICES", "TAKEN", "STORE"], &rows)
}

fn taken(info: &SnapshotInfo) -> String {
    info.taken.map_or_else(
        || "-".to_owned(),
        |taken| humantime::format_rfc3339_seconds(taken).to_string(),
    )
}

fn fill(info: &SnapshotInfo) -> String {
    let limit = if info.store_limit == 0 {
        String::new()
    } else {
        format!(", at most {}", size(info.store_limit))
    };
    format!(
        "{} of {}{limit}",
        size(info.store_used),
        size(info.store_capacity)
    )
}

fn detail(info: &SnapshotInfo, images: &[(String, Option<Image>)]) -> String {
    let mut text = format!("snapshot  {}\nstate     {}\n", info.id, info.state.as_str());
    if let Some(failure) = info.failure() {
        text += &format!("failure   {}\n", failure.chain());
    }
    if info.state != State::Created {
        text += &format!(
            "taken     {}, writes held for {}\n",
            taken(info),
            time(info.gate)
        );
    }
    text += &format!(
        "store     {}\nmemory    {}\n\n",
        fill(info),
        size(info.memory_bytes)
    );
    let rows: Vec<_> = images
        .iter()
        .map(|(device, image)| match image {
            None => vec![device.clone(), "-".to_owned()],
            Some(image) => vec![
                device.clone(),
                image.path.display().to_string(),
                image.saved_blocks.to_string(),
                format!("{} in {}", size(image.copy_read_bytes), image.copy_reads),
                format!("{} in {}", size(image.store_bytes), image.stores),
                image.held.to_string(),
            ],
        })
        .collect();
    text + &table(
        &[
            "DEVICE",
            "IMAGE",
            ">SAVED BLOCKS",
            ">COPIED",
            ">STORED",
            ">WRITES HELD",
        ],
        &rows,
    )
}
