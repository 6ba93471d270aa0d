// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The engine under random schedules, against a plain copy of the disk.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the tests' numbers are small"
)]

mod machine;

use blksnap_core::cow::{Action, BatchId, CopyId, Engine, Epoch, Limits, Source};
use blksnap_core::BlockRange;
use machine::{Bits, Machine};
use proptest::prelude::*;

fn limits() -> impl Strategy<Value = Limits> {
    (1..9u32, prop_oneof![1..4u32, 1..64u32], 1..40u32, 1..4u32).prop_map(
        |(copy_blocks, pool_blocks, store_batch_blocks, stores_in_flight)| Limits {
            copy_blocks,
            pool_blocks,
            store_batch_blocks,
            stores_in_flight,
            ..Limits::default()
        },
    )
}

/// What the schedule does next; numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64),
    ImageWrite(usize, u64, u64),
    ImageRead(usize, u64),
    Free(usize, u64, u64),
    Take,
    End(usize),
    /// One action is taken from the engine, and its I/O started.
    Act,
    /// One of the I/Os under way completes.
    Complete(usize),
    /// What is ready has waited for long enough.
    StoreNow,
}

fn steps(blocks: u64, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let count = move || prop_oneof![4 => 1..6u64, 1 => 1..blocks + 2];
    let step = prop_oneof![
        20 => (0..blocks, count()).prop_map(|(at, n)| Step::Write(at, n)),
        4 => (0..9usize, 0..blocks, count()).prop_map(|(i, at, n)| Step::ImageWrite(i, at, n)),
        10 => (0..9usize, 0..blocks).prop_map(|(i, at)| Step::ImageRead(i, at)),
        1 => (0..9usize, 0..blocks, count()).prop_map(|(i, at, n)| Step::Free(i, at, n)),
        4 => Just(Step::Take),
        2 => (0..9usize).prop_map(Step::End),
        40 => Just(Step::Act),
        40 => any::<prop::sample::Index>().prop_map(|i| Step::Complete(i.index(1000))),
        10 => Just(Step::StoreNow),
    ];
    prop::collection::vec(step, 1..most)
}

fn run(blocks: u64, limits: Limits, steps: &[Step]) -> Machine {
    let mut machine = Machine::new(blocks, limits);
    for step in steps {
        match *step {
            Step::Write(at, count) => machine.write(BlockRange { start: at, count }),
            Step::ImageWrite(image, at, count) => {
                machine.image_write(image, BlockRange { start: at, count })
            }
            Step::ImageRead(image, at) => machine.image_read(image, at),
            Step::Free(image, at, count) => machine.free(image, BlockRange { start: at, count }),
            Step::Take => machine.take(),
            Step::End(which) => machine.end(which),
            Step::Act => {
                machine.act();
            }
            Step::Complete(which) => machine.complete(which),
            Step::StoreNow => machine.store_now(),
        }
        machine.check();
    }
    machine
}

proptest! {
    #[test]
    fn the_image_stays_as_it_was(
        (blocks, steps) in (1..120u64).prop_flat_map(|b| (Just(b), steps(b, 400))), limits in limits()
    ) {
        let mut machine = run(blocks, limits, &steps);
        machine.settle();
        machine.check_image();
    }

    #[test]
    fn failure_releases_everything(
        (blocks, steps) in (1..120u64).prop_flat_map(|b| (Just(b), steps(b, 200))), limits in limits(), more in 0..50usize
    ) {
        let mut machine = run(blocks, limits, &steps);
        machine.fail();
        // What was under way completes late; it must do no harm.
        for which in 0..more {
            { machine.act(); };
            machine.complete(which);
        }
        machine.settle();
    }
}

const EPOCH: Epoch = Epoch(1);

/// An engine with one snapshot, and its bits.
fn taken(blocks: u64, limits: Limits) -> (Engine, Bits) {
    let mut engine = Engine::new(blocks, limits, || 0).unwrap();
    let saved = Bits::new(blocks).unwrap();
    engine.prepare().unwrap();
    assert_eq!(engine.take(), Some(EPOCH));
    (engine, saved)
}

/// Runs the engine's actions at once and says which reads and stores there were.
fn drive(
    engine: &mut Engine,
    saved: &Bits,
    slot: &mut u64,
) -> (Vec<BlockRange>, Vec<u32>, Vec<u64>) {
    let (mut reads, mut stores, mut released) = (vec![], vec![], vec![]);
    // All that is asked for first, as a caller does that gathers what arrived.
    let next = |engine: &mut Engine| {
        engine.next_action().or_else(|| {
            engine.store_now();
            engine.next_action()
        })
    };
    while let Some(action) = next(engine) {
        match action {
            Action::Read { copy, range } => {
                reads.push(range);
                engine.read_done(saved, copy, true).unwrap();
            }
            Action::Store { batch, blocks, .. } => {
                stores.push(blocks);
                assert_eq!(
                    engine
                        .batch(batch)
                        .map(|(_, range)| range.count)
                        .sum::<u64>(),
                    u64::from(blocks)
                );
                engine.store_done(saved, batch, *slot).unwrap();
                *slot += u64::from(blocks);
            }
            Action::Release { token } => released.push(token),
            _ => {}
        }
    }
    (reads, stores, released)
}

