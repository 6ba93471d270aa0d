// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test`: every test there is, one verdict line each, and the count of them as the last line.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::guest_tests::{self, Options};
use crate::{debug_kernel, sh};

/// Runs the tests.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only these kernels: 6.1, 6.12, 7.3; or 6.1-debug, which is built when it is missing
    #[arg(long)]
    kernel: Vec<String>,
    /// Only the tests in virtual machines
    #[arg(long)]
    vm: bool,
    /// Only the tests of the crates
    #[arg(long, conflicts_with = "vm")]
    cargo: bool,
    /// After all others, these in the debug kernel too: parts of their names, with | between
    #[arg(long, value_name = "NAMES", conflicts_with = "cargo")]
    debug: Option<String>,
    #[command(flatten)]
    guests: Options,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped += other.skipped;
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("FAIL {text}");
        self.failed.push(text);
    }
}

impl Tally {
    /// Prints what failed, and the count as the last line; true when nothing failed.
    pub(crate) fn end(&self) -> bool {
        println!();
        for failed in &self.failed {
            println!("FAIL {failed}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped
        );
        self.failed.is_empty()
    }
}

/// Runs them; true when nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut tally = Tally::default();
    if !arguments.vm {
        cargo_tests(&mut tally)?;
    }
    if !arguments.cargo {
        guest_tests::run(&arguments.kernel, &arguments.guests, &mut tally)?;
    }
    if let Some(names) = &arguments.debug {
        let kernel = [debug_kernel::NAME.to_owned()];
        if let Err(error) = guest_tests::run(&kernel, &Options::of(names), &mut tally) {
            tally.fail(format!("{}: {error:#}", debug_kernel::NAME));
        }
    }
    Ok(tally.end())
}

fn cargo() -> Command {
    let mut command = Command::new("nice");
    command
        .arg(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .current_dir(sh::root());
    command
}

/// The crates' tests: by nextest where it is installed, and those in the documentation by cargo; and the core's lock-free parts in a
/// model checker.
fn cargo_tests(tally: &mut Tally) -> Result<()> {
    models(tally)?;
    sh::say("tests of the crates");
    if sh::have("cargo-nextest") {
        let mut command = cargo();
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--color",
            "never",
            "--cargo-quiet",
        ]);
        command.args([
            "--status-level",
            "all",
            "--final-status-level",
            "none",
            "--hide-progress-bar",
        ]);
        watch(command, "tests of the crates", tally)?;
        let mut command = cargo();
        command.args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]);
        watch(command, "tests in the documentation", tally)
    } else {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]);
        watch(command, "tests of the crates", tally)
    }
}

/// All interleavings of the lock-free parts, with the reorderings that the memory model allows (loom).
fn models(tally: &mut Tally) -> Result<()> {
    sh::say("models of the lock-free parts");
    let mut command = cargo();
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", sh::target().join("loom"))
        .args(["test", "--quiet", "--release", "--package", "blksnap_core"])
        .args(["--package", "blksnap_models", "--lib", "model"]);
    let (what, passed) = ("models of the lock-free parts", tally.passed);
    watch(command, what, tally)?;
    if tally.passed == passed && tally.failed.is_empty() {
        tally.fail(format!("{what}: there are none"));
    }
    Ok(())
}

/// Runs a test command, passing its output on and counting what it says.
fn watch(mut command: Command, what: &str, tally: &mut Tally) -> Result<()> {
    let before = tally.failed.len();
    let shell = format!("exec {} 2>&1", shell_words(&command));
    let mut child = Command::new("sh");
    child
        .args(["-c", &shell])
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(sh::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command = child;
    let mut child = command.spawn().context("cannot run cargo")?;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line.unwrap_or_default();
        println!("{line}");
        count(&line, tally);
    }
    if !child.wait()?.success() && tally.failed.len() == before {
        tally.fail(format!("{what}: they could not be run"));
    }
    Ok(())
}

fn shell_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| crate::vm_command::quote(&w.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A line of nextest (`PASS [ 0.1s] crate name`) or of cargo (`test result: ok. 3 passed; …`).
fn count(line: &str, tally: &mut Tally) {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("test result:") {
        let number = |word: &str| {
            rest.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word))
                .and_then(|n| n.trim().parse::<u32>().ok())
                .unwrap_or(0)
        };
        tally.passed += number("passed");
        tally.skipped += number("ignored");
        let failed = number("failed");
        tally
            .failed
            .extend((0..failed).map(|_| "a test of the crates, see above".to_owned()));
        return;
    }
    let Some((word, rest)) = line.split_once(" [") else {
        return;
    };
    let Some((_, name)) = rest.split_once(']') else {
        return;
    };
    match word.trim() {
        "PASS" => tally.passed += 1,
        "FAIL" | "TIMEOUT" | "ABORT" | "SIGSEGV" | "SIGABRT" | "LEAK-FAIL" => {
            tally.failed.push(name.trim().to_owned())
        }
        "SKIP" => tally.skipped += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_test_output_are_counted() {
        let mut tally = Tally::default();
        count(
            "        PASS [   0.004s] stamp sector::tests::works",
            &mut tally,
        );
        count(
            "        FAIL [   0.004s] stamp sector::tests::fails",
            &mut tally,
        );
        count(
            "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out",
            &mut tally,
        );
        count("running 3 tests", &mut tally);
        assert_eq!((tally.passed, tally.failed.len(), tally.skipped), (4, 2, 2));
        assert_eq!(tally.failed[0], "stamp sector::tests::fails");
    }
}
