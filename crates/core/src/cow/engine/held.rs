// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The writes that are held back.

use alloc::vec::Vec;

use super::queue::{Linked, Links, Queue, UNLINKED};
use super::waits::Waits;
use super::{Clock, Token};
use crate::fallible::{bytes, push};
use crate::{BlockRange, NoMemory};

/// A write that is held back.
///
/// # States
///
/// 1. *Starved*: in the list of writes for which copies have yet to be planned; `planned < end`.
/// 2. *Waiting*: for the copy that block `done` is in, in one of that copy's queues. A write may be starved and waiting.
/// 3. *Released*: in the queue of writes to be sent on.
/// 4. *Free*: no write, in the queue of free entries.
///
/// # Invariants
///
/// - Blocks before `done` are saved. Blocks before `planned` are no longer on the origin alone.
/// - A write that is neither waiting nor released is starved, and block `done` is on the origin alone.
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) end: u64,
    pub(super) done: u64,
    pub(super) planned: u64,
    pub(super) waiting: bool,
    pub(super) starved: bool,
    /// When it began to wait for room, if it had to.
    since: Option<u64>,
    live: bool,
    /// Link 0: queue of the copy waited for, of released or of free entries. Link 1: next starved.
    links: Links,
    /// Starved before this one.
    before: u32,
}

impl Linked for Held {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn link(&self, link: usize) -> u32 {
        self.links[link]
    }
}

/// All held writes, and the starved ones in order.
pub(super) struct HeldWrites {
    pub(super) slab: Vec<Held>,
    free: Queue<0>,
    released: Queue<0>,
    /// First and last starved, [`u32::MAX`] for none.
    starved: (u32, u32),
    live: u32,
    waits: Waits,
}

const NONE: u32 = u32::MAX;

impl HeldWrites {
    pub(super) const fn new(clock: Clock) -> Self {
        Self {
            slab: Vec::new(),
            free: Queue::new(),
            released: Queue::new(),
            starved: (NONE, NONE),
            live: 0,
            waits: Waits::new(clock),
        }
    }

    /// Takes in a write; neither starved nor waiting yet.
    pub(super) fn add(&mut self, token: Token, range: BlockRange) -> Result<u32, NoMemory> {
        let held = Held {
            token,
            end: range.end(),
            done: range.start,
            planned: range.start,
            waiting: false,
            starved: false,
            since: None,
            live: true,
            links: UNLINKED,
            before: NONE,
        };
        let id = if let Some(id) = self.free.pop(&mut self.slab) {
            self.slab[id as usize] = held;
            id
        } else {
            let id = u32::try_from(self.slab.len())
                .ok()
                .filter(|id| *id != NONE)
                .ok_or(NoMemory)?;
            push(&mut self.slab, held)?;
            id
        };
        self.live += 1;
        Ok(id)
    }

    pub(super) fn get(&mut self, id: u32) -> &mut Held {
        &mut self.slab[id as usize]
    }

    pub(super) fn release(&mut self, id: u32) {
        self.unstarve(id);
        self.released.push(&mut self.slab, id);
    }

    /// All bits, if none is to be sent on.
    #[inline]
    pub(super) fn head(&self) -> u32 {
        self.released.head()
    }

    /// The next write to be sent on; it is forgotten.
    pub(super) fn pop_released(&mut self) -> Option<Token> {
        let id = self.released.pop(&mut self.slab)?;
        self.forget(id);
        self.free.push(&mut self.slab, id);
        Some(self.slab[id as usize].token)
    }

    /// The write is no longer held here. Its links are left to [`HeldWrites::release_all`].
    pub(super) fn forget(&mut self, id: u32) {
        self.slab[id as usize].live = false;
        self.live -= 1;
    }

    /// Whatever they wait for: all writes are to be sent on. No queue but `released` is good for anything afterwards.
    pub(super) fn release_all(&mut self) {
        self.released = Queue::new();
        self.starved = (NONE, NONE);
        for id in (0..).take(self.slab.len()) {
            if self.slab[id as usize].live {
                self.end_wait(id);
                self.released.push(&mut self.slab, id);
            }
        }
    }

    /// The write starved longest.
    pub(super) fn most_starved(&self) -> Option<u32> {
        (self.starved.0 != NONE).then_some(self.starved.0)
    }

    /// Whether there are several starved writes.
    pub(super) fn many_starved(&self) -> bool {
        self.starved.0 != self.starved.1
    }

    /// Puts a write at the end of the starved ones.
    pub(super) fn starve(&mut self, id: u32) {
        let before = self.starved.1;
        match before {
            NONE => self.starved.0 = id,
            _ => self.get(before).links[1] = id,
        }
        self.starved.1 = id;
        let held = self.get(id);
        (held.before, held.links[1], held.starved) = (before, NONE, true);
    }

    /// There is no room for a starved write: it waits.
    pub(super) fn wait(&mut self, id: u32) {
        let now = self.waits.begin();
        self.get(id).since = Some(now);
    }

    fn end_wait(&mut self, id: u32) {
        if let Some(since) = self.get(id).since.take() {
            self.waits.end(since);
        }
    }

    /// Takes a write out of the starved ones, if it is one; it does not wait any more.
    #[inline]
    pub(super) fn unstarve(&mut self, id: u32) {
        // Nearly no write is one.
        if self.get(id).starved {
            self.unlink(id);
            self.end_wait(id);
        }
    }

    /// The turn of a starved write is over: it is the last of them.
    pub(super) fn starve_last(&mut self, id: u32) {
        self.unlink(id);
        self.starve(id);
    }

    fn unlink(&mut self, id: u32) {
        let held = self.get(id);
        if core::mem::take(&mut held.starved) {
            let (before, after) = (held.before, held.links[1]);
            match before {
                NONE => self.starved.0 = after,
                _ => self.get(before).links[1] = after,
            }
            match after {
                NONE => self.starved.1 = before,
                _ => self.get(after).before = before,
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.live
    }

    /// The waits for room so far, with those that go on.
    pub(super) fn waits(&self) -> Waits {
        let next = |id: &u32| Some(self.slab[*id as usize].links[1]).filter(|id| *id != NONE);
        let starved = core::iter::successors(self.most_starved(), next);
        self.waits
            .with(starved.filter_map(|id| self.slab[id as usize].since))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.slab)
    }
}
