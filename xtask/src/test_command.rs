// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask test`: every test there is, one verdict line each, and the count of them as the last line.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::setup::{self, Setup};
use crate::tools::Kernel;
use crate::vm::{self, Disk, Spec};
use crate::{cache, modules, programs, sh};

/// Runs the tests.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only these kernels: 6.1, 6.12, 7.3
    #[arg(long)]
    kernel: Vec<String>,
    /// Only the tests in virtual machines
    #[arg(long)]
    vm: bool,
    /// Only the tests of the crates
    #[arg(long, conflicts_with = "vm")]
    cargo: bool,
    /// Of the tests in virtual machines, only those whose names hold this
    #[arg(long, default_value = "")]
    name: String,
    /// In so many virtual machines at once, each with its share of a kernel's tests
    #[arg(long, default_value_t = 2)]
    guests: usize,
}

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped += other.skipped;
    }

    fn fail(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("FAIL {text}");
        self.failed.push(text);
    }
}

/// Runs them; true when nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut tally = Tally::default();
    if !arguments.vm {
        cargo_tests(&mut tally)?;
    }
    if !arguments.cargo {
        vm_tests(arguments, &mut tally)?;
    }
    println!();
    for failed in &tally.failed {
        println!("FAIL {failed}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed,
        tally.failed.len(),
        tally.skipped
    );
    Ok(tally.failed.is_empty())
}

fn cargo() -> Command {
    let mut command = Command::new("nice");
    command
        .arg(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .current_dir(sh::root());
    command
}

/// The crates' tests: by nextest where it is installed, and those in the documentation by cargo.
fn cargo_tests(tally: &mut Tally) -> Result<()> {
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

/// Runs a test command, passing its output on and counting what it says.
fn watch(mut command: Command, what: &str, tally: &mut Tally) -> Result<()> {
    let before = tally.failed.len();
    let shell = format!("exec {} 2>&1", shell_words(&command));
    let mut child = Command::new("sh");
    child
        .args(["-c", &shell])
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

/// The disks of the guests that run the tests.
fn disks() -> Vec<Disk> {
    [("a", 32), ("b", 32), ("c", 512), ("d", 512)]
        .map(|(serial, mib): (&str, u64)| Disk {
            serial: serial.into(),
            bytes: mib << 20,
        })
        .to_vec()
}

fn vm_tests(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let setup = setup::ensure(false)?;
    let kernels = setup.chosen(&arguments.kernel)?;
    sh::say("building the commands for the guests");
    let mut list = match programs::build() {
        Ok(list) => list,
        Err(error) => {
            tally.fail(format!("the commands for the guests: {error:#}"));
            return Ok(());
        }
    };
    list.push(client(&setup)?);
    for kernel in &kernels {
        if let Err(error) = modules::build(&setup, std::slice::from_ref(kernel)) {
            tally.fail(format!("{}: {error:#}", kernel.series));
            continue;
        }
        one_kernel(&setup, kernel, &list, arguments, tally)?;
    }
    Ok(())
}

/// The foreign client, built by the tools tree's compiler.
pub(crate) fn client(setup: &Setup) -> Result<PathBuf> {
    let out = sh::target().join("vm-tests/snapc");
    fs::create_dir_all(out.parent().context("no folder")?)?;
    let mut command = setup.tree.command("gcc-14")?;
    command
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&out)
        .arg(sh::root().join("tests/vm/snapc.c"));
    sh::run_logged(&mut command, &sh::target().join("vm-tests/snapc.log"))?;
    Ok(out)
}

/// All tests of a kernel, shared out to guests that run side by side.
fn one_kernel(
    setup: &Setup,
    kernel: &Kernel,
    list: &[PathBuf],
    arguments: &Arguments,
    tally: &mut Tally,
) -> Result<()> {
    let guests = arguments.guests.max(1);
    sh::say(format!(
        "tests in {guests} virtual machines with {}",
        kernel.release
    ));
    let begin = Instant::now();
    let mut sum = Tally::default();
    let runs: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..guests)
            .map(|guest| {
                scope.spawn(move || one_guest(setup, kernel, list, &arguments.name, guest, guests))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|run| run.unwrap_or_else(|_| Err(anyhow!("the thread of a guest panicked"))))
            .collect()
    });
    for run in runs {
        sum.add(run?);
    }
    sh::say(format!(
        "{}: {} passed in {:.0} s",
        kernel.series,
        sum.passed,
        begin.elapsed().as_secs_f64()
    ));
    tally.add(sum);
    Ok(())
}

fn one_guest(
    setup: &Setup,
    kernel: &Kernel,
    list: &[PathBuf],
    name: &str,
    guest: usize,
    guests: usize,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let series = &kernel.series;
    let claim = vm::claim(&format!("test-{series}"))?;
    let tests = vm::share(&claim.name).join("tests");
    cache::remove_tree(&tests)?;
    fs::create_dir_all(&tests)?;
    for entry in fs::read_dir(sh::root().join("tests/vm"))? {
        sh::copy_into(&entry?.path(), &tests)?;
    }
    let spec = Spec {
        name: claim.name.clone(),
        kernel,
        memory_mib: 1536,
        cpus: 2,
        timeout: Duration::from_secs(900),
        disks: disks(),
        append: String::new(),
        script: format!(
            "exec bash /host/tests/run.sh {} {guest} {guests}\n",
            crate::vm_command::quote(name)
        ),
        programs: list.to_vec(),
        modules: Some(modules::folder(kernel).join("guest")),
    };
    let mut ended = false;
    let mut failed = Vec::new();
    let (mut passed, mut skipped) = (0, 0);
    let outcome = vm::run(setup, &spec, &mut |line| {
        println!("  {series}  {line}");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "PASS" => passed += 1,
            "FAIL" => failed.push(format!("{series}: {rest}")),
            "SKIP" => skipped += 1,
            "END" => ended = true,
            _ => {}
        }
    })?;
    tally.passed += passed;
    tally.skipped += skipped;
    let blamed = failed.iter().any(|f| f.contains("kernel log"));
    tally.failed.append(&mut failed);
    if !ended || (outcome.complaint.is_some() && !blamed) {
        let why = outcome
            .failure()
            .unwrap_or_else(|| "the tests did not come to their end".into());
        tally.fail(format!("{series}: {why}"));
    }
    let _ = fs::remove_dir_all(outcome.dir.join("disks"));
    Ok(tally)
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
