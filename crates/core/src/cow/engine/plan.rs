// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which blocks are copied next, for whom.

use super::copies::State;
use super::held::Kind;
use super::{Engine, TURN_COPIES};
use crate::cow::lazy::LazyCell;
use crate::cow::map::{Place, GROUP_BLOCKS};
use crate::cow::saved::{Saved, SavedPage};
use crate::{BlockRange, NoMemory};

impl Engine {
    /// Plans copies for starved writes, as far as the pool has room.
    ///
    /// Without memory it stops, and is an error only if no copy is under way whose end would try again.
    pub(super) fn plan<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
    ) -> Result<(), NoMemory> {
        while let Some(id) = self.held.most_starved() {
            self.skim(id);
            let held = self.held.get(id);
            let (at, left) = (held.planned, held.end - held.planned);
            if left == 0 {
                self.held.unstarve(id);
                self.go_on(id);
                continue;
            }
            let room = self.limits.pool_blocks - self.pool_used;
            if room == 0 {
                break;
            }
            if self.turn_over(id) {
                self.held.unstarve(id);
                self.held.starve(id);
                continue;
            }
            let run = self.map.find(at, left).1.min(u64::from(room));
            match self.copy(saved, at, run) {
                Ok(count) => {
                    self.held.get(id).planned += u64::from(count);
                    self.pool_used += count;
                    self.turn.1 += count;
                    self.go_on(id);
                }
                Err(NoMemory) if self.pool_used > 0 => {
                    self.stats.deferred += 1;
                    break;
                }
                Err(NoMemory) => return Err(NoMemory),
            }
        }
        Ok(())
    }

    /// Moves `planned` of a held write on, over the blocks that are not on the origin alone.
    pub(super) fn skim(&mut self, id: u32) {
        let held = self.held.get(id);
        held.planned = held.planned.max(held.done);
        while held.planned < held.end {
            match self.map.find(held.planned, held.end - held.planned) {
                (None, _) => break,
                (Some(_), run) => held.planned += run,
            }
        }
    }

    /// Moves `done` of a held write on, unless it waits already: until it can be released, or waits for a copy, or for its turn.
    pub(super) fn go_on(&mut self, id: u32) {
        let held = self.held.get(id);
        if held.waiting {
            return;
        }
        while held.done < held.end {
            let (place, run) = self.map.find(held.done, held.end - held.done);
            let (copy, in_memory) = match place {
                // Starved: its turn comes.
                None => return,
                Some(Place::Reading(copy)) => (copy, false),
                Some(Place::Memory(copy)) => (copy, true),
                Some(Place::Stored(_)) => {
                    held.done += run;
                    continue;
                }
            };
            let copy = self.copies.get(copy);
            match held.kind {
                Kind::Origin if in_memory => held.done += run,
                kind => {
                    held.waiting = true;
                    let queue = if kind == Kind::Origin {
                        &mut copy.readers
                    } else {
                        &mut copy.storers
                    };
                    queue.push(&mut self.held.slab, id);
                    return;
                }
            }
        }
        self.held.release(id);
    }

    /// Whether the starved write has had its turn, and others wait for theirs.
    fn turn_over(&mut self, id: u32) -> bool {
        if self.turn.0 != id {
            self.turn = (id, 0);
        }
        let over = self.turn.1 >= TURN_COPIES * self.limits.copy_blocks;
        if over {
            self.turn.1 = 0;
        }
        over && self.held.many_starved()
    }

    /// Plans a copy of up to `run` blocks from `start`, which are on the origin alone, and says of how many. Nothing changes without memory.
    ///
    /// A copy that is planned next to it, and not asked for yet, grows instead: adjacent writes become one large read.
    fn copy<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        start: u64,
        run: u64,
    ) -> Result<u32, NoMemory> {
        let most = u64::from(self.limits.copy_blocks);
        let run = run.min(most).min(GROUP_BLOCKS - start % GROUP_BLOCKS);
        if let Some((before, free)) = self.growable(start, start.wrapping_sub(1)) {
            let count = run.min(free);
            saved.prepare(BlockRange { start, count })?;
            let copy = self.copies.get(before);
            copy.count += small(count);
            self.map.resize(copy.start, copy.range());
            return Ok(small(count));
        }
        saved.prepare(BlockRange { start, count: run })?;
        if let Some((behind, free)) = self
            .growable(start + run - 1, start + run)
            .filter(|(_, free)| *free >= run)
        {
            debug_assert!(free <= most);
            let copy = self.copies.get(behind);
            let from = copy.start;
            copy.start = start;
            copy.count += small(run);
            self.map.resize(from, copy.range());
            return Ok(small(run));
        }
        let Some(id) = self.copies.next_free() else {
            return Err(NoMemory);
        };
        self.map
            .insert(BlockRange { start, count: run }, Place::Reading(id))?;
        self.copies.plan(start, small(run));
        Ok(small(run))
    }

    /// The copy that `neighbour` is in, and by how many blocks it may still grow, if it may at all; `block` is next to `neighbour`.
    fn growable(&mut self, block: u64, neighbour: u64) -> Option<(u32, u64)> {
        if block / GROUP_BLOCKS != neighbour / GROUP_BLOCKS {
            return None;
        }
        let (Some(Place::Reading(id)), _) = self.map.find(neighbour, 1) else {
            return None;
        };
        let copy = self.copies.get(id);
        let free = u64::from(self.limits.copy_blocks.saturating_sub(copy.count));
        (copy.state == State::Planned && free > 0).then_some((id, free))
    }
}

/// A number of blocks of a copy, which is at most 512.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
