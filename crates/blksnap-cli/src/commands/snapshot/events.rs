// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap snapshot events`.

use std::time::Duration;

use blksnap::{Blksnap, ErrorKind, Event, Result, SnapshotId};
use blksnap_backup::session::describe;
use serde_json::{Value, json};

use crate::commands::cancel;
use crate::exit;
use crate::output::Output;

/// How long a signal may go unnoticed.
const TURN: Duration = Duration::from_millis(500);

pub(crate) fn run(blksnap: &Blksnap, id: SnapshotId, output: &Output) -> Result<u8> {
    let snapshot = blksnap.snapshot(id)?;
    let cancel = cancel()?;
    loop {
        cancel.check()?;
        match snapshot.wait_event(TURN) {
            Ok(Some(event)) => {
                if !output.line(&value(&event), || format!("{}\n", describe(&event))) {
                    return Ok(exit::OK);
                }
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::NoSnapshot => return Ok(exit::OK),
            Err(error) => return Err(error),
        }
    }
}

fn value(event: &Event) -> Value {
    let text = describe(event);
    match event {
        Event::Corrupted { device, error } => {
            json!({ "event": "failed", "device": device.to_string(), "errno": -error, "text": text })
        }
        Event::NoSpace { requested_sectors } => {
            json!({ "event": "no_space", "requested_bytes": requested_sectors * 512, "text": text })
        }
        Event::LowSpace {
            used,
            limit,
            full_in,
        } => json!({
            "event": "low_space",
            "used_bytes": used,
            "limit_bytes": limit,
            "full_in_seconds": full_in.map(|full_in| full_in.as_secs_f64()),
            "text": text,
        }),
        _ => json!({ "event": "other", "text": text }),
    }
}
