// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A disk, a store and the shell around an engine, with every I/O completing when the test says so.
//!
//! A block's content is a number. The copy of the disk at the take is the oracle: it takes image writes as well.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use blksnap_core::cow::{Action, BatchId, CopyId, Engine, Limits, Saved, SavedPage, Source};
use blksnap_core::BlockRange;

pub(crate) type Bits = Saved<OnceLock<SavedPage>>;

/// An I/O under way. The data moves when it completes: the latest possible instant, and any order is possible.
enum Io {
    Read(CopyId, BlockRange),
    Store(BatchId, u64, Vec<u64>),
    /// A write to the disk that passed.
    Write(BlockRange, u64),
    /// A write to the image that was released.
    ImageWrite(BlockRange, u64),
    /// The image read of a block, from the origin.
    ImageRead(u64),
}

struct Held {
    range: BlockRange,
    data: u64,
    image: bool,
}

pub(crate) struct Machine {
    engine: Engine,
    saved: Bits,
    blocks: u64,
    limits: Limits,
    disk: Vec<u64>,
    /// The image as it has to be: several values while image writes are under way.
    image: Vec<Vec<u64>>,
    store: Vec<u64>,
    pages: BTreeMap<CopyId, Vec<u64>>,
    held: BTreeMap<u64, Held>,
    io: Vec<Io>,
    next: u64,
    failed: bool,
}

impl Machine {
    pub(crate) fn new(blocks: u64, limits: Limits) -> Self {
        let disk: Vec<u64> = (0..blocks).map(|block| 1_000_000 + block).collect();
        Self {
            engine: Engine::new(blocks, limits).unwrap(),
            saved: Bits::new(blocks).unwrap(),
            blocks,
            limits,
            image: disk.iter().map(|data| vec![*data]).collect(),
            disk,
            store: Vec::new(),
            pages: BTreeMap::new(),
            held: BTreeMap::new(),
            io: Vec::new(),
            next: 1,
            failed: false,
        }
    }

    pub(crate) fn write(&mut self, range: BlockRange) {
        let (range, data) = (range.clip(self.blocks), self.number());
        if self.saved.covers(range) {
            self.io.push(Io::Write(range, data));
        } else {
            self.engine.write(&self.saved, data, range).unwrap();
            self.held.insert(
                data,
                Held {
                    range,
                    data,
                    image: false,
                },
            );
        }
    }

    pub(crate) fn image_write(&mut self, range: BlockRange) {
        let (range, data) = (range.clip(self.blocks), self.number());
        if !self.failed {
            range
                .blocks()
                .for_each(|block| self.image[block].push(data));
            self.engine.image_write(&self.saved, data, range).unwrap();
            self.held.insert(
                data,
                Held {
                    range,
                    data,
                    image: true,
                },
            );
        }
    }

    pub(crate) fn image_read(&mut self, block: u64) {
        if self.failed {
            return;
        }
        match self.engine.resolve(block, 1).0 {
            Source::Origin => self.io.push(Io::ImageRead(block)),
            source => self.check_data(block, source),
        }
    }

    /// Takes one action. False if there is none.
    pub(crate) fn act(&mut self) -> bool {
        let Some(action) = self.engine.next_action() else {
            return false;
        };
        match action {
            Action::Read { copy, range } => {
                assert!(
                    !self.pages.contains_key(&copy),
                    "the copy's pages are in use"
                );
                assert!(range.count > 0 && range.end() <= self.blocks);
                self.pages.insert(copy, vec![0; range.count as usize]);
                self.io.push(Io::Read(copy, range));
            }
            Action::Store { batch, blocks } => {
                let copies = self
                    .engine
                    .batch(batch)
                    .map(|(copy, range)| (copy, range.count));
                let data: Vec<u64> = copies
                    .flat_map(|(copy, _)| self.pages[&copy].clone())
                    .collect();
                assert_eq!(data.len(), blocks as usize);
                let slot = self.store.len() as u64;
                self.store.resize(self.store.len() + data.len(), 0);
                self.io.push(Io::Store(batch, slot, data));
            }
            Action::FreeCopy { copy } => assert!(self.pages.remove(&copy).is_some()),
            Action::Release { token } => {
                let held = self.held.remove(&token).expect("released once");
                if !held.image {
                    assert!(self.saved.covers(held.range), "released before it is saved");
                    self.io.push(Io::Write(held.range, held.data));
                } else if !self.failed {
                    self.io.push(Io::ImageWrite(held.range, held.data));
                }
            }
        }
        true
    }

