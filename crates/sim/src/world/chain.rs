// SPDX-License-Identifier: GPL-2.0-only
//! The snapshots of one device: an engine, and the bits of each epoch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use blksnap_core::BlockRange;
use blksnap_core::cow::{BatchId, CopyId, Engine, Epoch, Saved, SavedPage};

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
    /// Slots that its copies were given: the first, and how many.
    pub(super) slots: Vec<(u64, u32)>,
}

pub(super) struct Chain {
    pub(super) id: ChainId,
    pub(super) device: usize,
    pub(super) engine: Engine,
    /// Oldest first; none before the first take.
    pub(super) levels: Vec<Level>,
    /// The bits of the take under way.
    pub(super) fresh: Option<Bits>,
    /// Writes that were found to need a copy, and the engine has yet to hear of.
    pub(super) parked: VecDeque<u64>,
    pub(super) pages: BTreeMap<CopyId, Vec<Content>>,
    pub(super) stores: usize,
    /// Stores that wait for slots.
    pub(super) waiting: VecDeque<(BatchId, Epoch, u32)>,
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
    /// Never copied.
    excluded: Vec<BlockRange>,
    /// In all epochs.
    copied_total: u64,
    needed_total: u64,
}

impl Tally {
    pub(super) fn new_epoch(&mut self, blocks: usize, excluded: &[BlockRange]) {
        (self.copied, self.demanded) = (vec![false; blocks], vec![false; blocks]);
        self.excluded = excluded.to_vec();
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
        violation(!self.excluded.iter().any(meets), || {
            format!("{range:?} is copied, of which some is excluded")
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

    pub(super) fn check(&self) -> Check {
        let (copied, needed) = (self.copied_total, self.needed_total);
        violation(4 * copied <= 5 * needed + 256, || {
            format!("{copied} blocks are copied, and {needed} had to be")
        })
    }
}

impl Chain {
    pub(super) fn new(id: ChainId, device: usize, engine: Engine) -> Self {
        Self {
            id,
            device,
            engine,
            levels: Vec::new(),
            fresh: None,
            parked: VecDeque::new(),
            pages: BTreeMap::new(),
            stores: 0,
            waiting: VecDeque::new(),
            ended: false,
            tally: Tally::default(),
        }
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
        self.engine.failed() && self.parked.is_empty() && self.engine.idle()
    }
}

impl World {
    pub(super) fn chain(&mut self, id: ChainId) -> Option<&mut Chain> {
        self.chains.iter_mut().find(|chain| chain.id == id)
    }

    /// The chain of a device that is not over.
    pub(super) fn current(&self, device: usize) -> Option<usize> {
        let current = |chain: &Chain| chain.device == device && !chain.engine.failed();
        self.chains.iter().position(current)
    }

    /// Gives all snapshots of a device up.
    pub(super) fn fail(&mut self, id: ChainId, why: &str) -> Check {
        note!(self, "the snapshots of chain {id} end: {why}");
        let Some(chain) = self.chain(id) else {
            return Ok(());
        };
        chain.waiting.clear();
        if let Some(level) = chain.levels.last() {
            let ((), free) = crate::alloc::forbidden(|| chain.engine.fail(&level.saved));
            violation(free, || "fail allocates".into())?;
        }
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
            store.users.retain(|(chain, _)| !gone.contains(chain));
        }
        self.drop_stores();
    }
}
