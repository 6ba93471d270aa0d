// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The store's slots against a list of what was handed out.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the tests' numbers are small"
)]

use blksnap_core::store::{StoreSpace, MAX_SLOTS};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    Grow,
    GrowLess(u64),
    Stop,
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..40u32).prop_map(Step::Allocate),
        4 => Just(Step::Grow),
        1 => (0..50u64).prop_map(Step::GrowLess),
        1 => Just(Step::Stop),
        4 => (0..3000u64).prop_map(Step::Tick),
    ]
}

proptest! {
    #[test]
    fn slots_are_handed_out_once(
        capacity in 0..200u64, limit in 0..600u64, portion in 0..100u64, steps in prop::collection::vec(step(), 0..80)
    ) {
        let mut space = StoreSpace::new(capacity, limit, portion);
        let mut there = vec![false; capacity.min(limit) as usize];
        let mut now = 0;
        for step in steps {
            let growth = space.wants_growth();
            match step {
                Step::Allocate(count) => {
                    let free = there.iter().filter(|taken| !**taken).count() as u64;
                    let fits = u64::from(count) <= free;
                    prop_assert_eq!(space.allocate(count).is_some(), fits);
                    if fits {
                        let at = space.used() as usize - count as usize;
                        prop_assert!(there[at..at + count as usize].iter().all(|taken| !*taken));
                        there[at..at + count as usize].fill(true);
                    } else {
                        // Either more can come, or it says that this is the end.
                        prop_assert!(space.full(count) || space.wants_growth().is_some());
                    }
                }
                Step::Grow => {
                    if let Some(slots) = growth {
                        prop_assert!(slots > 0 && slots <= portion * 64);
                        space.grown(slots);
                        there.resize(there.len() + slots as usize, false);
                    }
                }
                Step::GrowLess(slots) => {
                    if let Some(most) = growth {
                        space.grown(slots.min(most));
                        there.resize(there.len() + slots.min(most) as usize, false);
                    }
                }
                Step::Tick(ms) => {
                    now += ms;
                    space.tick(now);
                }
                Step::Stop => {
                    space.stop_growing();
                    prop_assert_eq!(space.wants_growth(), None);
                }
            }
            prop_assert_eq!(space.capacity(), there.len() as u64);
            prop_assert!(space.used() <= space.capacity() && space.capacity() <= space.limit());
            prop_assert!(space.limit() <= limit);
        }
    }
}

#[test]
fn grows_ahead_of_use() {
    let mut space = StoreSpace::new(0, 250, 100);
    assert_eq!(space.wants_growth(), Some(100));
    space.grown(100);
    assert_eq!(space.wants_growth(), None);
    space.allocate(51);
    assert_eq!(space.wants_growth(), Some(100));
    space.grown(100);
    space.allocate(140);
    assert_eq!(space.wants_growth(), Some(50));
    assert!(!space.full(59));
    assert!(space.full(60));
}

/// Ticks each 100 ms, with so many slots taken in each.
fn write_for(space: &mut StoreSpace, now: &mut u64, ms: u64, slots: u32) {
    for _ in 0..ms / 100 {
        *now += 100;
        space.allocate(slots);
        space.tick(*now);
    }
}

#[test]
fn it_is_foreseen_when_it_will_be_full() {
    let (mut space, mut now) = (StoreSpace::new(100_000, 100_000, 0), 5000);
    assert_eq!(space.full_in_ms(), u64::MAX);
    assert!(!space.low(false));
    // 100 slots a second: 1000 s in all.
    write_for(&mut space, &mut now, 10_000, 10);
    assert_eq!(space.full_in_ms(), (100_000 - 1000) * 10);
    assert!(!space.low(false));
    // 20000 a second, and after some seconds nothing else counts.
    write_for(&mut space, &mut now, 2000, 2000);
    assert!(space.full_in_ms() < 60_000 && space.low(false));
    // Nothing for a while: no end in sight, and an eighth is not all that is left.
    write_for(&mut space, &mut now, 10_000, 0);
    assert_eq!(space.full_in_ms(), u64::MAX);
    assert!(!space.low(false));
    space.allocate(48_000);
    assert!(space.low(false));
}

#[test]
fn a_burst_into_an_empty_store_is_not_told() {
    let (mut space, mut now) = (StoreSpace::new(16_384, 16_384, 0), 5000);
    // 300 slots a second: full in less than a minute, with a sixteenth used.
    write_for(&mut space, &mut now, 3000, 30);
    assert!(space.full_in_ms() < 60_000);
    assert!(!space.low(false));
    // It goes on until a quarter is used.
    write_for(&mut space, &mut now, 10_600, 30);
    assert_eq!(space.used(), 4080);
    assert!(!space.low(false));
    write_for(&mut space, &mut now, 100, 30);
    assert!(space.low(false));
}

#[test]
fn what_goes_up_and_down_is_told_once() {
    let (mut space, mut now) = (StoreSpace::new(16_384, 16_384, 0), 5000);
    write_for(&mut space, &mut now, 20_000, 30);
    assert!(space.low(false));
    // A bit slower: full in 65 s.
    write_for(&mut space, &mut now, 10_000, 14);
    assert!((60_000..120_000).contains(&space.full_in_ms()));
    assert!(!space.low(false) && space.low(true));
    // An end: full in more than two minutes, with more than a quarter left.
    write_for(&mut space, &mut now, 10_000, 3);
    assert!(space.full_in_ms() > 120_000 && !space.low(true));
    // Less than a quarter left, but not less than an eighth.
    space.allocate(5000);
    assert!(!space.low(false) && space.low(true));
}

#[test]
fn a_fast_writer_is_kept_ahead_of() {
    let (mut space, mut now) = (StoreSpace::new(1000, 1 << 30, 1000), 0);
    // 50000 slots a second, from one moment to the next; what is wanted is there a quarter of a second later.
    let (mut missed, mut wanted) = (0, std::collections::VecDeque::new());
    for round in 0..200u64 {
        now += 10;
        space.tick(now);
        missed += u64::from(space.allocate(500).is_none() && round > 100);
        if wanted.is_empty() {
            wanted.extend(space.wants_growth().map(|slots| (round + 25, slots)));
        }
        if wanted.front().is_some_and(|(then, _)| *then == round) {
            wanted
                .pop_front()
                .into_iter()
                .for_each(|(_, slots)| space.grown(slots));
        }
    }
    assert_eq!(missed, 0, "it still waits after a second");
    assert!(
        space.capacity() - space.used() <= 64 * 1000 * 4,
        "and not without bound"
    );
}

#[test]
fn addresses_fit() {
    let space = StoreSpace::new(u64::MAX, u64::MAX, 1);
    assert_eq!(space.limit(), MAX_SLOTS);
}