    /// Completes one of the I/Os under way.
    pub(crate) fn complete(&mut self, which: usize) {
        if self.io.is_empty() {
            return;
        }
        match self.io.swap_remove(which % self.io.len()) {
            Io::Read(copy, range) => {
                self.pages
                    .insert(copy, range.blocks().map(|block| self.disk[block]).collect());
                self.engine.read_done(&self.saved, copy, true).unwrap();
            }
            Io::Store(batch, slot, data) => {
                self.store[slot as usize..][..data.len()].copy_from_slice(&data);
                self.engine.store_done(&self.saved, batch, slot).unwrap();
            }
            Io::Write(range, data) => range.blocks().for_each(|block| self.disk[block] = data),
            Io::ImageWrite(range, data) => {
                for block in range.blocks() {
                    let (source, _) = self.engine.resolve(block as u64, 1);
                    let Source::Store { slot } = source else {
                        panic!("{source:?} cannot be written")
                    };
                    self.store[slot as usize] = data;
                    // Whichever of several writes comes last stays.
                    self.image[block].retain(|other| {
                        self.held.contains_key(other) || self.io.iter().any(|io| io.writes(*other))
                    });
                    self.image[block].push(data);
                }
            }
            Io::ImageRead(block) => {
                let seen = self.disk[block as usize];
                if !self.failed {
                    match self.engine.resolve(block, 1).0 {
                        Source::Origin => assert!(
                            self.image[block as usize].contains(&seen),
                            "block {block} is torn"
                        ),
                        source => self.check_data(block, source),
                    }
                }
            }
        }
    }

    pub(crate) fn fail(&mut self) {
        self.engine.fail(&self.saved);
        self.failed = true;
    }

    /// Bounds that hold at all times.
    pub(crate) fn check(&self) {
        let pages: usize = self.pages.values().map(Vec::len).sum();
        assert!(pages <= self.limits.pool_blocks as usize, "{pages} pages");
        let stores = self
            .io
            .iter()
            .filter(|io| matches!(io, Io::Store(..)))
            .count();
        assert!(stores <= self.limits.stores_in_flight as usize);
    }

    /// Everything ends: nothing stays held, nothing leaks.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.act() {
                if self.io.is_empty() {
                    break;
                }
                self.complete(0);
            }
            self.check();
        }
        assert!(self.held.is_empty(), "writes are held for ever");
        assert!(self.engine.idle());
        if !self.failed {
            assert!(self.pages.is_empty(), "copies leaked");
            assert_eq!(
                self.engine.stats().saved_blocks,
                self.store.len() as u64,
                "each block is stored once"
            );
        }
    }

    pub(crate) fn check_image(&self) {
        for block in 0..self.blocks {
            match self.engine.resolve(block, 1).0 {
                Source::Origin => {
                    assert!(self.image[block as usize].contains(&self.disk[block as usize]))
                }
                source => self.check_data(block, source),
            }
        }
    }

    fn check_data(&self, block: u64, source: Source) {
        let data = match source {
            Source::Origin => unreachable!(),
            Source::Memory { copy, index } => self.pages[&copy][index as usize],
            Source::Store { slot } => self.store[slot as usize],
        };
        let expected = &self.image[block as usize];
        assert!(
            expected.contains(&data),
            "block {block}: {data}, not one of {expected:?}"
        );
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Io {
    fn writes(&self, other: u64) -> bool {
        matches!(self, Io::ImageWrite(_, data) if *data == other)
    }
}

trait Blocks {
    fn blocks(&self) -> std::ops::Range<usize>;
}

impl Blocks for BlockRange {
    fn blocks(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end() as usize
    }
}
