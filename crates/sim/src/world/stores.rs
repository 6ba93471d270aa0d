// SPDX-License-Identifier: GPL-2.0-only
//! The difference storages: one a snapshot, and used by all snapshots of a device where one is full.

use blksnap_core::cow::Epoch;
use blksnap_core::store::StoreSpace;

use super::chain::{ChainId, Shard};
use super::{BLOCK, Check, GONE, Serial, State, What, World, note};
use crate::disk::{Content, Io};

/// A storage, by its number, which is in the upper bits of its slots.
pub(super) type StoreId = u64;

/// Bits of a slot within its storage.
const SLOT_BITS: u32 = 12;

pub(super) struct Store {
    /// The snapshot that it came with, until that ends.
    owner: Option<Serial>,
    /// Epochs whose copies are in it, by engine.
    pub(super) users: Vec<(ChainId, usize, Epoch)>,
    pub(super) space: StoreSpace,
    pub(super) data: Vec<Content>,
}

/// The storage that a slot is in, and the place of its first sector there.
pub(super) fn place_of(slot: u64) -> (StoreId, usize) {
    let within = slot & ((1 << SLOT_BITS) - 1);
    (slot >> SLOT_BITS, within as usize * BLOCK)
}

/// What came of a wish for slots.
pub(super) enum Slots {
    At(u64),
    /// Something has to grow first.
    Later,
    Full,
}

impl World {
    pub(super) fn new_store(&mut self, owner: Serial) -> StoreId {
        let (capacity, limit) = self.config.store;
        let id = self.next_store;
        self.next_store += 1;
        let store = Store {
            owner: Some(owner),
            users: Vec::new(),
            space: StoreSpace::new(capacity, limit, self.config.portion),
            data: vec![GONE; capacity as usize * BLOCK],
        };
        self.stores.insert(id, store);
        id
    }

    /// Slots in one of the storages of the snapshots that `wanted` names, by their numbers; the first that has them.
    pub(super) fn slots(&mut self, wanted: &[StoreId], count: u32) -> Slots {
        let mut later = false;
        for id in wanted {
            let Some(store) = self.stores.get_mut(id) else {
                continue;
            };
            if let Some(slot) = store.space.allocate(count) {
                return Slots::At(id << SLOT_BITS | slot);
            }
            later |= !store.space.full(count);
        }
        if later { Slots::Later } else { Slots::Full }
    }

    /// The storages for copies of `epoch`: that of its own snapshot, and those of the others.
    fn stores_for(&self, chain: ChainId, epoch: Epoch) -> Vec<StoreId> {
        let mut found = Vec::new();
        let taken = |state| matches!(state, State::Taken);
        for snapshot in self.snapshots.iter().filter(|one| taken(one.state)) {
            for member in snapshot.members.iter().filter(|one| one.chain == chain) {
                match member.epoch {
                    Some(own) if own == epoch => found.insert(0, snapshot.store),
                    Some(_) => found.push(snapshot.store),
                    None => {}
                }
            }
        }
        found
    }

    /// Starts the stores that wait for slots and can have them.
    pub(super) fn start_stores(&mut self, id: ChainId) -> Check {
        let engines = self.chain(id).map_or(0, |chain| chain.shards.len());
        (0..engines).try_for_each(|which| self.start_stores_of(id, which))
    }

    fn start_stores_of(&mut self, id: ChainId, which: usize) -> Check {
        while let Some(chain) = self.chain(id).filter(|chain| !chain.over) {
            let Some((batch, epoch, blocks)) = chain.shards[which].waiting.front().copied() else {
                break;
            };
            let wanted = self.stores_for(id, epoch);
            let slot = match self.slots(&wanted, blocks) {
                Slots::At(slot) => slot,
                Slots::Later => break,
                Slots::Full => return self.fail(id, which, "the store is full"),
            };
            let Some(chain) = self.chain(id) else { break };
            let shard = &mut chain.shards[which];
            shard.waiting.pop_front();
            let data = shard.batch_data(batch, blocks)?;
            let level = chain.levels.iter_mut().find(|level| level.epoch == epoch);
            let level = level.ok_or("a store for an epoch that is gone")?;
            level.slots.push((which, slot, blocks));
            let (store, place) = place_of(slot);
            if let Some(store) = self.stores.get_mut(&store) {
                store.users.push((id, which, epoch));
            }
            self.start(Io::write(place, data, What::Store(id, which, batch, slot)));
        }
        Ok(())
    }

    /// Nobody needs the slots that the copies of an epoch by an engine were given.
    pub(super) fn free_slots(
        &mut self,
        user: (ChainId, usize, Epoch),
        slots: Vec<(usize, u64, u32)>,
    ) {
        for (_, slot, blocks) in slots {
            let (id, place) = place_of(slot);
            if let Some(store) = self.stores.get_mut(&id) {
                store.data[place..place + blocks as usize * BLOCK].fill(GONE);
                store.users.retain(|other| *other != user);
            }
        }
        self.drop_stores();
    }

    /// The snapshot has ended: its storage stays as long as there are copies in it.
    pub(super) fn disown(&mut self, serial: Serial) {
        for store in self.stores.values_mut() {
            if store.owner == Some(serial) {
                store.owner = None;
            }
        }
        self.drop_stores();
    }

    pub(super) fn drop_stores(&mut self) {
        self.stores
            .retain(|_, store| store.owner.is_some() || !store.users.is_empty());
    }

    /// A store grows, if it should. Whether one did.
    pub(super) fn grow_some(&mut self, which: usize, how: usize) -> Result<bool, String> {
        let of = self.stores.len().max(1);
        let Some((id, store)) = self.stores.iter_mut().nth(which % of) else {
            return Ok(false);
        };
        let Some(slots) = store.space.wants_growth() else {
            return Ok(false);
        };
        // Now and then the file system is full, or gives less than was asked for.
        let slots = if how % 16 == 1 { slots / 2 } else { slots };
        if how % 16 == 2 {
            store.space.stop_growing();
        }
        store.space.grown(slots);
        let sectors = store.space.capacity() as usize * BLOCK;
        store.data.resize(sectors, GONE);
        note!(self, "store {id} grows by {slots}");
        let chains: Vec<ChainId> = self.chains.iter().map(|chain| chain.id).collect();
        chains
            .into_iter()
            .try_for_each(|chain| self.start_stores(chain))?;
        Ok(true)
    }
}

impl Shard {
    /// What is in the pages of a batch.
    fn batch_data(
        &self,
        batch: blksnap_core::cow::BatchId,
        blocks: u32,
    ) -> Result<Vec<Content>, String> {
        let mut data = Vec::new();
        for (copy, range) in self.engine.batch(batch) {
            let pages = self.pages.get(&copy).ok_or("pages of a copy are gone")?;
            data.extend_from_slice(pages);
            // The last block of a device may be short.
            data.resize(data.len().div_ceil(BLOCK) * BLOCK, 0);
            super::writes::violation(pages.len().div_ceil(BLOCK) == range.count as usize, || {
                "a copy of another length".into()
            })?;
        }
        super::writes::violation(data.len() == blocks as usize * BLOCK, || {
            "a batch of another length".into()
        })?;
        Ok(data)
    }
}
