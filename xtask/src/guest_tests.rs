// SPDX-License-Identifier: GPL-2.0-only
//! The tests of `tests/vm`, in guests. The guests of a kernel run side by side, and each asks for its next test when it
//! is done with one, so that they end together. A guest that dies or hangs fails the test it was at, and another guest
//! goes on with the rest.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;

use crate::accel::Accel;
use crate::setup::{self, Setup};
use crate::test_command::Tally;
use crate::tools::Kernel;
use crate::vm::{self, Disk, Spec};
use crate::{cache, debug_kernel, modules, programs, seeded_faults, sh};

/// Which tests, and where.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Of the tests in virtual machines, only those whose names hold this (or one of several, with | between)
    #[arg(long, default_value = "")]
    name: String,
    /// In so many virtual machines at once: more than there are processors, as each waits for a part of its time
    #[arg(long, default_value_t = 3)]
    guests: usize,
    /// On each kernel the long tests too that otherwise run on one of the others
    #[arg(long)]
    all: bool,
    /// How often `load_rounds` loads and unloads the modules
    #[arg(long)]
    rounds: Option<u32>,
}

impl Options {
    /// Those of these names, one after the other.
    pub(crate) fn of(names: &str) -> Self {
        Self {
            name: names.into(),
            guests: 1,
            all: false,
            rounds: None,
        }
    }

    /// Whether the `long` tests are shared out to the kernels.
    fn shared(&self) -> bool {
        !self.all && self.name.is_empty()
    }
}

/// A round of `load_rounds` takes no longer, on a busy machine either.
const ROUND_SECONDS: u64 = 15;

/// With five levels of page tables, KASAN calls any address wild while the boot has the processor's features cleared for a moment
/// (`identify_cpu`): an interrupt just then is a report, and lockdep is off.
pub(crate) const NO_FIVE_LEVELS: &str = " no5lvl";

/// A test: its file, and its function there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    file: String,
    name: String,
}

/// What the guests of a kernel share.
struct Round<'a> {
    setup: &'a Setup,
    kernel: &'a Kernel,
    programs: &'a [PathBuf],
    rounds: Option<u32>,
    jobs: Mutex<VecDeque<Job>>,
    times: Mutex<Vec<Time>>,
}

/// What a test took, in seconds: by the guest's clock, and of this machine's processors.
struct Time {
    name: String,
    wall: f64,
    cpu: f64,
}

/// Runs them on these kernels, or on all.
pub(crate) fn run(names: &[String], options: &Options, tally: &mut Tally) -> Result<()> {
    let setup = setup::ensure(false)?;
    let kernels = debug_kernel::chosen(&setup, names)?;
    sh::say("building the commands for the guests");
    let mut list = match programs::build() {
        Ok(list) => list,
        Err(error) => {
            tally.fail(format!("the commands for the guests: {error:#}"));
            return Ok(());
        }
    };
    list.extend(helpers(&setup)?);
    for kernel in &kernels {
        if let Err(error) = modules::build(&setup, std::slice::from_ref(kernel)) {
            tally.fail(format!("{}: {error:#}", kernel.series));
            continue;
        }
        one_kernel(&setup, kernel, &list, options, tally)?;
        let named = |word: &str| seeded_faults::NAME.contains(word);
        if kernel.built.is_some() && options.name.split('|').any(named) {
            seeded_faults::run(&setup, kernel, tally)?;
        }
    }
    Ok(())
}

/// A program without a C library: there is none of 32 bits to link it with.
const BARE: &[&str] = &[
    "-nostdlib",
    "-static",
    "-ffreestanding",
    "-fno-pic",
    "-no-pie",
    "-fno-stack-protector",
    "-idirafter",
    "/usr/include/x86_64-linux-gnu",
];

