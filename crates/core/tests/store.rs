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
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..40u32).prop_map(Step::Allocate),
        4 => Just(Step::Grow),
        1 => (0..50u64).prop_map(Step::GrowLess),
        1 => Just(Step::Stop),
    ]
}

proptest! {
    #[test]
    fn slots_are_handed_out_once(
        capacity in 0..200u64, limit in 0..600u64, portion in 0..100u64, steps in prop::collection::vec(step(), 0..80)
    ) {
        let mut space = StoreSpace::new(capacity, limit, portion);
        let mut there = vec![false; capacity.min(limit) as usize];
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
                        prop_assert!(slots > 0 && slots <= portion);
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

#[test]
fn addresses_fit() {
    let space = StoreSpace::new(u64::MAX, u64::MAX, 1);
    assert_eq!(space.limit(), MAX_SLOTS);
}
