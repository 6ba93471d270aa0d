// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another command, run on the images of a snapshot.
//!
//! SIGTERM and SIGHUP are passed on to it; SIGINT comes to it from the terminal. Its end is
//! waited for. It does not inherit the descriptor the snapshot is bound to.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use blksnap_backup::Held;
use rustix::process::{Pid, Signal, kill_process};

use crate::exit;

/// The command's process, while it runs.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Runs a command to its end; gives its exit code, 128+N when signal N ended it.
pub(crate) fn run(command: &mut Command) -> io::Result<u8> {
    let mut child = command.spawn()?;
    RUNNING.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let status = child.wait();
    RUNNING.store(0, Ordering::SeqCst);
    let status = status?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(exit::FAILURE))
}

/// Passes a signal on to the command, if one runs.
pub(crate) fn pass_on(signal: i32) {
    let child = Pid::from_raw(RUNNING.load(Ordering::SeqCst));
    let signal = match signal {
        signal_hook::consts::SIGTERM => Signal::TERM,
        signal_hook::consts::SIGHUP => Signal::HUP,
        // The terminal sends it to the command, too.
        _ => return,
    };
    if let Some(child) = child {
        let _ = kill_process(child, signal);
    }
}

/// What tells a command where the images are; the help of `snapshot run` lists it.
pub(crate) fn environment(held: Held<'_>) -> Vec<(OsString, OsString)> {
    let mut all = OsString::new();
    let mut variables = vec![(
        "BLKSNAP_SNAPSHOT".into(),
        held.snapshot.id().to_string().into(),
    )];
    for (at, (device, image)) in held.devices.iter().zip(held.images).enumerate() {
        if at > 0 {
            all.push(" ");
        }
        all.push(image);
        let name = variable(&device.facts().name);
        variables.push((format!("BLKSNAP_IMAGE_{at}").into(), image.into()));
        variables.push((format!("BLKSNAP_DEVICE_{at}").into(), device.path().into()));
        variables.push((format!("BLKSNAP_IMAGE_{name}").into(), image.into()));
    }
    variables.push(("BLKSNAP_IMAGES".into(), all));
    variables
}

/// A device's name in a variable's.
fn variable(name: &str) -> String {
    let letter = |character: char| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '_'
        }
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_variables() {
        assert_eq!(super::variable("vd-c1"), "vd_c1");
        assert_eq!(super::variable("cciss/c0d0"), "cciss_c0d0");
    }
}