/// The foreign clients and the one that tidies up, built by the tools tree's compiler.
pub(crate) fn helpers(setup: &Setup) -> Result<Vec<PathBuf>> {
    let dir = sh::target().join("vm-tests");
    fs::create_dir_all(&dir)?;
    let mut built = Vec::new();
    // A program, its source, and how wide it is when it is a bare one.
    for (name, source, bare) in [
        ("snapc", "snapc", None),
        ("tidy", "tidy", None),
        ("filterc", "filterc", None),
        ("headerc", "headerc", Some("-m64")),
        ("headerc32", "headerc", Some("-m32")),
    ] {
        let out = dir.join(name);
        let mut command = setup.tree.command("gcc-14")?;
        command
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&out)
            .args(bare)
            .args(bare.map_or(&[][..], |_| BARE))
            .arg(format!(
                "-I{}",
                sh::root().join("crates/uapi/include/uapi").display()
            ))
            .arg(sh::root().join(format!("tests/vm/{source}.c")));
        sh::run_logged(&mut command, &dir.join(format!("{name}.log")))?;
        built.push(out);
    }
    Ok(built)
}

/// The tests of a file, in its order: the lines `t_NAME() {`, and the word in a comment behind.
fn tests_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once("() {")?;
        let word = name.strip_prefix("t_")?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.chars()
            .all(good)
            .then_some((rest.trim().trim_start_matches("# "), name))
    })
}

/// Which kernel of how many the n-th `long` test runs on; one that says which (`# long 7.3`) on that one. All kernels are to take about
/// the same time; under emulation the newest is by a quarter slower.
fn place(mark: &str, long: usize, kernels: usize) -> usize {
    const TURN: [usize; 8] = [1, 2, 0, 0, 1, 1, 2, 0];
    match mark {
        _ if kernels != 3 => long % kernels,
        "long 6.1" => 0,
        "long 6.12" => 1,
        "long 7.3" => 2,
        _ => TURN[long % TURN.len()],
    }
}

/// Tests that the debug kernel is not for, with the reason, a line each: `NAME: REASON`. Who names one, has it run.
const NOT_DEBUG: &str = include_str!("../debug/left-out.txt");

/// Their names.
fn left_out() -> impl Iterator<Item = &'static str> {
    let lines = NOT_DEBUG.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(": ")?.0))
}

/// All tests whose names hold one of the words: the `long` ones first, then by file. With a `share` (a kernel's place, and how many
/// there are) only the `long` ones of that place. Those marked `debug` need the debug kernel, which without words has all but a few.
fn jobs(words: &str, share: Option<(usize, usize)>, debug: bool) -> Result<VecDeque<Job>> {
    let dir = sh::root().join("tests/vm");
    let mut files: Vec<String> = fs::read_dir(&dir)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".sh"))
        .collect();
    files.sort();
    let (mut first, mut rest) = (VecDeque::new(), VecDeque::new());
    let mut long = 0;
    for file in files {
        let text = fs::read_to_string(dir.join(&file))?;
        for (mark, name) in tests_of(&text) {
            if debug && words.is_empty() && left_out().any(|other| name == format!("t_{other}")) {
                continue;
            }
            if (debug || mark != "debug") && words.split('|').any(|word| name.contains(word)) {
                let job = Job {
                    file: file.clone(),
                    name: name.to_owned(),
                };
                if !mark.starts_with("long") {
                    rest.push_back(job);
                } else {
                    if share.is_none_or(|(own, of)| place(mark, long, of) == own) {
                        first.push_back(job);
                    }
                    long += 1;
                }
            }
        }
    }
    first.append(&mut rest);
    Ok(first)
}

