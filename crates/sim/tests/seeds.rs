// SPDX-License-Identifier: GPL-2.0-only
//! A fixed set of seeds, and some that nobody ran before.

use blksnap_sim::{schedule, search, trace};

fn run(first: u64, worlds: u64, steps: usize) {
    let outcome = search(first, steps, |events| events < worlds * steps as u64);
    if let Some(failure) = outcome.failure {
        panic!(
            "{} (seed {}):\n{}",
            failure.what,
            failure.seed,
            failure.trace.join("\n")
        );
    }
}

#[test]
fn fixed_seeds() {
    run(1, 2000, 2000);
}

#[test]
fn long_worlds() {
    run(1_000_000, 20, 100_000);
}

#[test]
fn new_seeds() {
    let clock = std::time::UNIX_EPOCH
        .elapsed()
        .expect("the clock is set")
        .as_secs();
    run(clock << 20, 1000, 2000);
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in 0..20 {
        assert_eq!(schedule(seed, 500).1, schedule(seed, 500).1);
        assert_eq!(trace(seed, 500), trace(seed, 500));
    }
}

/// The simulator does what it says it does: each kind of event is there.
#[test]
fn everything_happens() {
    let lines: Vec<String> = (0..300).flat_map(|seed| trace(seed, 1500)).collect();
    let wanted = [
        "is taken",
        "gives up",
        "has no memory",
        "destroyed",
        "waits at the gate",
        "is parked",
        "holds write",
        "passes, at last",
        "Err(Memory)",
        "fails",
        "the store is full",
        "the store fails",
        "cannot be read",
        "grows by",
        "FreeEpoch",
        "were free",
        "has read up to",
        "ahead of writes",
        "a storage lies in",
        "image write",
        "badly",
        "the storage writes",
        "the memory for copies is full",
        "is over",
        "FreeCopy",
        "is stored now",
        "read ",
        "to the image of snapshot",
        "declared changed",
    ];
    for words in wanted {
        let count = lines.iter().filter(|line| line.contains(words)).count();
        assert!(count > 0, "`{words}` never happens");
    }
}
