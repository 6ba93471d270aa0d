// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap list`.

use blksnap::{Attached, Blksnap, Result};
use serde_json::{Value, json};

use crate::exit;
use crate::output::{Output, size, table};

pub(crate) fn run(blksnap: &Blksnap, output: &Output) -> Result<u8> {
    let devices = blksnap.attached()?;
    let document = json!({ "devices": devices.iter().map(value).collect::<Vec<_>>() });
    output.result(&document, || text(&devices));
    Ok(exit::OK)
}

pub(crate) fn value(device: &Attached) -> Value {
    json!({
        "path": device.path,
        "major": device.number.major,
        "minor": device.number.minor,
        "size_bytes": device.size_bytes,
        "tracking_block_bytes": device.block_size,
        "change_id": device.change_id.to_string(),
        "takes": device.change_id.number,
        "snapshot": device.snapshot.map(|id| id.to_string()),
        "snapshots": device.snapshots,
    })
}

pub(crate) fn text(devices: &[Attached]) -> String {
    if devices.is_empty() {
        return "no device is attached; attach one: blksnap attach DEVICE\n".to_owned();
    }
    let rows: Vec<_> = devices
        .iter()
        .map(|device| {
            vec![
                device.path.as_ref().map_or_else(
                    || device.number.to_string(),
                    |path| path.display().to_string(),
                ),
                size(device.size_bytes),
                size(u64::from(device.block_size)),
                device.change_id.to_string(),
                device
                    .snapshot
                    .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            ]
        })
        .collect();
    table(
        &["DEVICE", ">SIZE", ">BLOCK", "CHANGE ID", "SNAPSHOT"],
        &rows,
    )
}
