// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How long writes wait at the bound of the memory for copies, by a clock that the test sets. `engine.rs` has it in random schedules.

use std::cell::Cell;
use std::sync::OnceLock;

use blksnap_core::cow::{Action, Engine, Limits, Policy, Saved, SavedPage, Stats};
use blksnap_core::BlockRange;

type Bits = Saved<OnceLock<SavedPage>>;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// An engine with one snapshot and a pool of so many blocks, and its bits.
fn taken(pool_blocks: u32, policy: Policy, clock: fn() -> u64) -> (Engine, Bits) {
    let limits = Limits {
        pool_blocks,
        stores_in_flight: 1,
        policy,
        ..Limits::default()
    };
    let mut engine = Engine::new(1 << 20, limits, clock).unwrap();
    engine.prepare().unwrap();
    engine.take().unwrap();
    (engine, Bits::new(1 << 20).unwrap())
}

fn write(engine: &mut Engine, saved: &Bits, token: u64) {
    let range = BlockRange {
        start: token << 10,
        count: 1,
    };
    engine.write(saved, token, range).unwrap();
}

/// Everything happens at once, but no store ends: that of the batch under way, if there is one.
fn settle(engine: &mut Engine, saved: &Bits) -> Option<Action> {
    let mut store = None;
    while let Some(action) = engine.next_action() {
        match action {
            Action::Read { copy, .. } => engine.read_done(saved, copy, true).unwrap(),
            Action::Store { .. } => store = Some(action),
            _ => {}
        }
    }
    store
}

fn store_ends(engine: &mut Engine, saved: &Bits, store: Option<Action>, slot: u64) {
    let Some(Action::Store { batch, .. }) = store else {
        panic!("{store:?} is no store")
    };
    engine.store_done(saved, batch, slot).unwrap();
}

fn waits(engine: &Engine) -> (u64, u64, u64) {
    let Stats {
        pool_waits,
        pool_wait_ns,
        pool_wait_longest_ns,
        ..
    } = engine.stats();
    (pool_waits, pool_wait_ns, pool_wait_longest_ns)
}

#[test]
fn a_write_that_finds_room_looks_at_no_clock() {
    let (mut engine, saved) = taken(4, Policy::Hold, || panic!("the clock is looked at"));
    for token in 0..4 {
        write(&mut engine, &saved, token);
    }
    let store = settle(&mut engine, &saved);
    store_ends(&mut engine, &saved, store, 0);
    assert_eq!(waits(&engine), (0, 0, 0));
}

#[test]
fn waits_for_room_are_summed_and_the_longest_is_told() {
    let (mut engine, saved) = taken(1, Policy::Hold, || NOW.get());
    let mut at = |now, token| {
        NOW.set(now);
        write(&mut engine, &saved, token);
    };
    at(100, 0);
    at(100, 1);
    at(130, 2);
    // One waits from 100 on, one from 130 on.
    NOW.set(150);
    assert_eq!(waits(&engine), (2, 70, 50));
    let store = settle(&mut engine, &saved);
    NOW.set(200);
    store_ends(&mut engine, &saved, store, 0);
    // The one that was first is served, and holds the room.
    NOW.set(210);
    assert_eq!(waits(&engine), (2, 100 + 80, 100));
    let store = settle(&mut engine, &saved);
    NOW.set(1000);
    store_ends(&mut engine, &saved, store, 1);
    NOW.set(5000);
    assert_eq!(waits(&engine), (2, 100 + 870, 870));
    settle(&mut engine, &saved);
    assert_eq!(engine.stats().held_now, 0);
}

#[test]
fn a_wait_ends_with_the_snapshots() {
    let (mut engine, saved) = taken(1, Policy::Hold, || NOW.get());
    NOW.set(7);
    for token in 0..3 {
        write(&mut engine, &saved, token);
    }
    NOW.set(10);
    engine.fail(&saved);
    NOW.set(500);
    assert_eq!(waits(&engine), (2, 6, 3));
}

#[test]
fn nobody_waits_where_the_snapshots_are_given_up() {
    let (mut engine, saved) = taken(1, Policy::GiveUp, || panic!("the clock is looked at"));
    write(&mut engine, &saved, 0);
    let range = BlockRange { start: 9, count: 1 };
    assert!(engine.write(&saved, 1, range).is_err());
    engine.fail(&saved);
    assert_eq!(waits(&engine), (0, 0, 0));
}

#[test]
fn of_several_engines_the_longest_wait_is_the_longest_of_all() {
    let stats = |pool_waits, pool_wait_ns, pool_wait_longest_ns| Stats {
        pool_waits,
        pool_wait_ns,
        pool_wait_longest_ns,
        ..Stats::default()
    };
    let mut all = stats(2, 30, 20);
    all += stats(3, 60, 25);
    all += stats(1, 4, 4);
    assert_eq!(all, stats(6, 94, 25));
}
