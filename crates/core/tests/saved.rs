// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The bits of saved blocks, set by an engine, against a list of booleans.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the tests' numbers are small"
)]

use std::sync::OnceLock;

use blksnap_core::cow::{Action, Engine, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;
use proptest::prelude::*;

type Bits = Saved<OnceLock<SavedPage>>;

/// An engine with one snapshot, and its bits.
fn taken(blocks: u64) -> (Engine, Bits) {
    let mut engine = Engine::new(blocks, Limits::default(), || 0).unwrap();
    let saved = Bits::new(blocks).unwrap();
    engine.prepare().unwrap();
    engine.take().unwrap();
    (engine, saved)
}

/// Lets `engine` copy and store all that it holds; stores succeed in slots one behind the other. What was copied is set in `copied`, each block once.
fn settle(engine: &mut Engine, saved: &Bits, slot: &mut u64, copied: &mut [bool]) {
    let next = |engine: &mut Engine| {
        engine.store_now();
        engine.next_action()
    };
    while let Some(action) = next(engine) {
        match action {
            Action::Read { copy, range } => {
                for block in range.start..range.end() {
                    assert!(!std::mem::replace(&mut copied[block as usize], true));
                }
                engine.read_done(saved, copy, true).unwrap();
            }
            Action::Store { batch, blocks, .. } => {
                engine.store_done(saved, batch, *slot).unwrap();
                *slot += u64::from(blocks);
            }
            _ => {}
        }
    }
    assert!(engine.idle());
}

proptest! {
    #[test]
    fn covers_what_was_saved(
        blocks in 1..100_000u64,
        writes in prop::collection::vec((any::<u64>(), prop_oneof![0..10u64, 0..70_000u64]), 1..20),
        asks in prop::collection::vec((any::<u64>(), prop_oneof![0..10u64, 0..70_000u64]), 100),
    ) {
        let (mut engine, saved) = taken(blocks);
        let mut oracle = vec![false; blocks as usize];
        let mut slot = 0;
        for (token, (at, count)) in (0..).zip(writes) {
            let range = BlockRange { start: at % (blocks + 5), count };
            engine.write(&saved, token, range).unwrap();
            settle(&mut engine, &saved, &mut slot, &mut oracle);
            let range = range.clip(blocks);
            prop_assert!(oracle[range.start as usize..range.end() as usize].iter().all(|copied| *copied));
        }
        for (at, count) in asks {
            let range = BlockRange { start: at % (blocks + 5), count };
            let clipped = range.clip(blocks);
            let expected = oracle[clipped.start as usize..clipped.end() as usize].iter().all(|saved| *saved);
            prop_assert_eq!(saved.covers(range), expected);
            let untouched = oracle[clipped.start as usize..clipped.end() as usize].iter().all(|saved| !*saved);
            prop_assert_eq!(saved.untouched(range), untouched);
        }
        // Each block was stored once.
        prop_assert_eq!(slot, oracle.iter().filter(|saved| **saved).count() as u64);
        prop_assert_eq!(engine.stats().saved_blocks, slot);
        saved.release_all();
        let all = BlockRange { start: 0, count: u64::MAX };
        assert!(saved.covers(all) && !saved.untouched(all));
    }
}

#[test]
fn an_idle_snapshot_takes_little() {
    // 16 TiB.
    let saved = Bits::new(1 << 32).unwrap();
    let engine = Engine::new(
        1 << 32,
        Limits {
            pool_blocks: 1024,
            ..Limits::default()
        },
        || 0,
    )
    .unwrap();
    // A cell of the kernel's is a pointer. These have room for what they will hold.
    let cells = saved.memory_bytes() * size_of::<usize>() / size_of::<OnceLock<SavedPage>>();
    let per_tib = (cells + engine.memory_bytes()) / 16;
    assert!(per_tib < 2 << 20, "{per_tib} bytes per TiB");
}

#[test]
fn ranges_round_outward() {
    assert_eq!(
        BlockRange::of_sectors(7, 2),
        BlockRange { start: 0, count: 2 }
    );
    assert_eq!(
        BlockRange::of_sectors(8, 8),
        BlockRange { start: 1, count: 1 }
    );
    assert_eq!(
        BlockRange::of_sectors(9, 0),
        BlockRange { start: 1, count: 0 }
    );
    assert_eq!(BlockRange::of_sectors(u64::MAX, u64::MAX).count, 1);
}