fn one_kernel(
    setup: &Setup,
    kernel: &Kernel,
    programs: &[PathBuf],
    options: &Options,
    tally: &mut Tally,
) -> Result<()> {
    let all = &setup.kernels;
    let own = all.iter().position(|one| one.series == kernel.series);
    let share = own.filter(|_| options.shared()).map(|own| (own, all.len()));
    let round = Round {
        setup,
        kernel,
        programs,
        rounds: options.rounds,
        jobs: Mutex::new(jobs(&options.name, share, kernel.built.is_some())?),
        times: Mutex::default(),
    };
    let count = lock(&round.jobs).len();
    if count == 0 {
        return Ok(());
    }
    let guests = options.guests.clamp(1, count);
    sh::say(format!(
        "{count} tests in {guests} virtual machines with {}",
        kernel.release
    ));
    let begin = Instant::now();
    let mut sum = Tally::default();
    let runs: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..guests)
            .map(|_| scope.spawn(|| round.guests()))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|run| run.unwrap_or_else(|_| Err(anyhow!("the thread of a guest panicked"))))
            .collect()
    });
    for run in runs {
        sum.add(run?);
    }
    let times = round.table()?;
    sh::say(format!(
        "{}: {} passed in {:.0} s; {times}",
        kernel.series,
        sum.passed,
        begin.elapsed().as_secs_f64(),
    ));
    tally.add(sum);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Round<'_> {
    /// Writes the table of times, the dearest first, to `target/vm/times-SERIES.txt`, and says the sums.
    fn table(&self) -> Result<String> {
        let mut times = lock(&self.times);
        times.sort_by(|a, b| b.cpu.total_cmp(&a.cpu));
        let sum = |get: fn(&Time) -> f64| times.iter().map(get).sum::<f64>();
        let (wall, cpu) = (sum(|t| t.wall), sum(|t| t.cpu));
        let mut text = String::from("seconds  processor seconds  test\n");
        for time in times.iter() {
            text += &format!("{:7.1} {:18.1}  {}\n", time.wall, time.cpu, time.name);
        }
        text += &format!("{wall:7.1} {cpu:18.1}  all\n");
        let file = sh::target().join(format!("vm/times-{}.txt", self.kernel.series));
        fs::write(&file, text)?;
        Ok(format!(
            "{wall:.0} s of tests, {cpu:.0} s of processor time, in {}",
            file.display()
        ))
    }

    /// One guest, and another in its place as long as one dies and there are tests.
    fn guests(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let whole = self.guest(&mut tally)?;
            if whole || lock(&self.jobs).is_empty() || tally.failed.len() > 5 {
                return Ok(tally);
            }
        }
    }

    /// Runs tests in a guest until there are none left; false when it did not come to its end.
    fn guest(&self, tally: &mut Tally) -> Result<bool> {
        let series = &self.kernel.series;
        let claim = vm::claim(&format!("test-{series}"))?;
        let tests = vm::share(&claim.name).join("tests");
        cache::remove_tree(&tests)?;
        fs::create_dir_all(&tests)?;
        for entry in fs::read_dir(sh::root().join("tests/vm"))? {
            sh::copy_into(&entry?.path(), &tests)?;
        }
        // A kernel that watches itself is slow for it.
        let debug = self.kernel.built.is_some();
        let slower = if debug { 8 } else { 1 };
        let more = u64::from(self.rounds.unwrap_or(0)) * ROUND_SECONDS;
        let rounds = self
            .rounds
            .map_or(String::new(), |n| format!("ROUNDS={n} "));
        let spec = Spec {
            name: claim.name.clone(),
            kernel: self.kernel,
            memory_mib: if debug { 3072 } else { 1536 },
            cpus: 2,
            timeout: Duration::from_secs(1800 * slower + more),
            disks: disks(),
            // A piece of memory that is a disk, /dev/pmem0.
            append: format!("memmap=16M!1G{}", if debug { NO_FIVE_LEVELS } else { "" }),
            script: format!(
                "{rounds}SLOWER={slower} TEST_SECONDS={} exec bash /host/tests/run.sh </dev/ttyS1\n",
                120 * slower + more
            ),
            programs: self.programs.to_vec(),
            modules: Some(modules::folder(self.kernel).join("guest")),
            accel: Accel::Any,
            emulator: Vec::new(),
        };
        let mut ended = false;
        // Processor time when the last test ended.
        let mut cpu = 0.0;
        let mut at: Option<Job> = None;
        let mut failed = Vec::new();
        let (mut passed, mut skipped) = (0, 0);
        let outcome = vm::run(self.setup, &spec, &mut |line, live| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "NEXT" => {
                    if cpu == 0.0 {
                        cpu = live.cpu_seconds();
                        lock(&self.times).push(Time {
                            name: "(a guest's start)".into(),
                            wall: 0.0,
                            cpu,
                        });
                    }
                    at = lock(&self.jobs).pop_front();
                    let answer = at
                        .as_ref()
                        .map_or("END".into(), |job| format!("{} {}", job.file, job.name));
                    live.answer(&answer);
                    return;
                }
                "PASS" => {
                    passed += 1;
                }
                "FAIL" => failed.push(format!("{series}: {rest}")),
                "SKIP" => skipped += 1,
                "END" => ended = true,
                _ => {}
            }
            if ["PASS", "FAIL", "SKIP"].contains(&word) {
                at = None;
                let now = live.cpu_seconds();
                lock(&self.times).push(Time {
                    name: rest.split(' ').next().unwrap_or_default().into(),
                    wall: seconds(rest),
                    cpu: now - cpu,
                });
                cpu = now;
            }
            println!("  {series}  {line}");
        })?;
        tally.passed += passed;
        tally.skipped += skipped;
        let blamed = failed.iter().any(|f| f.contains("kernel log"));
        tally.failed.append(&mut failed);
        if !ended || (outcome.complaint.is_some() && !blamed) {
            let test = at.map_or(String::new(), |job| format!(" {}:", job.name));
            let why = outcome
                .failure()
                .unwrap_or_else(|| "the tests did not come to their end".into());
            tally.fail(format!("{series}:{test} {why}"));
        }
        let _ = fs::remove_dir_all(outcome.dir.join("disks"));
        Ok(ended)
    }
}