#[test]
fn a_first_write_costs_one_read_and_one_store() {
    let (mut engine, saved) = taken(1 << 20, Limits::default());
    let mut slot = 0;
    engine
        .write(
            &saved,
            1,
            BlockRange {
                start: 777,
                count: 1,
            },
        )
        .unwrap();
    let (reads, stores, released) = drive(&mut engine, &saved, &mut slot);
    assert_eq!(
        reads,
        [BlockRange {
            start: 777,
            count: 1
        }]
    );
    assert_eq!((stores, released, slot), (vec![1], vec![1], 1));
    // The second costs neither, and need not even be told.
    assert!(saved.covers(BlockRange {
        start: 777,
        count: 1
    }));
    engine
        .write(
            &saved,
            2,
            BlockRange {
                start: 777,
                count: 1,
            },
        )
        .unwrap();
    assert_eq!(
        drive(&mut engine, &saved, &mut slot),
        (vec![], vec![], vec![2])
    );
    assert_eq!(
        engine.resolve(EPOCH, 777, 10),
        (Source::Store { slot: 0 }, 1)
    );
    assert_eq!(engine.resolve(EPOCH, 778, 10), (Source::Origin, 10));
}

#[test]
fn neighbours_become_one_read() {
    let (mut engine, saved) = taken(1 << 20, Limits::default());
    for (token, start) in [(1, 100), (2, 101), (3, 99), (4, 98), (5, 102)] {
        engine
            .write(&saved, token, BlockRange { start, count: 1 })
            .unwrap();
    }
    let (reads, _, mut released) = drive(&mut engine, &saved, &mut 0);
    assert_eq!(
        reads,
        [BlockRange {
            start: 98,
            count: 5
        }]
    );
    released.sort_unstable();
    assert_eq!(released, [1, 2, 3, 4, 5]);
}

/// Writes to single blocks far apart; the copies that are asked for.
fn scattered(engine: &mut Engine, saved: &Bits, count: u64) -> Vec<CopyId> {
    for token in 0..count {
        let start = token * 1000;
        engine
            .write(saved, token, BlockRange { start, count: 1 })
            .unwrap();
    }
    let mut copies = Vec::new();
    while let Some(action) = engine.next_action() {
        match action {
            Action::Read { copy, .. } => copies.push(copy),
            action => panic!("{action:?} before any block is read"),
        }
    }
    copies
}

/// The size of the next store, with what is released before it.
fn next_store(engine: &mut Engine) -> Option<u32> {
    loop {
        match engine.next_action()? {
            Action::Store { blocks, .. } => return Some(blocks),
            Action::Release { .. } => {}
            action => panic!("{action:?}"),
        }
    }
}

#[test]
fn a_small_store_lingers_until_it_is_large_or_has_waited() {
    let (mut engine, saved) = taken(1 << 20, Limits::default());
    let copies = scattered(&mut engine, &saved, 40);
    assert_eq!(copies.len(), 40);
    assert!(!engine.lingers());
    for (read, copy) in (1..).zip(&copies[..32]) {
        engine.read_done(&saved, *copy, true).unwrap();
        assert_eq!(engine.lingers(), read < 32, "after {read} reads");
        let expected = (read == 32).then_some(32);
        assert_eq!(next_store(&mut engine), expected, "after {read} reads");
    }
    // Behind another one it waits for its end.
    engine.read_done(&saved, copies[32], true).unwrap();
    engine.store_now();
    assert!(!engine.lingers());
    assert_eq!(next_store(&mut engine), None);
    engine.store_done(&saved, BatchId(0), 0).unwrap();
    for _ in 0..32 {
        let freed = engine.next_action();
        assert!(matches!(freed, Some(Action::FreeCopy { .. })), "{freed:?}");
    }
    assert_eq!(next_store(&mut engine), None);
    assert!(engine.lingers());
    engine.store_now();
    assert_eq!(next_store(&mut engine), Some(1));
}

#[test]
fn a_small_store_is_not_waited_for_when_the_pool_is_full() {
    let limits = Limits {
        pool_blocks: 8,
        ..Limits::default()
    };
    let (mut engine, saved) = taken(1 << 20, limits);
    let copies = scattered(&mut engine, &saved, 9);
    assert_eq!(copies.len(), 8);
    engine.read_done(&saved, copies[0], true).unwrap();
    assert_eq!(next_store(&mut engine), Some(1));
}

#[test]
fn a_write_larger_than_the_pool_goes_by_slices() {
    let limits = Limits {
        copy_blocks: 8,
        pool_blocks: 16,
        store_batch_blocks: 16,
        stores_in_flight: 1,
        ..Limits::default()
    };
    let (mut engine, saved) = taken(1 << 20, limits);
    // A write-zeroes of 1 GiB, and a small write behind it that need not wait for all of it.
    engine
        .write(
            &saved,
            1,
            BlockRange {
                start: 0,
                count: 1 << 18,
            },
        )
        .unwrap();
    engine
        .write(
            &saved,
            2,
            BlockRange {
                start: 1 << 19,
                count: 1,
            },
        )
        .unwrap();
    let (reads, _, released) = drive(&mut engine, &saved, &mut 0);
    assert_eq!(released, [2, 1]);
    assert!(reads.iter().all(|range| range.count <= 8));
    assert_eq!(engine.stats().copy_read_blocks, (1 << 18) + 1);
    assert!(engine.idle());
}

#[test]
fn a_write_behind_a_failed_read_is_released() {
    let (mut engine, saved) = taken(64, Limits::default());
    engine
        .write(&saved, 9, BlockRange { start: 0, count: 1 })
        .unwrap();
    let Some(Action::Read { copy, .. }) = engine.next_action() else {
        panic!("a read is wanted")
    };
    assert!(engine.read_done(&saved, copy, false).is_err());
    engine.fail(&saved);
    assert_eq!(engine.next_action(), Some(Action::Release { token: 9 }));
    assert_eq!(engine.next_action(), None);
    assert!(
        engine.idle()
            && saved.covers(BlockRange {
                start: 0,
                count: 64
            })
    );
    assert!(engine
        .write(&saved, 10, BlockRange { start: 0, count: 1 })
        .is_err());
}
