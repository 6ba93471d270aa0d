// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Several snapshots of one device, step by step.

use std::sync::OnceLock;

use blksnap_core::cow::{
    Action, Engine, Epoch, Limits, Lost, Over, Policy, Saved, SavedPage, Source,
};
use blksnap_core::BlockRange;

type Bits = Saved<OnceLock<SavedPage>>;

const BLOCKS: u64 = 1000;

fn block(start: u64) -> BlockRange {
    BlockRange { start, count: 1 }
}

/// An engine, and the bits of its newest epoch and image.
struct Chain {
    engine: Engine,
    saved: Bits,
    own: Bits,
}

impl Chain {
    fn new(limits: Limits) -> Self {
        let mut chain = Self {
            engine: Engine::new(BLOCKS, limits, || 0).unwrap(),
            saved: Bits::new(BLOCKS).unwrap(),
            own: Bits::own(BLOCKS).unwrap(),
        };
        chain.take();
        chain
    }

    fn take(&mut self) -> Epoch {
        self.saved = Bits::new(BLOCKS).unwrap();
        self.own = Bits::own(BLOCKS).unwrap();
        self.engine.prepare().unwrap();
        self.engine.take().unwrap()
    }

    fn write(&mut self, token: u64, range: BlockRange) {
        self.engine.write(&self.saved, token, range).unwrap();
    }

    /// The next action, however little there is to store.
    fn next_action(&mut self) -> Option<Action> {
        self.engine.next_action().or_else(|| {
            self.engine.store_now();
            self.engine.next_action()
        })
    }

    /// Takes actions until there is none; copies are read, and stored from `slot` on if there is one.
    fn work(&mut self, mut slot: Option<u64>) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(action) = self.next_action() {
            actions.push(action);
            match action {
                Action::Read { copy, .. } => {
                    self.engine.read_done(&self.saved, copy, true).unwrap()
                }
                Action::Store { batch, blocks, .. } => {
                    if let Some(slot) = &mut slot {
                        self.engine.store_done(&self.saved, batch, *slot).unwrap();
                        *slot += u64::from(blocks);
                    }
                }
                Action::Resume => self.engine.resume(&self.saved).unwrap(),
                _ => {}
            }
        }
        actions
    }
}

#[test]
fn a_block_is_copied_once_for_all_snapshots() {
    let mut chain = Chain::new(Limits::default());
    let first = Epoch(1);
    chain.write(1, block(5));
    chain.work(Some(0));
    let (second, third) = (chain.take(), chain.take());
    chain.write(2, block(5));
    chain.write(3, block(6));
    chain.work(Some(10));
    assert_eq!(chain.engine.stats().copy_read_blocks, 3);
    let place = |epoch, block| chain.engine.resolve(epoch, block, 1).0;
    assert_eq!(place(first, 5), Source::Store { slot: 0 });
    assert_eq!(place(second, 5), Source::Store { slot: 10 });
    assert_eq!(place(third, 5), Source::Store { slot: 10 });
    for epoch in [first, second, third] {
        assert_eq!(place(epoch, 6), Source::Store { slot: 11 });
        assert_eq!(place(epoch, 7), Source::Origin);
    }
    // The one in the middle and the newest end: what they have is still needed.
    assert!(!chain.engine.end(&chain.saved, third));
    assert!(!chain.engine.end(&chain.saved, second));
    assert_eq!(chain.work(None), []);
    chain.write(4, block(8));
    chain.work(Some(20));
    let place = |block| chain.engine.resolve(first, block, 1).0;
    assert_eq!(place(6), Source::Store { slot: 11 });
    assert_eq!(place(8), Source::Store { slot: 20 });
    assert!(chain.engine.end(&chain.saved, first));
    assert!(chain.engine.failed() && chain.saved.covers(block(9)));
}

#[test]
fn an_epoch_goes_with_the_last_that_looks_through_it() {
    let mut chain = Chain::new(Limits::default());
    let second = chain.take();
    let third = chain.take();
    assert!(!chain.engine.end(&chain.saved, second));
    assert_eq!(chain.work(None), []);
    assert!(!chain.engine.end(&chain.saved, Epoch(1)));
    let gone = |epoch| Action::FreeEpoch { epoch };
    assert_eq!(chain.work(None), [gone(Epoch(1)), gone(second)]);
    assert!(chain.engine.live().eq([third]));
}

/// The copies of an epoch that goes make room for writes that wait, with nothing else under way.
#[test]
fn room_of_dropped_copies_is_used() {
    let mut chain = Chain::new(Limits {
        pool_blocks: 1,
        ..Limits::default()
    });
    chain.write(1, block(5));
    let Some(Action::Read { copy, .. }) = chain.engine.next_action() else {
        panic!("a read is wanted")
    };
    chain.engine.read_done(&chain.saved, copy, true).unwrap();
    assert_eq!(
        chain.engine.next_action(),
        Some(Action::Release { token: 1 })
    );
    assert!(chain.engine.quiet());
    chain.take();
    chain.write(2, block(6));
    assert!(!chain.engine.quiet());
    assert!(!chain.engine.end(&chain.saved, Epoch(1)));
    let actions = chain.work(Some(0));
    assert_eq!(actions[..2], [Action::FreeCopy { copy }, Action::Resume]);
    assert!(actions.contains(&Action::Release { token: 2 }));
    assert!(chain.engine.idle());
}

