// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The map against a `BTreeMap` of single blocks.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the tests' numbers are small"
)]

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// What a test does to map and oracle.
#[derive(Clone, Debug)]
enum Step {
    /// Enters a run where there is room near a place.
    Insert { at: u64, count: u64 },
    /// The run there goes from copy to store.
    Store { at: u64, gap: u64 },
    /// The run there, if it is a copy, takes in the free block behind it.
    Grow { at: u64 },
}

fn steps(blocks: u64) -> impl Strategy<Value = Vec<Step>> {
    // Some places in one corner, so that runs meet.
    let at = move || prop_oneof![0..blocks.min(3000), 0..blocks];
    let step = prop_oneof![
        5 => (at(), prop_oneof![1..4u64, 1..=MAX_RUN]).prop_map(|(at, count)| Step::Insert { at, count }),
        4 => (at(), 0..2u64).prop_map(|(at, gap)| Step::Store { at, gap }),
        1 => at().prop_map(|at| Step::Grow { at }),
    ];
    prop::collection::vec(step, 1..600)
}

struct Pair {
    map: BlockMap,
    oracle: BTreeMap<u64, Place>,
    /// Start and length of each copy.
    copies: Vec<(u64, u64)>,
    next_slot: u64,
    blocks: u64,
}

impl Pair {
    fn new(blocks: u64) -> Self {
        let map = BlockMap::new(blocks).unwrap();
        Self {
            map,
            oracle: BTreeMap::new(),
            copies: Vec::new(),
            next_slot: 0,
            blocks,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Insert { at, count } => {
                let free = (at..(at + count).min(self.blocks))
                    .take_while(|block| !self.oracle.contains_key(block));
                let end = (at / GROUP_BLOCKS + 1) * GROUP_BLOCKS;
                let count = free.take_while(|block| *block < end).count() as u64;
                if count > 0 {
                    let place = Place::Reading(self.copies.len() as u32);
                    self.copies.push((at, count));
                    self.map
                        .insert(BlockRange { start: at, count }, place)
                        .unwrap();
                    (at..at + count).for_each(|block| {
                        self.oracle.insert(block, place);
                    });
                }
            }
            Step::Store { at, gap } => {
                if let Some(copy) = self.copy_at(at) {
                    let (start, count) = self.copies[copy];
                    self.map.replace(start, Place::Memory(copy as u32));
                    assert_eq!(
                        self.map.find(start, count),
                        (Some(Place::Memory(copy as u32)), count)
                    );
                    let slot = self.next_slot + gap;
                    self.next_slot = slot + count;
                    self.map.replace(start, Place::Stored(slot));
                    self.map.join(start);
                    (0..count).for_each(|i| {
                        self.oracle.insert(start + i, Place::Stored(slot + i));
                    });
                }
            }
            Step::Grow { at } => {
                if let Some(copy) = self.copy_at(at) {
                    let (start, count) = self.copies[copy];
                    let end = start + count;
                    let room = end < self.blocks
                        && end % GROUP_BLOCKS != 0
                        && !self.oracle.contains_key(&end);
                    if room && count < MAX_RUN {
                        self.map.resize(
                            start,
                            BlockRange {
                                start,
                                count: count + 1,
                            },
                        );
                        self.copies[copy].1 += 1;
                        self.oracle.insert(end, Place::Reading(copy as u32));
                    }
                }
            }
        }
    }

    fn copy_at(&self, at: u64) -> Option<usize> {
        match self.oracle.range(at..).next() {
            Some((_, Place::Reading(copy))) => Some(*copy as usize),
            _ => None,
        }
    }

    /// Walks the whole map by runs.
    fn check(&self) {
        let mut at = 0;
        while at < self.blocks {
            let (place, run) = self.map.find(at, self.blocks - at);
            assert!(run >= 1 && at + run <= self.blocks);
            match place {
                None => assert_eq!(
                    self.oracle.range(at..at + run).next(),
                    None,
                    "hole at {at} of {run}"
                ),
                Some(place) => {
                    for i in 0..run {
                        let expected = match place {
                            Place::Stored(slot) => Place::Stored(slot + i),
                            place => place,
                        };
                        assert_eq!(
                            self.oracle.get(&(at + i)),
                            Some(&expected),
                            "block {}",
                            at + i
                        );
                    }
                }
            }
            at += run;
        }
    }

    fn saved(&self) -> usize {
        self.oracle.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn finds_what_was_entered(
        (blocks, steps) in prop_oneof![1..5000u64, 200_000..600_000u64].prop_flat_map(|b| (Just(b), steps(b)))
    ) {
        let mut pair = Pair::new(blocks);
        for (n, step) in steps.iter().enumerate() {
            pair.step(step);
            if n % 150 == 0 {
                pair.check();
            }
        }
        pair.check();
    }
}

/// Single blocks all over a device, none joined: the most memory a saved block can take.
#[test]
fn memory_for_scattered_blocks() {
    // 4 GiB, every fourth block, in an order that is no order.
    let blocks = 4 * GROUP_BLOCKS;
    let mut pair = Pair::new(blocks);
    let mut at = 0;
    for _ in 0..blocks / 4 {
        at = (at + 4 * 104_729) % blocks;
        pair.step(&Step::Insert { at, count: 1 });
    }
    pair.check();
    let each = pair.map.memory_bytes() / pair.saved();
    assert!(each <= 20, "{each} bytes a block");
}

/// Single blocks in descending order, behind a full leaf: no leaf for each.
#[test]
fn memory_for_a_descending_stream() {
    let mut pair = Pair::new(GROUP_BLOCKS);
    (0..128).for_each(|at| {
        pair.step(&Step::Insert {
            at: 2 * at,
            count: 1,
        })
    });
    for at in (200..20_000).rev() {
        pair.step(&Step::Insert {
            at: 2 * at,
            count: 1,
        });
    }
    pair.check();
    let each = pair.map.memory_bytes() / pair.saved();
    assert!(each <= 20, "{each} bytes a block");
}

/// A stream of copies, stored in order, is few entries.
#[test]
fn a_stream_joins() {
    let blocks = GROUP_BLOCKS;
    let mut pair = Pair::new(blocks);
    for at in (0..blocks).step_by(64) {
        pair.step(&Step::Insert { at, count: 64 });
        pair.step(&Step::Store { at, gap: 0 });
    }
    pair.check();
    assert!(pair.map.memory_bytes() < 16 << 10);
    assert_eq!(pair.map.find(0, blocks), (Some(Place::Stored(0)), MAX_RUN));
}
