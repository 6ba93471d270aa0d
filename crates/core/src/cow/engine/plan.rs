// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which blocks are copied next, for whom.

use super::copies::State;
use super::{Engine, Lost, Policy, TURN_COPIES};
use crate::cow::lazy::LazyCell;
use crate::cow::map::{one_run, Near, Place, MAX_RUN};
use crate::cow::saved::{Saved, SavedPage};
use crate::{BlockRange, NoMemory};

/// How far a held write was served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// All its blocks are saved, or have copies planned.
    Whole,
    /// Its turn is over.
    Turn,
    /// The pool is full, or there is no memory for now.
    Stuck,
}

impl Engine {
    /// A write has arrived: plans its copies, if nobody waits for room before it.
    pub(super) fn begin<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        id: u32,
    ) -> Result<(), Lost> {
        let served = if self.held.most_starved().is_some() {
            Served::Turn
        } else {
            self.serve(saved, id)?
        };
        if served != Served::Whole {
            self.held.starve(id);
            self.plan(saved)?;
            if self.held.get(id).starved {
                if self.limits.policy == Policy::GiveUp {
                    return Err(Lost::Pool);
                }
                self.held.wait(id);
            }
        }
        Ok(())
    }

    /// Plans copies for starved writes, as far as the pool has room.
    pub(super) fn plan<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>) -> Result<(), Lost> {
        while let Some(id) = self.held.most_starved() {
            match self.serve(saved, id)? {
                Served::Whole => self.held.unstarve(id),
                Served::Turn => self.held.starve_last(id),
                Served::Stuck => break,
            }
        }
        Ok(())
    }

    /// Plans copies for a held write, and lets it go on as far as it can.
    ///
    /// Without memory it stops, and is an error only if no copy is under way whose end would try again.
    fn serve<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>, id: u32) -> Result<Served, Lost> {
        let served = loop {
            let held = self.held.get(id);
            held.planned = held.planned.max(held.done);
            let (at, left) = (held.planned, held.end - held.planned);
            if left == 0 {
                break Served::Whole;
            }
            let run = saved.saved_run(at, left);
            if run > 0 {
                held.planned += run;
                continue;
            }
            let near = self.top.map.near(at);
            if let Some((_, run)) = near.place() {
                held.planned += run.min(left);
                continue;
            }
            let room = u64::from(self.limits.pool_blocks - self.pool_used);
            if room == 0 {
                break Served::Stuck;
            }
            if self.turn_over(id) {
                break Served::Turn;
            }
            let most = left.min(room).min(MAX_RUN);
            // The block itself is clear.
            let run = match near.gap().min(most) {
                1 => 1,
                most => saved.clear_run(at, most),
            };
            match self.copy(
                saved,
                &near,
                BlockRange {
                    start: at,
                    count: run,
                },
            ) {
                Ok((copy, count)) => {
                    let held = self.held.get(id);
                    held.planned += count;
                    if held.done == at && !held.waiting {
                        self.wait_for(copy, id);
                    }
                    self.turn.1 += small(count);
                }
                Err(NoMemory) if self.pool_used > 0 => {
                    self.stats.deferred += 1;
                    break Served::Stuck;
                }
                Err(NoMemory) => return Err(Lost::Memory),
            }
        };
        if !self.held.get(id).waiting {
            self.go_on(saved, id);
        }
        Ok(served)
    }

    /// Moves `done` of a held write that does not wait on: until it can be released, or waits for a copy, or for its turn.
    pub(super) fn go_on<C: LazyCell<SavedPage>>(&mut self, saved: &Saved<C>, id: u32) {
        let held = self.held.get(id);
        while held.done < held.end {
            let run = saved.saved_run(held.done, held.end - held.done);
            held.done += run;
            if run > 0 {
                continue;
            }
            // Else it is starved: its turn comes.
            if let (Some(Place::Copy(copy)), _) = self.top.map.find(held.done, 1) {
                self.wait_for(copy, id);
            }
            return;
        }
        self.held.release(id);
    }

    /// The held write waits until the copy is in memory.
    fn wait_for(&mut self, copy: u32, id: u32) {
        self.held.get(id).waiting = true;
        let readers = &mut self.copies.get(copy).readers;
        readers.push(&mut self.held.slab, id);
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

    /// Plans a copy of blocks of `range`, which are on the origin alone, from the first on: which copy, and of how many; `near` is of the first.
    /// Nothing changes without memory.
    ///
    /// A copy that is planned next to it, and not asked for yet, grows instead: adjacent writes become one large read. Otherwise it may be
    /// extended, see `ahead.rs`.
    fn copy<C: LazyCell<SavedPage>>(
        &mut self,
        saved: &Saved<C>,
        near: &Near,
        range: BlockRange,
    ) -> Result<(u32, u64), NoMemory> {
        let start = range.start;
        let range = one_run(start, range.count.min(u64::from(self.limits.copy_blocks)));
        if let Some((before, free)) = self.growable(near.before()) {
            let count = range.count.min(free);
            saved.prepare(BlockRange { start, count })?;
            self.top.map.grow_before(near, count);
            self.copies.get(before).count += small(count);
            self.count_planned(count, 0);
            return Ok((before, count));
        }
        let behind = self.growable(near.after(range.count));
        if let Some((behind, _)) = behind.filter(|(_, free)| *free >= range.count) {
            saved.prepare(range)?;
            self.top.map.grow_after(near);
            let copy = self.copies.get(behind);
            copy.start = start;
            copy.count += small(range.count);
            self.count_planned(range.count, 0);
            return Ok((behind, range.count));
        }
        let Some(id) = self.copies.next_free() else {
            return Err(NoMemory);
        };
        saved.prepare(range)?;
        let (left, right) = self.look_ahead(saved, near, range);
        let whole = BlockRange {
            start: start - left,
            count: left + range.count + right,
        };
        let place = Place::Copy(id);
        self.top.map.insert(near, left, whole.count, place)?;
        self.copies.plan(self.top.id, whole);
        if left + right > 0 {
            let end = start + range.count;
            saved.set_ahead(BlockRange {
                start: whole.start,
                count: left,
            });
            saved.set_ahead(BlockRange {
                start: end,
                count: right,
            });
        }
        self.count_planned(range.count, left + right);
        Ok((id, range.count))
    }

    /// So many blocks were planned for writes that are held, and ahead of writes.
    fn count_planned(&mut self, demanded: u64, ahead: u64) {
        self.pool_used += small(demanded + ahead);
        self.ahead.count(demanded, ahead);
    }

    /// The copy at a place next to a block, and by how many blocks it may still grow, if it may at all.
    fn growable(&mut self, neighbour: Option<Place>) -> Option<(u32, u64)> {
        let Some(Place::Copy(id)) = neighbour else {
            return None;
        };
        let most = self.limits.copy_blocks;
        let copy = self.copies.get(id);
        let free = u64::from(most.saturating_sub(copy.count));
        (copy.state == State::Planned && free > 0).then_some((id, free))
    }
}

/// A number of blocks of a copy, which is at most 512.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
