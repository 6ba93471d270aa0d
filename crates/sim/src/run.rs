// SPDX-License-Identifier: GPL-2.0-only
//! Running schedules, and making a failing one short.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::step::{Config, Step, schedule};
use crate::world::World;

/// How many steps happen between two times of settling.
const STRETCH: usize = 400;
/// Time to make a failing schedule shorter.
const SHRINK: Duration = Duration::from_secs(10);

/// A schedule that shows a defect.
#[derive(Debug)]
pub struct Failure {
    /// The seed that found it.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// The shortest list of steps that was found to show it, and the world.
    pub steps: Vec<Step>,
    /// See `steps`.
    pub config: Config,
    /// What happens, in words.
    pub trace: Vec<String>,
}

/// What became of a search.
#[derive(Debug)]
pub struct Outcome {
    /// Steps that were run.
    pub events: u64,
    /// Worlds that were run.
    pub worlds: u64,
    /// The first defect.
    pub failure: Option<Failure>,
}

/// Runs the world of one seed for `steps` steps.
///
/// # Errors
///
/// What is wrong, with a short schedule that shows it.
pub fn episode(seed: u64, steps: usize) -> Result<(), Box<Failure>> {
    let (config, steps) = schedule(seed, steps);
    check(seed, config, steps)
}

/// Runs these steps in this world, which came from `seed`.
///
/// # Errors
///
/// What is wrong, with a short schedule that shows it.
pub fn check(seed: u64, config: Config, steps: Vec<Step>) -> Result<(), Box<Failure>> {
    let Err(what) = run(&config, &steps, None) else {
        return Ok(());
    };
    let (steps, what) = shrink(&config, steps, what);
    let (_, trace) = replay(&config, &steps);
    Err(Box::new(Failure {
        seed,
        what,
        steps,
        config,
        trace,
    }))
}

/// What happens in a world with these steps, in words, and what is wrong at the end.
pub fn replay(config: &Config, steps: &[Step]) -> (Result<(), String>, Vec<String>) {
    let mut trace = Vec::new();
    let result = run(config, steps, Some(&mut trace));
    (result, trace)
}

/// What happens in the world of one seed, in words.
pub fn trace(seed: u64, steps: usize) -> Vec<String> {
    let (config, steps) = schedule(seed, steps);
    replay(&config, &steps).1
}

/// Runs seeds from `first` on, a world of `steps` steps each, until `go_on` has enough of the events so far, or one fails.
pub fn search(first: u64, steps: usize, mut go_on: impl FnMut(u64) -> bool) -> Outcome {
    let (mut events, mut worlds) = (0, 0);
    while go_on(events) {
        let result = episode(first.wrapping_add(worlds), steps);
        worlds += 1;
        events += steps as u64;
        if let Err(failure) = result {
            return Outcome {
                events,
                worlds,
                failure: Some(*failure),
            };
        }
    }
    Outcome {
        events,
        worlds,
        failure: None,
    }
}

/// Runs steps in a new world; a panic is a defect as well.
fn run(config: &Config, steps: &[Step], trace: Option<&mut Vec<String>>) -> Result<(), String> {
    let mut world = World::new(config.clone(), trace.is_some());
    let result = catch_unwind(AssertUnwindSafe(|| {
        for stretch in steps.chunks(STRETCH) {
            stretch.iter().try_for_each(|step| world.step(*step))?;
            world.settle()?;
        }
        Ok(())
    }));
    if let Some(trace) = trace {
        *trace = world.notes();
    }
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!(
            "panic: {}",
            text.or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("?")
        ))
    })
}

/// Leaves out steps for as long as something is still wrong, and not for too long.
fn shrink(config: &Config, mut steps: Vec<Step>, mut what: String) -> (Vec<Step>, String) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut size = steps.len().div_ceil(2);
    let begin = Instant::now();
    while size > 0 {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() && begin.elapsed() < SHRINK {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match run(config, &fewer, None) {
                Err(still) => (steps, what, shorter) = (fewer, still, true),
                Ok(()) => at += size,
            }
        }
        if !shorter {
            size /= 2;
        }
    }
    std::panic::set_hook(hook);
    (steps, what)
}
