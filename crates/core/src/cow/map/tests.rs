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
    /// The run there, if it is a copy, takes in the free blocks beside it.
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
                    let place = Place::Copy(self.copies.len() as u32);
                    self.copies.push((at, count));
                    // The spot is that of any of its blocks.
                    let before = at % count;
                    let near = self.map.near(at + before);
                    assert!(near.gap() >= count - before && near.gap_before() >= before);
                    self.map.insert(&near, before, count, place).unwrap();
                    (at..at + count).for_each(|block| {
                        self.oracle.insert(block, place);
                    });
                }
            }
            Step::Store { at, gap } => {
                if let Some(copy) = self.copy_at(at) {
                    let (start, count) = self.copies[copy];
                    let slot = self.next_slot + gap;
                    self.next_slot = slot + count;
                    self.map.stored(start, slot);
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
                        let near = self.map.near(end);
                        assert_eq!(near.before(), Some(Place::Copy(copy as u32)));
                        self.map.grow_before(&near, 1);
                        self.copies[copy].1 += 1;
                        self.oracle.insert(end, Place::Copy(copy as u32));
                    }
                    let (start, count) = self.copies[copy];
                    let room = start % GROUP_BLOCKS != 0 && !self.oracle.contains_key(&(start - 1));
                    if room && count < MAX_RUN {
                        let near = self.map.near(start - 1);
                        assert_eq!(near.after(1), Some(Place::Copy(copy as u32)));
                        self.map.grow_after(&near);
                        self.copies[copy] = (start - 1, count + 1);
                        self.oracle.insert(start - 1, Place::Copy(copy as u32));
                    }
                }
            }
        }
    }

    fn copy_at(&self, at: u64) -> Option<usize> {
        match self.oracle.range(at..).next() {
            Some((_, Place::Copy(copy))) => Some(*copy as usize),
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

#[derive(Clone, Debug)]
enum Own {
    Zero { at: u64, count: u64 },
    Store { at: u64, count: u64 },
}

fn own_steps(blocks: u64) -> impl Strategy<Value = Vec<Own>> {
    let at = move || prop_oneof![0..blocks.min(2000), 0..blocks];
    let count = move || prop_oneof![3 => 1..8u64, 1 => 1..blocks + 1];
    let step = prop_oneof![
        1 => (at(), count()).prop_map(|(at, count)| Own::Zero { at, count }),
        3 => (at(), 1..900u64).prop_map(|(at, count)| Own::Store { at, count }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The overlay against a list of blocks: slots replace zeros, zeros nothing.
    #[test]
    fn an_overlay_is_what_was_entered(
        (blocks, steps) in prop_oneof![1..3000u64, 262_000..266_000u64].prop_flat_map(|b| (Just(b), own_steps(b)))
    ) {
        let mut overlay = Overlay::default();
        let mut oracle: Vec<Option<Place>> = std::vec![None; blocks as usize];
        prop_assert_eq!(overlay.find(blocks / 2, 7), (None, 7));
        overlay.open(blocks).unwrap();
        let mut slot = 0;
        for step in steps {
            match step {
                Own::Zero { at, count } => {
                    let range = BlockRange { start: at, count }.clip(blocks);
                    let part = &mut oracle[range.start as usize..range.end() as usize];
                    let fresh = part.iter().filter(|place| place.is_none()).count() as u64;
                    part.iter_mut().for_each(|place| *place = place.or(Some(Place::Zero)));
                    prop_assert_eq!(overlay.zero(range), Ok(fresh));
                }
                Own::Store { at, count } => {
                    let range = BlockRange { start: at, count }.clip(blocks);
                    overlay.store(range, slot).unwrap();
                    for block in range.start..range.end() {
                        let place = &mut oracle[block as usize];
                        if !matches!(place, Some(Place::Stored(_))) {
                            *place = Some(Place::Stored(slot + block - range.start));
                        }
                    }
                    slot += range.count;
                }
            }
            let mut at = 0;
            while at < blocks {
                let (place, run) = overlay.find(at, blocks - at);
                for i in 0..run {
                    let expected = match place {
                        Some(Place::Stored(slot)) => Some(Place::Stored(slot + i)),
                        place => place,
                    };
                    prop_assert_eq!(oracle[(at + i) as usize], expected);
                }
                at += run;
            }
        }
    }
}
