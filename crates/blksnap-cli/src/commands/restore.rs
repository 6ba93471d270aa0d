// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap restore`.

use std::time::Duration;

use blksnap::Result;
use blksnap_backup::restore;
use blksnap_backup::restore::Selection;

use crate::args::Restore;
use crate::commands::cancel;
use crate::exit;
use crate::output::{Output, size, time};

pub(crate) fn run(arguments: &Restore, output: &Output) -> Result<u8> {
    let selection = Selection {
        device: arguments.device.clone(),
        sequence: arguments.point,
    };
    let report = restore(
        &arguments.from,
        &selection,
        &arguments.target,
        arguments.force,
        &output.screen(),
        &cancel()?,
    )?;
    let document = serde_json::to_value(&report).unwrap_or_default();
    output.result(&document, || {
        format!(
            "restored {} as of {} to {}: {} of data, {} of zeros, from {} files, all checksums match, in {}\n",
            report.device,
            report.taken,
            report.target.display(),
            size(report.bytes_written),
            size(report.zero_bytes),
            report.chain.len(),
            time(Duration::from_secs_f64(report.seconds)),
        )
    });
    Ok(exit::OK)
}
