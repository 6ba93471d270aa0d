// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap prune`.

use blksnap::Result;
use blksnap_backup::{PruneReport, prune};

use crate::args::Prune;
use crate::exit;
use crate::output::{Output, size, table};

pub(crate) fn run(arguments: &Prune, output: &Output) -> Result<u8> {
    let report = prune(
        &arguments.folder,
        arguments.device.as_deref(),
        arguments.keep,
        !arguments.dry_run,
    )?;
    let document = serde_json::to_value(&report).unwrap_or_default();
    output.result(&document, || text(&report));
    Ok(exit::OK)
}

fn text(report: &PruneReport) -> String {
    let kept = report.kept.len();
    if report.backups.is_empty() {
        return format!("nothing to remove; {kept} backups stay\n");
    }
    let rows: Vec<_> = report
        .backups
        .iter()
        .map(|backup| {
            vec![
                backup.file.clone(),
                backup.taken.clone(),
                size(backup.bytes),
            ]
        })
        .collect();
    format!(
        "{}{} {} in {} backups; {kept} stay\n",
        table(&["FILE", "TAKEN", ">SIZE"], &rows),
        if report.removed {
            "removed"
        } else {
            "would remove"
        },
        size(report.bytes),
        report.backups.len(),
    )
}
