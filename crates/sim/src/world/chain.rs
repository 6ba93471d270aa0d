// SPDX-License-Identifier: GPL-2.0-only
//! The snapshots of one device: its engines, each with its stripes, and the bits of each epoch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use blksnap_core::cow::{BatchId, CopyId, Engine, Epoch, Over, Saved, SavedPage, Source, Stripes};
use blksnap_core::{BlockRange, NoMemory};

use super::writes::violation;
use super::{Check, World, note};
use crate::disk::Content;

/// A chain of snapshots, by its number.
pub(super) type ChainId = u32;

pub(super) type Bits = Saved<OnceLock<SavedPage>>;

/// An epoch that somebody needs.
pub(super) struct Level {
    pub(super) epoch: Epoch,
    pub(super) saved: Bits,
    /// Slots that its copies were given: by which engine, the first, and how many.
    pub(super) slots: Vec<(usize, u64, u32)>,
    /// Engines that need it.
    pub(super) users: usize,
}

/// An engine, and what its worker has.
pub(super) struct Shard {
    pub(super) engine: Engine,
    /// Writes that were found to need a copy, and the engine has yet to hear of.
    pub(super) parked: VecDeque<u64>,
    pub(super) pages: BTreeMap<CopyId, Vec<Content>>,
    pub(super) stores: usize,
    /// Stores that wait for slots.
    pub(super) waiting: VecDeque<(BatchId, Epoch, u32)>,
}

pub(super) struct Chain {
    pub(super) id: ChainId,
    pub(super) device: usize,
    pub(super) stripes: Stripes,
    pub(super) shards: Vec<Shard>,
    /// Its snapshots are lost, or have ended. Engines that have not failed yet do when their workers look.
    pub(super) over: bool,
    /// Oldest first; none before the first take.
    pub(super) levels: Vec<Level>,
    /// The bits of the take under way.
    pub(super) fresh: Option<Bits>,
    /// Copies may have been dropped with a snapshot.
    pub(super) ended: bool,
    pub(super) tally: Tally,
}

/// What was copied, and what of it had to be.
#[derive(Default)]
pub(super) struct Tally {
    /// In the newest epoch, block by block.
    copied: Vec<bool>,
    demanded: Vec<bool>,
    /// Nobody's, for the only snapshot: not to be copied.
    free: Vec<BlockRange>,
    /// In all epochs.
    copied_total: u64,
    needed_total: u64,
}

impl Tally {
    pub(super) fn new_epoch(&mut self, blocks: usize, free: &[BlockRange]) {
        (self.copied, self.demanded) = (vec![false; blocks], vec![false; blocks]);
        self.free = free.to_vec();
    }

    /// A write to the blocks passes, or is held.
    pub(super) fn demand(&mut self, range: BlockRange) {
        let end = (range.end() as usize).min(self.demanded.len());
        for block in range.start as usize..end {
            if !std::mem::replace(&mut self.demanded[block], true) && self.copied[block] {
                self.needed_total += 1;
            }
        }
    }

    /// The blocks are copied. Whether there are some that nobody has written yet.
    pub(super) fn copy(&mut self, range: BlockRange) -> Result<bool, String> {
        let mut ahead = false;
        let meets = |other: &BlockRange| other.start < range.end() && range.start < other.end();
        violation(!self.free.iter().any(meets), || {
            format!("{range:?} is copied, of which some is nobody's")
        })?;
        for block in range.start as usize..range.end() as usize {
            let twice = std::mem::replace(&mut self.copied[block], true);
            violation(!twice, || format!("block {block} is copied twice"))?;
            self.copied_total += 1;
            self.needed_total += u64::from(self.demanded[block]);
            ahead |= !self.demanded[block];
        }
        Ok(ahead)
    }

    /// For so many engines.
    pub(super) fn check(&self, engines: usize) -> Check {
        let (copied, needed) = (self.copied_total, self.needed_total);
        violation(4 * copied <= 5 * needed + 256 * engines as u64, || {
            format!("{copied} blocks are copied, and {needed} had to be")
        })
    }
}

impl Chain {
    pub(super) fn new(id: ChainId, device: usize, stripes: Stripes, engines: Vec<Engine>) -> Self {
        let shard = |engine| Shard {
            engine,
            parked: VecDeque::new(),
            pages: BTreeMap::new(),
            stores: 0,
            waiting: VecDeque::new(),
        };
        Self {
            id,
            device,
            stripes,
            shards: engines.into_iter().map(shard).collect(),
            over: false,
            levels: Vec::new(),
            fresh: None,
            ended: false,
            tally: Tally::default(),
        }
    }

    /// The blocks from `block` on, at most `max`, that its engine knows of; and the engine.
    fn engine(&self, block: u64, max: u64) -> (&Engine, u64) {
        let part = self.stripes.first(BlockRange {
            start: block,
            count: max,
        });
        (&self.shards[self.stripes.of(block)].engine, part.count)
    }

    pub(super) fn resolve(&self, epoch: Epoch, block: u64, max: u64) -> (Source, u64) {
        let (engine, max) = self.engine(block, max);
        engine.resolve(epoch, block, max)
    }

