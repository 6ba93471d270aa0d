// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A disk, a store and the shell around an engine, with every I/O completing when the test says so.
//!
//! A block's content is a number. A plain copy of the disk at each take is the oracle of that snapshot's image; it takes image writes as well.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use blksnap_core::cow::{
    Action, BatchId, CopyId, Engine, Epoch, Limits, Over, Saved, SavedPage, Source,
};
use blksnap_core::BlockRange;

pub(crate) type Bits = Saved<OnceLock<SavedPage>>;

thread_local! {
    /// The time. It passes when the engine wants nothing done.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// An I/O under way. The data moves when it completes: the latest possible instant, and any order is possible.
enum Io {
    Read(CopyId, BlockRange),
    Store(BatchId, u64, Vec<u64>),
    /// A write to the disk that passed.
    Write(BlockRange, u64),
    /// A write to an image that is carried out.
    ImageWrite(u64, Epoch, BlockRange),
    /// The image read of a block, from the origin.
    ImageRead(Epoch, u64),
}

/// A snapshot and its bits.
struct Level {
    epoch: Epoch,
    live: bool,
    saved: Bits,
    own: Bits,
    /// The image as it has to be: several values while image writes are under way.
    image: Vec<Vec<u64>>,
}

pub(crate) struct Machine {
    engine: Engine,
    blocks: u64,
    limits: Limits,
    disk: Vec<u64>,
    levels: Vec<Level>,
    store: Vec<u64>,
    pages: BTreeMap<CopyId, Vec<u64>>,
    held: BTreeMap<u64, BlockRange>,
    image_writes: BTreeMap<u64, (Epoch, BlockRange)>,
    io: Vec<Io>,
    next: u64,
    /// Blocks that writes to the disk made necessary to copy, in each epoch.
    demanded: Vec<bool>,
    needed: u64,
    copied: u64,
    /// For how long writes were held, and of this for how long they had blocks on the origin alone.
    held_for: u64,
    starved_for: u64,
    failed: bool,
}

impl Machine {
    /// With one snapshot taken.
    pub(crate) fn new(blocks: u64, limits: Limits) -> Self {
        let mut machine = Self {
            engine: Engine::new(blocks, limits, || NOW.get()).unwrap(),
            blocks,
            limits,
            disk: (0..blocks).map(|block| 1_000_000 + block).collect(),
            levels: Vec::new(),
            store: Vec::new(),
            pages: BTreeMap::new(),
            held: BTreeMap::new(),
            image_writes: BTreeMap::new(),
            io: Vec::new(),
            next: 1,
            demanded: Vec::new(),
            needed: 0,
            copied: 0,
            held_for: 0,
            starved_for: 0,
            failed: false,
        };
        machine.take();
        machine
    }

    fn saved(&self) -> &Bits {
        &self.levels.last().unwrap().saved
    }

    /// Another snapshot, unless something is in the way.
    pub(crate) fn take(&mut self) {
        let saved = Bits::new(self.blocks).unwrap();
        let own = Bits::own(self.blocks).unwrap();
        self.engine.prepare().unwrap();
        let drained = !self.io.iter().any(|io| matches!(io, Io::Write(..)));
        if self.failed || !drained || !self.engine.quiet() {
            self.engine.unprepare();
            assert_eq!(self.engine.take(), None, "not prepared");
            return;
        }
        let epoch = self.engine.take().expect("quiet and prepared");
        let image = self.disk.iter().map(|data| vec![*data]).collect();
        self.demanded = vec![false; self.disk.len()];
        self.levels.push(Level {
            epoch,
            live: true,
            saved,
            own,
            image,
        });
    }

    /// One of the live snapshots, by number.
    fn choose(&self, which: usize) -> Option<usize> {
        let live: Vec<usize> = (0..self.levels.len())
            .filter(|at| self.levels[*at].live)
            .collect();
        (!self.failed && !live.is_empty()).then(|| live[which % live.len()])
    }

    fn level(&self, epoch: Epoch) -> usize {
        let found = self.levels.iter().position(|level| level.epoch == epoch);
        found.expect("the epoch is there")
    }

    /// A snapshot ends, but the last one does not.
    pub(crate) fn end(&mut self, which: usize) {
        let Some(at) = self.choose(which) else { return };
        let epoch = self.levels[at].epoch;
        let busy = self.image_writes.values().any(|(other, _)| *other == epoch)
            || self.io.iter().any(
                |io| matches!(io, Io::ImageRead(other, _) | Io::ImageWrite(_, other, _) if *other == epoch),
            );
        if busy || self.engine.live().count() == 1 {
            return;
        }
        assert!(!self.engine.end(&self.levels.last().unwrap().saved, epoch));
        self.levels[at].live = false;
    }

    pub(crate) fn write(&mut self, range: BlockRange) {
        let (range, data) = (range.clip(self.blocks), self.number());
        if self.saved().covers(range) {
            self.pass(range, data);
        } else {
            let saved = &self.levels.last().unwrap().saved;
            self.engine.write(saved, data, range).unwrap();
            self.held.insert(data, range);
        }
    }

    fn pass(&mut self, range: BlockRange, data: u64) {
        for block in range.blocks() {
            if !std::mem::replace(&mut self.demanded[block], true) {
                self.needed += 1;
            }
        }
        self.io.push(Io::Write(range, data));
    }

    pub(crate) fn image_write(&mut self, which: usize, range: BlockRange) {
        let Some(at) = self.choose(which) else { return };
        let (range, data) = (range.clip(self.blocks), self.number());
        let level = &mut self.levels[at];
        range
            .blocks()
            .for_each(|block| level.image[block].push(data));
        self.engine.image_write(level.epoch, data, range).unwrap();
        self.image_writes.insert(data, (level.epoch, range));
    }

    /// The blocks were free at the take, so that nobody wants to know what is there.
    pub(crate) fn free(&mut self, which: usize, range: BlockRange) {
        let Some(at) = self.choose(which) else { return };
        let range = range.clip(self.blocks);
        let of_image = |io: &Io| matches!(io, Io::ImageRead(..) | Io::ImageWrite(..));
        let busy = self.io.iter().any(of_image);
        if busy || !self.image_writes.is_empty() {
            return;
        }
        let (level, newest) = (&self.levels[at], self.levels.last().unwrap());
        let zeroed = self
            .engine
            .free(&newest.saved, &level.own, level.epoch, range)
            .unwrap();
        let (mut fresh, epoch) = (0, level.epoch);
        for block in range.start..range.end() {
            if let (Source::Zero, _) = self.engine.resolve(epoch, block, 1) {
                fresh += u64::from(self.levels[at].image[block as usize] != [0]);
                self.levels[at].image[block as usize] = vec![0];
            }
        }
        assert_eq!(zeroed, fresh);
    }

    pub(crate) fn image_read(&mut self, which: usize, block: u64) {
        let Some(at) = self.choose(which) else { return };
        let epoch = self.levels[at].epoch;
        match self.engine.resolve(epoch, block, 1).0 {
            Source::Origin => self.io.push(Io::ImageRead(epoch, block)),
            source => self.check_data(at, block, source),
        }
    }

    /// Whether an image may read a block from the origin without asking the engine.
    fn untouched(&self, at: usize, block: u64) -> bool {
        let range = BlockRange {
            start: block,
            count: 1,
        };
        let saved = self.levels[at..].iter().map(|level| &level.saved);
        saved
            .chain([&self.levels[at].own])
            .all(|bits| bits.untouched(range))
    }

    /// What lingers has waited for long enough.
    pub(crate) fn store_now(&mut self) {
        self.engine.store_now();
        assert!(!self.engine.lingers());
    }

    /// All copies that are planned were asked for: who needs others waits for room.
    fn pass_time(&mut self) {
        NOW.set(NOW.get() + 1);
        let copies = self.pages.keys().map(|copy| self.engine.copy_range(*copy));
        let copies: Vec<_> = copies.flatten().collect();
        let copied = |block| copies.iter().any(|copy| copy.blocks().contains(&block));
        let waits = |range: &&BlockRange| {
            let mut blocks = range.start..range.end();
            blocks.any(|start| {
                !self.saved().covers(BlockRange { start, count: 1 }) && !copied(start as usize)
            })
        };
        self.starved_for += self.held.values().filter(waits).count() as u64;
        self.held_for += self.held.len() as u64;
    }

    /// Takes one action. False if there is none.
    pub(crate) fn act(&mut self) -> bool {
        let Some(action) = self.engine.next_action() else {
            self.pass_time();
            return false;
        };
        match action {
            Action::Read { copy, range } => {
                assert!(
                    !self.pages.contains_key(&copy),
                    "the copy's pages are in use"
                );
                assert!(range.count > 0 && range.end() <= self.blocks);
                self.copied += range.count;
                self.pages.insert(copy, vec![0; range.count as usize]);
                self.io.push(Io::Read(copy, range));
            }
            Action::Store {
                batch,
                blocks,
                epoch,
            } => {
                self.level(epoch);
                let copies = self
                    .engine
                    .batch(batch)
                    .map(|(copy, range)| (copy, range.count));
                let data: Vec<u64> = copies
                    .flat_map(|(copy, _)| self.pages[&copy].clone())
                    .collect();
                assert_eq!(data.len(), blocks as usize);
                let slot = self.slots(data.len());
                self.io.push(Io::Store(batch, slot, data));
            }
            Action::FreeCopy { copy } => assert!(self.pages.remove(&copy).is_some()),
            Action::Release { token } => {
                let range = self.held.remove(&token).expect("released once");
                assert!(self.saved().covers(range), "released before it is saved");
                self.pass(range, token);
            }
            Action::ImageWrite { token } => {
                let (epoch, range) = self.image_writes.remove(&token).expect("told once");
                self.io.push(Io::ImageWrite(token, epoch, range));
            }
            Action::Resume => {
                let saved = &self.levels.last().unwrap().saved;
                self.engine.resume(saved).unwrap();
            }
            Action::FreeEpoch { epoch } => {
                let at = self.level(epoch);
                let older = self.levels[..at].iter().any(|level| level.live);
                assert!(!older && !self.levels[at].live, "{epoch:?} is needed");
                self.levels.remove(at);
            }
        }
        true
    }

    fn slots(&mut self, count: usize) -> u64 {
        let slot = self.store.len() as u64;
        self.store.resize(self.store.len() + count, 0);
        slot
    }

    /// Completes one of the I/Os under way.
    pub(crate) fn complete(&mut self, which: usize) {
        if self.io.is_empty() {
            return;
        }
        let saved = &self.levels.last().unwrap().saved;
        match self.io.swap_remove(which % self.io.len()) {
            Io::Read(copy, range) => {
                self.pages
                    .insert(copy, range.blocks().map(|block| self.disk[block]).collect());
                self.engine.read_done(saved, copy, true).unwrap();
            }
            Io::Store(batch, slot, data) => {
                self.store[slot as usize..][..data.len()].copy_from_slice(&data);
                self.engine.store_done(saved, batch, slot).unwrap();
            }
            Io::Write(range, data) => range.blocks().for_each(|block| self.disk[block] = data),
            Io::ImageWrite(token, epoch, range) => self.image_write_done(token, epoch, range),
            Io::ImageRead(epoch, block) => {
                let seen = self.disk[block as usize];
                let at = self.level(epoch);
                if !self.failed {
                    match self.engine.resolve(epoch, block, 1).0 {
                        Source::Origin => self.check_value(at, block, seen),
                        source => {
                            assert!(!self.untouched(at, block));
                            self.check_data(at, block, source);
                        }
                    }
                }
            }
        }
    }

    fn image_write_done(&mut self, token: u64, epoch: Epoch, range: BlockRange) {
        if self.failed {
            return self.engine.image_done(token);
        }
        let at = self.level(epoch);
        let mut block = range.start;
        while block < range.end() {
            let (over, run) = self.engine.over(epoch, block, range.end() - block);
            let slot = match over {
                Over::Slot(slot) => slot,
                Over::None | Over::Zero => {
                    let slot = self.slots(run as usize);
                    let part = BlockRange {
                        start: block,
                        count: run,
                    };
                    let own = &self.levels[at].own;
                    self.engine.image_enter(own, epoch, part, slot).unwrap();
                    slot
                }
            };
            self.store[slot as usize..][..run as usize].fill(token);
            block += run;
        }
        self.engine.image_done(token);
        // Those that share a block came in the order of their arrival, and are over.
        let image = &mut self.levels[at].image;
        range
            .blocks()
            .for_each(|block| image[block].retain(|data| *data >= token));
    }

    pub(crate) fn fail(&mut self) {
        self.engine.fail(&self.levels.last().unwrap().saved);
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
        // Those that are held need their copies, too.
        let held: u64 = self.held.values().map(|range| range.count).sum();
        let (needed, copied) = (self.needed + held, self.copied);
        assert!(
            4 * copied <= 5 * needed + 256,
            "{copied} copied, {needed} needed"
        );
        // A write whose blocks were copied for others may not have been told yet.
        let stats = self.engine.stats();
        let waited = self.starved_for..=self.held_for;
        assert!(
            waited.contains(&stats.pool_wait_ns),
            "{stats:?}: {waited:?}"
        );
        assert!(stats.pool_waits <= stats.held && stats.pool_wait_longest_ns <= stats.pool_wait_ns);
        assert!(stats.pool_wait_ns <= stats.pool_waits * stats.pool_wait_longest_ns);
    }

    /// Everything ends: nothing stays held, nothing leaks.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.act() {
                if !self.io.is_empty() {
                    self.complete(0);
                } else if self.engine.lingers() {
                    self.store_now();
                } else {
                    break;
                }
            }
            self.check();
        }
        assert!(self.held.is_empty(), "writes are held for ever");
        assert!(self.image_writes.is_empty(), "image writes wait for ever");
        assert!(self.engine.idle() && self.engine.quiet());
        if !self.failed {
            assert!(self.pages.is_empty(), "copies leaked");
            let oldest = self.engine.live().next().unwrap();
            assert_eq!(
                oldest, self.levels[0].epoch,
                "an epoch is kept for no reason"
            );
        }
    }

    pub(crate) fn check_image(&self) {
        for (at, level) in self.levels.iter().enumerate() {
            for block in (0..self.blocks).filter(|_| level.live) {
                let here = self.disk[block as usize];
                if self.untouched(at, block) {
                    self.check_value(at, block, here);
                }
                match self.engine.resolve(level.epoch, block, 1).0 {
                    Source::Origin => self.check_value(at, block, here),
                    source => self.check_data(at, block, source),
                }
            }
        }
    }

    fn check_data(&self, at: usize, block: u64, source: Source) {
        let data = match source {
            Source::Origin => unreachable!(),
            Source::Memory { copy, index } => self.pages[&copy][index as usize],
            Source::Store { slot } => self.store[slot as usize],
            Source::Zero => 0,
        };
        self.check_value(at, block, data);
    }

    fn check_value(&self, at: usize, block: u64, data: u64) {
        let expected = &self.levels[at].image[block as usize];
        assert!(
            expected.contains(&data),
            "block {block} of image {at}: {data}, not one of {expected:?}"
        );
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
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
