// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap changes`.

use blksnap::{Blksnap, ChangeId, Error, ErrorKind, Extent, Result};
use serde_json::json;

use crate::args::{Changes, Since};
use crate::exit;
use crate::output::{Output, size, table};

pub(crate) fn run(blksnap: &Blksnap, arguments: &Changes, output: &Output) -> Result<u8> {
    let device = blksnap.device(&arguments.device)?;
    let tracking = device.tracking()?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotAttached,
            format!("{} is not attached", device.path().display()),
        )
    })?;
    let end = tracking.size_bytes;
    let max = arguments.max.unwrap_or(usize::MAX);
    let since = match (arguments.since, &arguments.consumer) {
        (_, Some(name)) => Some(device.consumer(name)?),
        (None, None) => Some(ChangeId {
            number: 0,
            ..tracking.change_id
        }),
        (Some(Since::Take(id)), None) => Some(id),
        (Some(Since::Everything), None) => None,
    };
    let (mut extents, mut next) = (Vec::new(), end);
    match since {
        None if arguments.start < end => {
            extents.push(Extent {
                offset: arguments.start,
                length: end - arguments.start,
            });
        }
        None => {}
        Some(since) => {
            let mut changes = device.changes_from(since, arguments.start)?;
            for extent in changes.by_ref().take(max) {
                extents.push(extent?);
            }
            next = changes.resume_at();
        }
    }
    let changed: u64 = extents.iter().map(|extent| extent.length).sum();
    let document = json!({
        "device": device.path(),
        "size_bytes": end,
        "tracking_block_bytes": tracking.block_size,
        "since": since.map_or_else(|| "*".to_owned(), |since| since.to_string()),
        "until": tracking.change_id.to_string(),
        "changed_bytes": changed,
        "extents": extents.iter().map(|extent| json!({ "offset": extent.offset, "length": extent.length })).collect::<Vec<_>>(),
        "next": (next < end).then_some(next),
    });
    output.result(&document, || {
        let rows: Vec<_> = extents
            .iter()
            .map(|extent| vec![extent.offset.to_string(), extent.length.to_string()])
            .collect();
        let more = if next < end {
            format!("more: --start {next}\n")
        } else {
            String::new()
        };
        format!(
            "{}{} of {} changed, in {} extents, until {}\n{more}",
            if rows.is_empty() {
                String::new()
            } else {
                table(&[">OFFSET", ">LENGTH"], &rows)
            },
            size(changed),
            size(end),
            rows.len(),
            tracking.change_id
        )
    });
    Ok(exit::OK)
}
