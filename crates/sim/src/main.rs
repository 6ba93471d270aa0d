// SPDX-License-Identifier: GPL-2.0-only
//! `blksnap-sim`: searches for schedules that break a promise.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use blksnap_sim::search;

/// Longer than any world takes, with its shrinking.
const HANGS: Duration = Duration::from_secs(40);

const HELP: &str = "\
Searches for schedules of events that break a promise of the snapshot core.

Usage: blksnap-sim [--seed N] [--steps N] [--world N] [--seconds N]

  --seed N      first seed; each world has its own [default: from the clock]
  --steps N     events in all [default: 10000000]
  --world N     events in a world [default: 2000]
  --seconds N   stop after this much processor time as well
  --quiet       print nothing but a failure

Exit code: 0 nothing found, 1 a promise is broken (the schedule is printed), 2 wrong usage.

Example: blksnap-sim --seed 42 --steps 1000000
";

struct Options {
    seed: u64,
    steps: u64,
    world: usize,
    seconds: u64,
    quiet: bool,
}

fn options() -> Option<Options> {
    let clock = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(1, |since| since.as_secs());
    let mut options = Options {
        seed: clock << 20,
        steps: 10_000_000,
        world: 2000,
        seconds: u64::MAX,
        quiet: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--quiet" {
            options.quiet = true;
            continue;
        }
        let value: u64 = arguments.next()?.replace('_', "").parse().ok()?;
        match argument.as_str() {
            "--seed" => options.seed = value,
            "--steps" => options.steps = value,
            "--world" => options.world = usize::try_from(value).ok().filter(|world| *world > 0)?,
            "--seconds" => options.seconds = value,
            _ => return None,
        }
    }
    Some(options)
}

/// A world that does not end is a defect as well: says so, and ends the program.
fn watch(worlds: &Arc<AtomicU64>, first: u64) {
    let worlds = Arc::clone(worlds);
    thread::spawn(move || {
        loop {
            let before = worlds.load(Relaxed);
            thread::sleep(HANGS);
            if worlds.load(Relaxed) == before {
                println!(
                    "P2: the world of seed {} hangs",
                    first.wrapping_add(before).wrapping_sub(1)
                );
                std::process::exit(1);
            }
        }
    });
}

/// How long the caller's thread has had a processor; without Linux, what has passed since `begin`. So a busy machine finds as much
/// in a given time as a quiet one.
fn worked(begin: Instant) -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|spent| spent.split(' ').next()?.parse().ok());
    spent.map_or_else(|| begin.elapsed(), Duration::from_nanos)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    let (begin, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let worlds = Arc::new(AtomicU64::new(0));
    watch(&worlds, options.seed);
    let outcome = search(options.seed, options.world, |events| {
        worlds.fetch_add(1, Relaxed);
        events < options.steps && worked(begin) < limit
    });
    let seconds = worked(begin).as_secs_f64();
    if let Some(failure) = outcome.failure {
        println!("{}", failure.what);
        println!(
            "\nSeed {}, {:?}, {} steps:",
            failure.seed,
            failure.config,
            failure.steps.len()
        );
        failure.trace.iter().for_each(|line| println!("  {line}"));
        println!(
            "\nAgain: blksnap-sim --seed {} --steps 1 --world {}",
            failure.seed, options.world
        );
        println!(
            "Found after {} events in {seconds:.1} s of processor time",
            outcome.events
        );
        return ExitCode::FAILURE;
    }
    if !options.quiet {
        let rate = outcome.events as f64 / seconds / 1e6;
        println!(
            "{} events in {} worlds from seed {}: nothing found, {seconds:.1} s of processor time, {rate:.2} M events/s",
            outcome.events, outcome.worlds, options.seed
        );
    }
    ExitCode::SUCCESS
}
