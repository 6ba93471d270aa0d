// SPDX-License-Identifier: GPL-2.0-only
//! That the debug kernel says what it sees: a guest of its own loads a module with faults (`kernel/samples/seeded_faults.rs`), and
//! each of them must be in its log, or among kmemleak's, with that module's Rust in the trace.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::accel::Accel;
use crate::setup::Setup;
use crate::test_command::Tally;
use crate::tools::Kernel;
use crate::vm::{self, Spec};
use crate::{guest_tests, modules, sh};

/// What it goes by where tests are chosen by their names.
pub(crate) const NAME: &str = "seeded_faults_are_reported";
const MODULE: &str = "seeded_faults";

/// kmemleak leaves alone what is younger than five seconds.
const SCRIPT: &str = r#"
leaks=/sys/kernel/debug/kmemleak
modprobe seeded_faults || exit
end=$((SECONDS + 120))
until echo scan >$leaks && grep -q seeded_faults $leaks; do
    [ $SECONDS -lt $end ] || break
    sleep 1
done
sed 's/^/LEAK /' $leaks | head -n 200
rmmod seeded_faults
"#;

/// A fault, what the report of it begins with, and the function that has to be named there.
const FAULTS: [(&str, &str, &str); 4] = [
    ("a leak", "LEAK unreferenced object", "leaks"),
    (
        "an allocation below a spin lock",
        "BUG: sleeping function called from invalid context",
        "sleeps_below_a_spin_lock",
    ),
    (
        "locks in both orders",
        "WARNING: possible circular locking dependency detected",
        "locks_in_both_orders",
    ),
    (
        "a use after free",
        "BUG: KASAN: use-after-free",
        "reads_after_free",
    ),
];

/// One verdict for each of the faults.
pub(crate) fn run(setup: &Setup, kernel: &Kernel, tally: &mut Tally) -> Result<()> {
    let claim = vm::claim(NAME)?;
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 1024,
        cpus: 2,
        timeout: Duration::from_secs(900),
        disks: Vec::new(),
        append: guest_tests::NO_FIVE_LEVELS.into(),
        script: SCRIPT.into(),
        programs: Vec::<PathBuf>::new(),
        modules: Some(modules::folder(kernel).join("guest")),
        accel: Accel::Any,
        emulator: Vec::new(),
    };
    sh::say("faults on purpose");
    let mut output = String::new();
    let outcome = vm::run(setup, &spec, &mut |line, _| {
        output += line;
        output.push('\n');
    })?;
    let log = fs::read(outcome.dir.join("kernel.log")).unwrap_or_default();
    let text = output + &String::from_utf8_lossy(&log);
    for (fault, begin, function) in FAULTS {
        let series = &kernel.series;
        if reported(&text, begin, function) {
            tally.passed += 1;
            println!("  {series}  PASS {NAME}: {fault}");
        } else {
            let dir = outcome.dir.display();
            tally.fail(format!(
                "{series}: {NAME}: nobody saw {fault} (logs in {dir})"
            ));
        }
    }
    Ok(())
}

/// Whether a report that begins so names the function, before the next one begins.
fn reported(text: &str, begin: &str, function: &str) -> bool {
    let mut here = false;
    for line in text.lines() {
        if FAULTS.iter().any(|(_, other, _)| line.contains(other)) {
            here = line.contains(begin);
        }
        if here && line.contains(MODULE) && line.contains(function) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_that_of_its_own_fault() {
        let text = "LEAK unreferenced object 0xff (size 3000):\nLEAK  [<0>] bsk_alloc+0x1 [seeded_faults]\n\
                    LEAK  [<0>] _RNv_17seeded_faults_mod5leaks+0x1/0x2 [seeded_faults]\n\
                    BUG: KASAN: use-after-free in strlen+0x1\n\
                    BUG: sleeping function called from invalid context at mm.h:1\n\
                    _RNv_17seeded_faults_mod16reads_after_free+0x1\n";
        assert!(reported(text, FAULTS[0].1, FAULTS[0].2));
        for (_, begin, function) in &FAULTS[1..] {
            assert!(!reported(text, begin, function));
        }
    }
}
