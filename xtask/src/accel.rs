// SPDX-License-Identifier: GPL-2.0-only
//! What runs a guest's instructions: KVM, where it works, or the emulator.

use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::setup::Setup;
use crate::{cache, sh, vm};

const KVM: &str = "kvm";
const TCG: &str = "tcg,thread=multi";

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// KVM where a tiny guest really comes up under it, else emulation; or what `BLKSNAP_ACCEL` says.
    Any,
    /// Emulation on one processor, with a clock that counts instructions: a nanosecond each. For figures; for nothing else, as it is
    /// slow, and no two processors ever run at once.
    Counted,
    /// Emulation, by the clock.
    Emulated,
    /// KVM, or nothing.
    Kvm,
}

impl Accel {
    /// The emulator's word for it. `BLKSNAP_ACCEL` is asked where any will do.
    pub(crate) fn of(self, setup: &Setup) -> Result<String> {
        Ok(match self {
            Self::Any => match std::env::var("BLKSNAP_ACCEL") {
                Ok(accel) => accel,
                Err(_) if open_kvm().is_ok() && kvm_works(setup)? => KVM.into(),
                Err(_) => TCG.into(),
            },
            Self::Counted => "tcg".into(),
            Self::Emulated => TCG.into(),
            Self::Kvm => {
                require_kvm(setup)?;
                KVM.into()
            }
        })
    }
}

/// The emulator's arguments for what runs the guest's instructions.
pub(crate) fn processor(accel: &str, counted: bool) -> Vec<String> {
    let cpu = match accel {
        // A string instruction of this kind would count each of its steps.
        _ if counted => "max,-erms,-fsrm",
        _ if accel.starts_with(KVM) => "host",
        _ => "max",
    };
    let mut arguments = vec!["-accel", accel, "-cpu", cpu];
    if counted {
        arguments.extend(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]);
    }
    arguments.into_iter().map(String::from).collect()
}

/// Says why no guest can be run under KVM, if none can.
fn require_kvm(setup: &Setup) -> Result<()> {
    open_kvm().context("there is no KVM here: /dev/kvm cannot be opened")?;
    ensure!(
        kvm_works(setup)?,
        "/dev/kvm is there, but no guest comes up under it: a tiny one did not within {PROBE_SECONDS} seconds"
    );
    Ok(())
}

fn open_kvm() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/kvm")
}

/// How long a tiny guest is waited for.
const PROBE_SECONDS: u32 = 8;

/// Whether a tiny guest comes up under KVM: tried once a boot of the machine.
fn kvm_works(setup: &Setup) -> Result<bool> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = cache::dir()?.join("accel.txt");
    let text = fs::read_to_string(&file).unwrap_or_default();
    if let Some(accel) = text.strip_prefix(&boot) {
        return Ok(accel.trim() == KVM);
    }
    sh::say("trying KVM with a tiny guest");
    let kernel = setup.kernels.last().context("no kernel")?;
    let mut command = setup.tree.command("timeout")?;
    command.args(["-k", "1", &PROBE_SECONDS.to_string()]);
    command.args(vm::base_arguments(
        setup,
        kernel,
        &processor(KVM, false),
        1,
        256,
        "guest.probe",
    ));
    command.args(["-serial", "null", "-serial", "stdio"]);
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let good = String::from_utf8_lossy(&out.stdout).contains("GUEST-PROBE-OK");
    sh::say(if good {
        "KVM works here"
    } else {
        "KVM does not work here: the guests are emulated"
    });
    fs::write(&file, format!("{boot}{}", if good { KVM } else { TCG }))?;
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counted_time_is_counted() {
        let counted = processor("tcg", true).join(" ");
        assert_eq!(
            counted,
            "-accel tcg -cpu max,-erms,-fsrm -icount shift=0,sleep=off -rtc clock=vm"
        );
        assert_eq!(processor(KVM, false).join(" "), "-accel kvm -cpu host");
        assert_eq!(
            processor(TCG, false).join(" "),
            "-accel tcg,thread=multi -cpu max"
        );
    }
}
