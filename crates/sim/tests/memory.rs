// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an engine and its bits say of their memory is what they have allocated.

use std::sync::OnceLock;

use blksnap_core::BlockRange;
use blksnap_core::cow::{Action, Engine, Epoch, LazyCell, Limits, Saved, SavedPage, Stripes};
use blksnap_sim::alloc::allocated;

/// A cell as the kernel's: a pointer to a page of its own.
#[derive(Default)]
struct Pointer(OnceLock<Box<SavedPage>>);

impl LazyCell<SavedPage> for Pointer {
    fn get(&self) -> Option<&SavedPage> {
        self.0.get().map(|page| &**page)
    }

    fn set(&self, page: SavedPage) -> Result<(), SavedPage> {
        self.0.set(Box::new(page)).map_err(|page| *page)
    }
}

type Bits = Saved<Pointer>;

/// Blocks of a TiB.
const TIB: u64 = 1 << 28;

/// An engine with one snapshot, and its bits; what was allocated for them is counted.
struct Counted {
    engine: Engine,
    saved: Bits,
    own: Bits,
    allocated: usize,
    slot: u64,
}

const EPOCH: Epoch = Epoch(1);

impl Counted {
    fn new(blocks: u64) -> Self {
        let before = allocated();
        let mut engine = Engine::new(blocks, Limits::default(), || 0).unwrap();
        engine.prepare().unwrap();
        assert_eq!(engine.take(), Some(EPOCH));
        let stripes = Stripes::new(2, 1 << 15);
        let mut counted = Self {
            engine,
            saved: Bits::striped(blocks, stripes).unwrap(),
            own: Bits::own(blocks).unwrap(),
            allocated: 0,
            slot: 0,
        };
        counted.allocated = allocated().wrapping_sub(before);
        counted.check();
        counted
    }

    fn told(&self) -> usize {
        self.engine.memory_bytes() + self.saved.memory_bytes() + self.own.memory_bytes()
    }

    fn check(&self) {
        assert_eq!(self.told(), self.allocated);
    }

    /// Something is done, which allocates what it likes. How many bytes more there are.
    fn does(&mut self, what: impl FnOnce(&mut Self)) -> usize {
        let (before, told) = (allocated(), self.told());
        what(self);
        let more = allocated().wrapping_sub(before);
        self.allocated = self.allocated.wrapping_add(more);
        self.check();
        self.told() - told
    }

    fn settle(&mut self) {
        loop {
            self.engine.store_now();
            match self.engine.next_action() {
                Some(Action::Read { copy, .. }) => {
                    self.engine.read_done(&self.saved, copy, true).unwrap();
                }
                Some(Action::Store { batch, blocks, .. }) => {
                    let slot = self.slot;
                    self.slot += u64::from(blocks);
                    self.engine.store_done(&self.saved, batch, slot).unwrap();
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

#[test]
fn of_an_idle_snapshot_with_all_space_free() {
    let mut counted = Counted::new(TIB);
    let all = BlockRange {
        start: 0,
        count: TIB,
    };
    let more = counted.does(|one| {
        let free = one.engine.free(&one.saved, &one.own, EPOCH, all);
        assert_eq!(free.unwrap(), TIB);
    });
    assert!(counted.saved.covers(all));
    // An entry of 8 bytes for 2 MiB, which may have room for as many again.
    assert!(more < 9 << 20, "{more} bytes for an empty TiB");
}

#[test]
fn of_an_idle_snapshot() {
    let per_tib = |bits: &Bits, cells| {
        let cells = cells * (TIB as usize >> 12) * size_of::<Pointer>();
        let rest = bits.memory_bytes() - cells;
        assert!(rest <= (8 << 10) + 64, "{rest} bytes beside the cells");
    };
    let counted = Counted::new(TIB);
    per_tib(&counted.saved, 2);
    per_tib(&counted.own, 1);
}

#[test]
fn of_writes_that_are_copied() {
    let mut counted = Counted::new(TIB);
    // A stream, of which some is copied ahead, and one write to each GiB.
    let streams = (0..3000).map(|at| at * 3);
    for at in streams.chain((0..1024).map(|at| at << 18)) {
        counted.does(|one| {
            let range = BlockRange {
                start: at,
                count: 3,
            };
            one.engine.write(&one.saved, at, range).unwrap();
            if at % 5 == 0 {
                one.settle();
            }
        });
    }
    counted.does(Counted::settle);
    assert!(counted.engine.stats().spec_blocks > 0, "none copied ahead");
}

#[test]
fn of_writes_to_the_image() {
    let mut counted = Counted::new(TIB);
    for token in 0..1000 {
        let range = BlockRange {
            start: token * 5000,
            count: 1 + token % 40 * 150,
        };
        counted.does(|one| one.engine.image_write(EPOCH, token, range).unwrap());
        counted.does(|one| {
            one.settle();
            if token % 2 == 0 {
                let slot = token << 20;
                let entered = one.engine.image_enter(&one.own, EPOCH, range, slot);
                entered.unwrap();
            } else {
                one.engine.image_zero(&one.own, EPOCH, range).unwrap();
            }
            one.engine.image_done(token);
        });
        assert!(!counted.own.untouched(range));
    }
}
