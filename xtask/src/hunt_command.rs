// SPDX-License-Identifier: GPL-2.0-only
//! Defects hunted for by machines: `cargo xtask fuzz` and `cargo xtask sanitize`.
//!
//! Both use what the stable compiler has but does not offer (`RUSTC_BOOTSTRAP`): the sanitizers' run-time libraries come with
//! every toolchain. libFuzzer itself comes with the crate `libfuzzer-sys` and is compiled by the C++ compiler.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{apt, sh};

/// Where both build: sanitized code must not mix with the rest.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// How `cargo fuzz` has code instrumented, too.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions";
/// What runs under the sanitizers: the core, the interface, the library and what is built on it.
const CRATES: [&str; 7] = [
    "blksnap_core",
    "blksnap_uapi",
    "blksnap",
    "blksnap-backup",
    "blksnap-cli",
    "blksnap-fake",
    "blksnap-decoders",
];

/// `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// Inputs tried on each decoder
    #[arg(long, default_value_t = 20_000)]
    runs: u64,
    /// Only decoders whose name holds this
    #[arg(long, default_value = "")]
    name: String,
}

/// A cargo in `folder` whose crates are compiled with these flags, into a folder of their own.
fn cargo(folder: &str, flags: &str, target: &str) -> Command {
    let mut command = Command::new("nice");
    command
        .arg(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .current_dir(sh::root().join(folder))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", sh::target().join(target));
    command
}

/// Builds the targets of `fuzz/` and runs each. What is found is in `target/fuzz/found`, what was learned in
/// `target/fuzz/corpus`; `fuzz/corpus` has what each begins with.
pub(crate) fn fuzz(arguments: &Fuzz) -> Result<()> {
    apt::host_packages(&[("g++", "g++")])?;
    sh::say("building the decoders with coverage and the address sanitizer");
    let mut build = cargo("fuzz", COVERAGE, "fuzz");
    sh::run(build.args(["build", "--quiet", "--locked", "--bins", "--target", HOST]))?;
    let folder = sh::target().join("fuzz");
    let found = folder.join("found");
    fs::create_dir_all(&found)?;
    let mut targets: Vec<String> = fs::read_dir(sh::root().join("fuzz/targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| name.contains(&arguments.name))
        .collect();
    targets.sort();
    let (mut failed, scratch) = (Vec::new(), folder.join("scratch"));
    fs::create_dir_all(&scratch)?;
    for name in &targets {
        let learned = folder.join("corpus").join(name);
        fs::create_dir_all(&learned)?;
        let mut run = Command::new(folder.join(HOST).join("debug").join(name));
        run.arg(format!("-runs={}", arguments.runs))
            .arg(format!("-artifact_prefix={}/{name}-", found.display()))
            .args([
                "-max_len=4096",
                "-timeout=20",
                "-rss_limit_mb=1024",
                "-verbosity=0",
            ])
            .arg(&learned)
            .arg(sh::root().join("fuzz/corpus").join(name))
            // Leaks would be looked for by ptrace, which not every machine allows.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .env("TMPDIR", &scratch);
        match sh::run_logged(&mut run, &folder.join(format!("{name}.log"))) {
            Ok(()) => sh::say(format!("PASS {name} ({} inputs)", arguments.runs)),
            Err(error) => {
                sh::say(format!("FAIL {name}: {error:#}"));
                failed.push(name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} failed; the inputs are in {}",
            failed.join(", "),
            found.display()
        );
    }
    Ok(())
}

/// The crates' tests under the address sanitizer.
pub(crate) fn sanitize() -> Result<()> {
    let mut test = cargo("", "-Zsanitizer=address", "sanitize");
    test.args([
        "test", "--quiet", "--lib", "--bins", "--tests", "--target", HOST,
    ]);
    for name in CRATES {
        test.args(["--package", name]);
    }
    sh::run(test.env("ASAN_OPTIONS", "detect_leaks=0"))
}
