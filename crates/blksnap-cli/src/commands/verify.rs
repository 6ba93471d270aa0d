// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap verify`.

use blksnap::Result;
use blksnap_backup::{VerifyReport, verify};

use crate::args::Verify;
use crate::commands::cancel;
use crate::exit;
use crate::output::{Output, size, table};

pub(crate) fn run(arguments: &Verify, output: &Output) -> Result<u8> {
    let report = verify(
        &arguments.from,
        arguments.device.as_deref(),
        &output.screen(),
        &cancel()?,
    )?;
    let document = serde_json::to_value(&report).unwrap_or_default();
    output.result(&document, || text(&report));
    Ok(if report.whole {
        exit::OK
    } else {
        exit::DAMAGED
    })
}

fn text(report: &VerifyReport) -> String {
    if report.backups.is_empty() {
        return "there is no backup here\n".to_owned();
    }
    let rows: Vec<_> = report
        .backups
        .iter()
        .map(|backup| {
            vec![
                backup.file.clone(),
                backup.kind.to_string(),
                backup.taken.clone().unwrap_or_else(|| "-".to_owned()),
                size(backup.data_bytes),
                backup.error.clone().unwrap_or_else(|| "whole".to_owned()),
            ]
        })
        .collect();
    let bad = report
        .backups
        .iter()
        .filter(|backup| backup.error.is_some())
        .count();
    let mut text = table(&["FILE", "KIND", "TAKEN", ">DATA", "STATE"], &rows);
    for file in &report.unfinished {
        text += &format!("{file} was left by an interrupted run; the next backup removes it\n");
    }
    let count = report.backups.len();
    text + &if bad == 0 {
        format!("{count} backups, all whole\n")
    } else {
        format!("{bad} of {count} backups are not whole\n")
    }
}
