// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap status`, `blksnap version`.

mod metrics;
mod sample;
mod screen;

use std::thread;
use std::time::{Duration, Instant};

use blksnap::{Blksnap, Error, ErrorKind, Result};
use serde_json::json;

use crate::args::Status;
use crate::commands::cancel;
use crate::exit;
use crate::output::Output;
use sample::Sample;

pub(crate) fn version(blksnap: &Blksnap, output: &Output) -> Result<u8> {
    let module = blksnap.module_version().ok();
    let abi = blksnap.features().ok().map(|features| features.abi);
    let kernel = blksnap.door().kernel_release();
    let tool = env!("CARGO_PKG_VERSION");
    output.result(
        &json!({ "blksnap": tool, "module": module, "abi": abi, "kernel": kernel }),
        || {
            let module = module.as_deref().unwrap_or("not loaded");
            format!("blksnap {tool}\nmodule  {module}\nkernel  {kernel}\n")
        },
    );
    Ok(exit::OK)
}

pub(crate) fn status(blksnap: &Blksnap, arguments: &Status, output: &Output) -> Result<u8> {
    match Sample::take(blksnap) {
        Ok(sample) if arguments.watch => watch(blksnap, sample, arguments.interval, output),
        Ok(sample) if arguments.metrics => {
            output.text(&metrics::text(&sample));
            Ok(exit::OK)
        }
        Ok(sample) => {
            output.result(&sample.value(), || sample.text());
            Ok(exit::OK)
        }
        Err(error) if error.kind() == ErrorKind::ModuleMissing => {
            missing(&error, arguments.metrics, output);
            Ok(exit::UNAVAILABLE)
        }
        Err(error) => Err(error),
    }
}

/// The modules are not loaded, which is a status, too.
fn missing(error: &Error, metrics: bool, output: &Output) {
    if metrics {
        return output.text(metrics::NOT_LOADED);
    }
    let help = error.help().unwrap_or_default();
    output.result(&json!({ "loaded": false, "help": help }), || {
        format!("{}\n  help: {help}\n", error.chain())
    });
}

/// How long a signal may go unnoticed.
const TURN: Duration = Duration::from_millis(50);

/// Until a signal comes, or nobody reads any more: that is how it ends, so it is no failure.
fn watch(blksnap: &Blksnap, mut before: Sample, interval: f64, output: &Output) -> Result<u8> {
    let interval = Duration::try_from_secs_f64(interval.clamp(0.1, 3600.0)).unwrap_or(TURN);
    let cancel = cancel()?;
    let mut screen = screen::Screen::new(output);
    let mut seen = screen.show(&before, None, output);
    while seen {
        let begun = Instant::now();
        while begun.elapsed() < interval {
            if cancel.check().is_err() {
                return Ok(exit::OK);
            }
            thread::sleep(TURN.min(interval.saturating_sub(begun.elapsed())));
        }
        let now = Sample::take(blksnap)?;
        seen = screen.show(&now, Some(&before), output);
        before = now;
    }
    Ok(exit::OK)
}