/// The seconds of `name (1.2 s)`.
fn seconds(text: &str) -> f64 {
    let rest = text.split_once(" (").map_or("", |(_, rest)| rest);
    let number = rest.strip_suffix(" s)").map(str::parse);
    number.and_then(Result::ok).unwrap_or(0.0)
}

/// The disks of the guests.
fn disks() -> Vec<Disk> {
    [("a", 32), ("b", 32), ("c", 512), ("d", 512), ("nvme", 16)]
        .map(|(serial, mib): (&str, u64)| Disk {
            serial: serial.into(),
            bytes: mib << 20,
            nvme: serial == "nvme",
        })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_debug_kernel_leaves_out_is_there() {
        let all = jobs("", None, false).unwrap();
        let named = jobs(&left_out().collect::<Vec<_>>().join("|"), None, true).unwrap();
        for name in left_out() {
            assert!(
                named.iter().any(|job| job.name == format!("t_{name}")),
                "{name}"
            );
        }
        let debug = jobs("", None, true).unwrap();
        let injected = debug.iter().filter(|job| job.name.contains("injected"));
        assert_eq!(
            debug.len() - injected.count(),
            all.len() - left_out().count()
        );
    }

    #[test]
    fn tests_are_found_in_the_files() {
        let text = "helper() {\nt_one() {\n  t_two() {\nt_three_4() { # long\nt_five() { true; }\n\
                    t_six() { # debug\n";
        let found: Vec<_> = tests_of(text).collect();
        assert_eq!(
            found,
            [
                ("", "t_one"),
                ("long", "t_three_4"),
                ("true; }", "t_five"),
                ("debug", "t_six")
            ]
        );
        let places: Vec<_> = (0..9)
            .map(|long| (place("long", long, 3), place("long", long, 2)))
            .collect();
        assert_eq!(places[..3], [(1, 0), (2, 1), (0, 0)]);
        assert_eq!(places[7..], [(0, 1), (1, 0)]);
        assert_eq!((place("long 7.3", 0, 3), place("long 7.3", 0, 2)), (2, 0));
        assert_eq!(
            (seconds("one (1.5 s)"), seconds("one line 3: x (1)")),
            (1.5, 0.0)
        );
    }
}
