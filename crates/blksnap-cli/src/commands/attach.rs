// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap attach`, `blksnap detach`.

use blksnap::{Blksnap, BlockDevice, Error, ErrorKind, Result};
use blksnap_backup::Observer;
use serde_json::json;

use crate::args::{Attach, Devices};
use crate::exit;
use crate::output::Output;

pub(crate) fn attach(blksnap: &Blksnap, arguments: &Attach, output: &Output) -> Result<u8> {
    let devices = arguments
        .devices
        .iter()
        .map(|path| blksnap.device(path))
        .collect::<Result<Vec<_>>>()?;
    let (mut values, mut text) = (Vec::new(), String::new());
    for device in &devices {
        let now = if arguments.force {
            warn(device, output);
            device.ensure_attached_by_force()?
        } else {
            device.ensure_attached()?
        };
        let gone = || {
            Error::new(
                ErrorKind::NoDevice,
                format!("{} went away", device.path().display()),
            )
        };
        let tracking = device.tracking()?.ok_or_else(gone)?;
        let change_id = tracking.change_id.to_string();
        let how = if now {
            "attached"
        } else {
            "was attached already"
        };
        text += &format!("{} {how}, change id {change_id}\n", device.path().display());
        values.push(json!({ "path": device.path(), "attached_now": now, "change_id": change_id }));
    }
    output.result(&json!({ "devices": values }), || text);
    Ok(exit::OK)
}

/// What a snapshot of a part of another device is not.
fn warn(device: &BlockDevice, output: &Output) {
    let holders = &device.facts().holders;
    if !holders.is_empty() {
        output.screen().note(&format!(
            "warning: {} is a part of {}: its snapshots lack what that device has not written yet",
            device.path().display(),
            holders.join(", ")
        ));
    }
}

pub(crate) fn detach(blksnap: &Blksnap, arguments: &Devices, output: &Output) -> Result<u8> {
    let devices = arguments
        .devices
        .iter()
        .map(|path| blksnap.device(path))
        .collect::<Result<Vec<_>>>()?;
    let (mut values, mut text) = (Vec::new(), String::new());
    for device in &devices {
        device.detach()?;
        text += &format!("{} detached\n", device.path().display());
        values.push(json!({ "path": device.path() }));
    }
    output.result(&json!({ "devices": values }), || text);
    Ok(exit::OK)
}
