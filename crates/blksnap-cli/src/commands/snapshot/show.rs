// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots as JSON and as text.

use std::time::Duration;

use blksnap::{Blksnap, Image, Member, Result, SnapshotId, SnapshotInfo, State};
use serde_json::{Value, json};

use crate::output::{Output, size, table, time};

/// A device of a snapshot, and its image once there is one.
pub(crate) type Part = (Member, Option<Image>);

/// `snapshot list`.
pub(crate) fn list(blksnap: &Blksnap, output: &Output) -> Result<()> {
    let infos = blksnap.snapshots()?;
    let document = json!({ "snapshots": infos.iter().map(value).collect::<Vec<_>>() });
    output.result(&document, || text(&infos));
    Ok(())
}

/// `snapshot info`.
pub(crate) fn run(blksnap: &Blksnap, id: Option<SnapshotId>, output: &Output) -> Result<()> {
    if let Some(id) = id {
        let (document, text) = one(blksnap, id)?;
        output.result(&document, || text);
        return Ok(());
    }
    let (mut documents, mut texts) = (Vec::new(), Vec::new());
    for info in blksnap.snapshots()? {
        let (document, text) = one(blksnap, info.id)?;
        documents.push(document);
        texts.push(text);
    }
    output.result(&json!({ "snapshots": documents }), || {
        if texts.is_empty() {
            return text(&[]);
        }
        texts.join("\n")
    });
    Ok(())
}

/// One snapshot with its devices and images.
pub(crate) fn one(blksnap: &Blksnap, id: SnapshotId) -> Result<(Value, String)> {
    let snapshot = blksnap.snapshot(id)?;
    let info = snapshot.info()?;
    let mut parts: Vec<Part> = Vec::new();
    for member in snapshot.members()? {
        let image = image(blksnap, id, &member);
        parts.push((member, image));
    }
    let tracking = parts.iter().map(|(member, _)| tracking(blksnap, member));
    let tracking = tracking.sum();
    let mut document = whole(&info, &parts);
    document["tracking_memory_bytes"] = json!(tracking);
    Ok((document, detail(&info, &parts, tracking)))
}

/// Bytes of memory that the change tracking of a member takes; 0 when it cannot be asked.
fn tracking(blksnap: &Blksnap, member: &Member) -> u64 {
    let state = blksnap.device(member.shown());
    let state = state.and_then(|device| device.tracking()).ok().flatten();
    state.map_or(0, |state| state.memory_bytes)
}

/// The image of a member; that of a failed snapshot is an error, which the member itself tells.
pub(crate) fn image(blksnap: &Blksnap, id: SnapshotId, member: &Member) -> Option<Image> {
    let device = blksnap.device(member.shown()).ok()?;
    device.image_in(id).ok()?
}

/// A snapshot with its images as JSON.
pub(crate) fn whole(info: &SnapshotInfo, parts: &[Part]) -> Value {
    let mut document = value(info);
    document["images"] = parts.iter().map(image_value).collect();
    document
}

/// A snapshot as JSON.
fn value(info: &SnapshotInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "state": info.state.as_str(),
        "error": info.failure().map(|failure| failure.chain()),
        "devices": info.devices,
        "gate_ns": nanoseconds(info.gate),
        "taken": info.taken.map(|taken| humantime::format_rfc3339_millis(taken).to_string()),
        "store_capacity_bytes": info.store_capacity,
        "store_used_bytes": info.store_used,
        "store_limit_bytes": info.store_limit,
        "full_in_seconds": info.full_in.map(|full_in| full_in.as_secs_f64()),
        "policy": info.policy.as_str(),
        "memory_bytes": info.memory_bytes,
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn image_value((member, image): &Part) -> Value {
    let device = member.shown();
    let Some(image) = image else {
        return json!({ "device": device, "image": null, "error": failure(member) });
    };
    json!({
        "device": device,
        "image": image.path,
        "error": failure(member),
        "number": image.number,
        "copy_reads": image.copy_reads,
        "copy_read_bytes": image.copy_read_bytes,
        "stores": image.stores,
        "store_bytes": image.store_bytes,
        "held": image.held,
        "image_reads": image.image_reads,
        "image_writes": image.image_writes,
        "saved_blocks": image.saved_blocks,
        "spec_blocks": image.spec_blocks,
        "spec_used": image.spec_used,
        "free_bytes": image.free_bytes,
        "pool_bytes": image.pool_bytes,
        "pool_limit_bytes": image.pool_limit,
        "pool_waits": image.pool_waits,
        "pool_wait_ns": nanoseconds(image.pool_wait),
        "pool_wait_longest_ns": nanoseconds(image.pool_wait_longest),
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

fn detail(info: &SnapshotInfo, parts: &[Part], tracking: u64) -> String {
    let mut text = format!("snapshot  {}\nstate     {}\n", info.id, info.state.as_str());
    if let Some(failure) = info.failure() {
        text += &format!("failure   {}\n", failure.chain());
    }
    if info.state != State::Created {
        let gate = time(info.gate);
        text += &format!("taken     {}, writes held for {gate}\n", taken(info));
    }
    text += &format!("store     {}, {}\n", fill(info), full_in(info));
    let images = || parts.iter().filter_map(|(_, image)| image.as_ref());
    let pool: u64 = images().map(|image| image.pool_bytes).sum();
    let limit: u64 = images().map(|image| image.pool_limit).sum();
    text += &format!(
        "memory    {}, of it copies {} of {}; at that bound: {}\n",
        size(info.memory_bytes),
        size(pool),
        size(limit),
        info.policy.as_str()
    );
    let waits: u64 = images().map(|image| image.pool_waits).sum();
    if waits > 0 {
        let wait = images().map(|image| image.pool_wait).sum();
        let longest = images().map(|image| image.pool_wait_longest).max();
        text += &format!(
            "waited    {waits} writes at that bound, {} all together, the longest {}\n",
            time(wait),
            time(longest.unwrap_or_default())
        );
    }
    text += &format!("tracking  {} of memory\n\n", size(tracking));
    let rows: Vec<_> = parts
        .iter()
        .map(|(member, image)| match image {
            None => vec![
                member.shown().display().to_string(),
                failure(member).unwrap_or_else(|| "-".to_owned()),
            ],
            Some(image) => vec![
                member.shown().display().to_string(),
                image.path.display().to_string(),
                image.saved_blocks.to_string(),
                format!("{} in {}", size(image.copy_read_bytes), image.copy_reads),
                format!("{} in {}", size(image.store_bytes), image.stores),
                image.held.to_string(),
                size(image.free_bytes),
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
            ">FREE",
        ],
        &rows,
    )
}

/// When the storage will be full, in words.
pub(crate) fn full_in(info: &SnapshotInfo) -> String {
    info.full_in.map_or_else(
        || "not filling up".to_owned(),
        |full_in| format!("full in {} as it fills now", time(full_in)),
    )
}

fn failure(member: &Member) -> Option<String> {
    let errno = member.error.checked_neg().filter(|errno| *errno != 0)?;
    Some(std::io::Error::from_raw_os_error(errno).to_string())
}
