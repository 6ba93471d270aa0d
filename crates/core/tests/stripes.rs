// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Several engines for one device.

use std::sync::OnceLock;

use blksnap_core::cow::{
    Action, BatchId, Engine, Epoch, Limits, Policy, Saved, SavedPage, Source, Stripes,
};
use blksnap_core::BlockRange;
use proptest::prelude::*;

type Bits = Saved<OnceLock<SavedPage>>;

const BLOCKS: u64 = 1000;
const EPOCH: Epoch = Epoch(1);

fn range(start: u64, count: u64) -> BlockRange {
    BlockRange { start, count }
}

/// Four engines and stripes of 64 blocks, with one snapshot.
struct Chain {
    stripes: Stripes,
    engines: Vec<Engine>,
    saved: Bits,
}

impl Chain {
    fn new() -> Self {
        let stripes = Stripes::new(5, 100);
        assert_eq!(stripes.engines(), 4);
        let engines = (0..4).map(|_| {
            let mut engine = Engine::new(BLOCKS, Limits::default(), || 0).unwrap();
            engine.prepare().unwrap();
            assert_eq!(engine.take(), Some(EPOCH));
            engine
        });
        Self {
            stripes,
            engines: engines.collect(),
            saved: Bits::striped(BLOCKS, stripes).unwrap(),
        }
    }

    /// Offers a write until it passes. How many engines held it, one after the other.
    fn write(&mut self, token: u64, range: BlockRange) -> usize {
        let mut held = 0;
        while !self.saved.covers(range) {
            let (at, part) = self.stripes.part(&self.saved, range);
            self.engines[at].write(&self.saved, token, part).unwrap();
            held += 1;
            assert!(self.work(at), "{token} is not released");
        }
        held
    }

    /// Carries out what an engine wants. Whether a write was released.
    fn work(&mut self, at: usize) -> bool {
        let (engine, mut released) = (&mut self.engines[at], false);
        while let Some(action) = engine.next_action() {
            match action {
                Action::Read { copy, range } => {
                    let ends = (range.start, range.end() - 1);
                    let owner = |block| self.stripes.of(block);
                    assert_eq!((owner(ends.0), owner(ends.1)), (at, at), "{range:?}");
                    engine.read_done(&self.saved, copy, true).unwrap();
                }
                Action::Release { .. } => released = true,
                Action::Store { batch, .. } => store(engine, &self.saved, batch),
                _ => {}
            }
        }
        released
    }

    fn resolve(&self, block: u64) -> Source {
        self.engines[self.stripes.of(block)]
            .resolve(EPOCH, block, 1)
            .0
    }
}

fn store(engine: &mut Engine, saved: &Bits, batch: BatchId) {
    engine.store_done(saved, batch, 0).unwrap();
}

#[test]
fn a_write_to_several_stripes_is_held_by_one_engine_after_the_other() {
    let mut chain = Chain::new();
    assert_eq!(chain.write(1, range(70, 2)), 1);
    assert_eq!(chain.write(2, range(60, 200)), 5);
    assert_eq!(chain.write(3, range(60, 200)), 0);
    assert_ne!(chain.resolve(60), Source::Origin);
    assert_ne!(chain.resolve(259), Source::Origin);
    // The last one may be copied ahead of a stream, within its own stripe.
    assert_eq!(chain.resolve(320), Source::Origin);
}

#[test]
fn what_one_engine_copied_ahead_is_not_counted_for_another() {
    let mut chain = Chain::new();
    for block in 0..64 {
        chain.write(block, range(block, 1));
    }
    let first = chain.engines[0].stats();
    assert!(first.spec_used > 4, "a stream is copied ahead");
    for block in 64..69 {
        chain.write(block, range(block, 1));
    }
    let second = chain.engines[1].stats();
    assert!(second.spec_blocks > 0 && second.spec_used <= second.spec_blocks);
    assert!(second.spec_used < first.spec_used);
}

proptest! {
    #[test]
    fn parts_are_the_range(engines in 0..100u32, length in 0..5000u64, start in 0..20_000u64, count in 0..3000u64) {
        let (stripes, whole) = (Stripes::new(engines, length), range(start, count));
        let mut at = whole.start;
        for (engine, part) in stripes.parts(whole) {
            prop_assert_eq!(part.start, at);
            prop_assert!(part.count > 0 && engine < stripes.engines() as usize);
            for block in part.start..part.end() {
                prop_assert_eq!(stripes.of(block), engine);
            }
            at = part.end();
        }
        prop_assert_eq!(at, whole.end());
        if stripes == Stripes::ONE || stripes.engines() == 1 {
            prop_assert_eq!(stripes.first(whole), whole);
        }
    }

    #[test]
    fn writes_pass_and_are_copied_once(writes in proptest::collection::vec((0..1000u16, 1..300u16), 1..40)) {
        let (mut chain, mut written) = (Chain::new(), [false; 1000]);
        for (token, (start, count)) in writes.into_iter().enumerate() {
            let whole = range(start.into(), count.into()).clip(BLOCKS);
            chain.write(token as u64, whole);
            for (block, written) in (0..).zip(&mut written).skip(start.into()).take(count.into()) {
                *written = true;
                prop_assert_ne!(chain.resolve(block), Source::Origin);
            }
        }
        let needed = written.iter().filter(|one| **one).count() as u64;
        let copied: u64 = chain.engines.iter().map(|e| e.stats().copy_read_blocks).sum();
        prop_assert!(4 * copied <= 5 * needed + 4 * 256, "{} copied, {} needed", copied, needed);
    }
}

#[test]
fn there_are_as_many_engines_as_can_be_used() {
    const GIB: u64 = 1 << 18;
    let engines = |blocks, processors, limits: Limits| {
        let stripes = Stripes::fitting(blocks, processors, &limits);
        assert_eq!(
            stripes.share(limits).pool_blocks * stripes.engines(),
            limits.pool_blocks
        );
        stripes.engines()
    };
    let usual = Limits::default();
    assert_eq!(engines(GIB, 1, usual), 1, "by processors");
    assert_eq!(engines(GIB, 3, usual), 2, "by processors");
    assert_eq!(engines(GIB / 8, 64, usual), 1, "by stripes");
    assert_eq!(engines(GIB / 4, 64, usual), 2, "by stripes");
    assert_eq!(engines(1024 * GIB, 64, usual), 4, "by memory");
    let given_up = Limits {
        policy: Policy::GiveUp,
        ..usual
    };
    assert_eq!(
        engines(GIB, 4, given_up),
        1,
        "a part that is full costs all"
    );
}