    pub(super) fn overlay(&self, epoch: Epoch, block: u64, max: u64) -> (Over, u64) {
        let (engine, max) = self.engine(block, max);
        engine.over(epoch, block, max)
    }

    pub(super) fn zero(
        &mut self,
        own: &Bits,
        epoch: Epoch,
        range: BlockRange,
    ) -> Result<u64, NoMemory> {
        self.stripes
            .parts(range)
            .map(|(at, part)| self.shards[at].engine.image_zero(own, epoch, part))
            .sum()
    }

    /// Blocks of an image lie in slots now. Whether there was memory for that.
    pub(super) fn enter(&mut self, own: &Bits, epoch: Epoch, range: BlockRange, slot: u64) -> bool {
        self.stripes.parts(range).all(|(at, part)| {
            let slot = slot + (part.start - range.start);
            let engine = &mut self.shards[at].engine;
            engine.image_enter(own, epoch, part, slot).is_ok()
        })
    }

    pub(super) fn free(
        &mut self,
        own: &Bits,
        epoch: Epoch,
        range: BlockRange,
    ) -> Result<u64, NoMemory> {
        let Some(level) = self.levels.last() else {
            return Ok(0);
        };
        let shards = &mut self.shards;
        self.stripes
            .parts(range)
            .map(|(at, part)| shards[at].engine.free(&level.saved, own, epoch, part))
            .sum()
    }

    /// The engine that says when writes to an image have their turns.
    pub(super) fn turns(&mut self) -> &mut Engine {
        &mut self.shards[0].engine
    }

    /// Whether nothing is parked, held or being copied.
    pub(super) fn quiet(&self) -> bool {
        let mut shards = self.shards.iter();
        shards.all(|shard| shard.parked.is_empty() && shard.engine.quiet())
    }

    /// The worker of an engine finds out that the chain is over.
    pub(super) fn give_up(&mut self, which: usize) -> Check {
        let shard = &mut self.shards[which];
        shard.waiting.clear();
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let ((), free) = crate::alloc::forbidden(|| shard.engine.fail(&level.saved));
        violation(free, || "fail allocates".into())
    }

    /// The bits that writers ask, and the engine is given.
    pub(super) fn saved(&self) -> &Bits {
        &self.levels.last().expect("a snapshot is taken").saved
    }

    /// Whether no write passed to any block of `range` since the take of `epoch`.
    pub(super) fn untouched(&self, epoch: Epoch, range: BlockRange) -> bool {
        let levels = self.levels.iter().filter(|level| level.epoch >= epoch);
        levels
            .map(|level| &level.saved)
            .all(|saved| saved.untouched(range))
    }

    /// Whether it is over, and nothing waits for it.
    fn gone(&self) -> bool {
        let ended =
            |shard: &Shard| shard.engine.failed() && shard.parked.is_empty() && shard.engine.idle();
        self.over && self.shards.iter().all(ended)
    }
}

impl World {
    pub(super) fn chain(&mut self, id: ChainId) -> Option<&mut Chain> {
        self.chains.iter_mut().find(|chain| chain.id == id)
    }

    /// An engine of a chain that is not over.
    pub(super) fn shard(&mut self, id: ChainId, which: usize) -> Option<(&mut Shard, &Bits)> {
        let chain = self.chain(id)?;
        let level = chain.levels.last()?;
        let shard = &mut chain.shards[which];
        (!shard.engine.failed()).then_some((shard, &level.saved))
    }

    /// The chain of a device that is not over.
    pub(super) fn current(&self, device: usize) -> Option<usize> {
        let current = |chain: &Chain| chain.device == device && !chain.over;
        self.chains.iter().position(current)
    }

    /// Gives all snapshots of a device up: one engine at once, the others when their workers look.
    pub(super) fn fail(&mut self, id: ChainId, which: usize, why: &str) -> Check {
        note!(self, "the snapshots of chain {id} end: {why}");
        let Some(chain) = self.chain(id) else {
            return Ok(());
        };
        chain.over = true;
        chain.give_up(which)?;
        self.chain_is_over(id);
        Ok(())
    }

    /// Images of the chain answer with errors from now on, to what is under way as well.
    pub(super) fn chain_is_over(&mut self, id: ChainId) {
        let mut lost = Vec::new();
        for snapshot in &mut self.snapshots {
            for (which, member) in snapshot.members.iter_mut().enumerate() {
                if member.chain == id && member.epoch.is_some() {
                    member.lost = true;
                    lost.push((snapshot.serial, which));
                }
            }
        }
        for (serial, which) in lost {
            self.end_image_io(serial, which);
        }
    }

    /// Forgets chains that are over and hold nothing any more, and what only they needed. I/O under way for them finds nobody.
    pub(super) fn bury(&mut self) {
        let gone: Vec<ChainId> = self
            .chains
            .iter()
            .filter(|chain| chain.gone())
            .map(|chain| chain.id)
            .collect();
        self.chains.retain(|chain| !gone.contains(&chain.id));
        for store in self.stores.values_mut() {
            store.users.retain(|(chain, ..)| !gone.contains(chain));
        }
        self.drop_stores();
    }
}