#[test]
fn a_take_waits_for_held_writes() {
    let mut chain = Chain::new(Limits::default());
    assert_eq!(chain.engine.take(), None, "nothing is prepared");
    chain.write(1, block(5));
    chain.engine.prepare().unwrap();
    assert_eq!(chain.engine.take(), None, "a write is held");
    chain.work(Some(0));
    assert_eq!(chain.engine.take(), Some(Epoch(2)));
    assert_eq!(chain.engine.take(), None, "it was taken");
    chain.engine.prepare().unwrap();
    chain.engine.unprepare();
    assert_eq!(chain.engine.take(), None, "it does not come");
}

#[test]
fn a_stream_is_copied_ahead_within_the_bound() {
    let mut chain = Chain::new(Limits::default());
    let mut held = 0;
    for at in 0..640 {
        if !chain.saved.covers(block(at)) {
            chain.write(at, block(at));
            chain.work(Some(at * 1000));
            held += 1;
        }
        let stats = chain.engine.stats();
        let needed = at + 1;
        assert!(4 * stats.copy_read_blocks <= 5 * needed + 256, "at {at}");
    }
    // 1, 1, 1, 1, 12, 48, and then by windows.
    assert_eq!(held, 6 + 9);
    assert_eq!(chain.engine.stats().copy_read_blocks, 640);
}

#[test]
fn scattered_writes_are_not_copied_ahead() {
    let mut chain = Chain::new(Limits::default());
    for at in (0..BLOCKS).step_by(20) {
        chain.write(at, block(at));
        chain.work(Some(at));
    }
    assert_eq!(chain.engine.stats().spec_blocks, 0);
}

/// Every other block, for ever: what is copied ahead is never written.
#[test]
fn copying_ahead_in_vain_ends() {
    let mut chain = Chain::new(Limits::default());
    for at in (0..BLOCKS).step_by(2) {
        if !chain.saved.covers(block(at)) {
            chain.write(at, block(at));
            chain.work(Some(at * 1000));
        }
    }
    let stats = chain.engine.stats();
    let (vain, needed) = (BLOCKS / 2, BLOCKS / 2);
    assert!(stats.spec_blocks < vain);
    assert!(4 * stats.copy_read_blocks <= 5 * needed + 256);
}

#[test]
fn a_full_pool_may_cost_the_snapshot() {
    let mut chain = Chain::new(Limits {
        pool_blocks: 2,
        policy: Policy::GiveUp,
        ..Limits::default()
    });
    chain.write(1, block(5));
    chain.write(2, block(50));
    let refused = chain.engine.write(&chain.saved, 3, block(70));
    assert_eq!(refused, Err(Lost::Pool));
    chain.engine.fail(&chain.saved);
    let released = |token| Action::Release { token };
    assert_eq!(chain.work(None), [released(1), released(2)]);
}

#[test]
fn writes_to_an_image_exclude_each_other_by_block() {
    let mut chain = Chain::new(Limits::default());
    let (first, second) = (Epoch(1), chain.take());
    let range = |start, count| BlockRange { start, count };
    let write = |engine: &mut Engine, epoch, token, range| {
        engine.image_write(epoch, token, range).unwrap();
    };
    write(&mut chain.engine, first, 1, range(0, 10));
    write(&mut chain.engine, first, 2, range(9, 2));
    write(&mut chain.engine, second, 3, range(9, 2));
    write(&mut chain.engine, first, 4, range(10, 1));
    let told = |token| Action::ImageWrite { token };
    assert_eq!(chain.work(None), [told(1), told(3)]);
    let zeroed = chain.engine.image_zero(&chain.own, second, range(9, 2));
    assert_eq!(zeroed, Ok(2));
    chain.engine.image_done(3);
    assert_eq!(chain.work(None), []);
    chain.engine.image_done(1);
    assert_eq!(chain.work(None), [told(2)]);
    let entered = chain
        .engine
        .image_enter(&chain.own, first, range(9, 2), 100);
    assert_eq!(entered, Ok(()));
    chain.engine.image_done(2);
    assert_eq!(chain.work(None), [told(4)]);
    assert_eq!(chain.engine.over(first, 9, 5), (Over::Slot(100), 2));
    assert_eq!(chain.engine.over(second, 9, 5), (Over::Zero, 2));
    assert_eq!(chain.engine.over(second, 11, 5), (Over::None, 5));
    let place = |epoch| chain.engine.resolve(epoch, 10, 1).0;
    assert_eq!(place(first), Source::Store { slot: 101 });
    assert_eq!(place(second), Source::Zero);
    assert!(!chain.own.untouched(block(10)) && chain.own.untouched(block(11)));
}

#[test]
fn free_space_of_a_single_snapshot_is_not_copied() {
    let mut chain = Chain::new(Limits::default());
    let range = BlockRange {
        start: 0,
        count: BLOCKS,
    };
    let half = BlockRange {
        start: 0,
        count: 500,
    };
    let free = |chain: &mut Chain, epoch, range| {
        let Chain { engine, saved, own } = chain;
        engine.free(saved, own, epoch, range).unwrap()
    };
    assert_eq!(free(&mut chain, Epoch(1), half), 500);
    assert_eq!(free(&mut chain, Epoch(1), half), 0);
    assert!(chain.saved.covers(half) && !chain.saved.covers(range));
    // A second one needs it, whoever says that it was free for the first.
    let second = chain.take();
    assert_eq!(free(&mut chain, second, range), 1000);
    assert!(!chain.saved.covers(block(7)));
    assert!(!chain.engine.end(&chain.saved, Epoch(1)));
    free(&mut chain, second, range);
    // Bits alone, without memory for them.
    assert!(chain.saved.covers(range));
    assert!(chain.saved.memory_bytes() < 4096);
}
