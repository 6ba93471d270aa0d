// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGINT, SIGTERM and SIGHUP ask the work to end; what it made is cleaned up on the way out.
//!
//! SIGKILL cannot be caught: then the kernel destroys the bound snapshot, and the next backup
//! into the same folder removes the temporary file.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use blksnap_backup::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{child, exit};

/// The signal that came.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// A flag that the first signal sets.
///
/// # Errors
///
/// The system refuses handlers.
pub(crate) fn cancel() -> std::io::Result<Cancel> {
    let cancel = Cancel::default();
    let theirs = cancel.clone();
    each(move |signal| {
        CAUGHT.store(signal, Ordering::Relaxed);
        theirs.cancel();
        child::pass_on(signal);
    })?;
    Ok(cancel)
}

/// Calls `handle` in a thread for every signal.
pub(crate) fn each(mut handle: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(move || signals.forever().for_each(&mut handle))?;
    Ok(())
}

/// The exit code after a signal.
pub(crate) fn code() -> u8 {
    match CAUGHT.load(Ordering::Relaxed) {
        0 => exit::INTERRUPTED,
        signal => u8::try_from(128 + signal).unwrap_or(exit::INTERRUPTED),
    }
}
