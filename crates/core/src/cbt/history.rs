// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! When each tracking block changed last, as of the last take.

use super::cells::{Cells, PAGE_WORDS};
use super::consumers::{ConsumerError, Consumers};
use super::marks::Marks;
use super::ranks::Ranks;
use crate::NoMemory;

/// Takes that a generation of the upstream view counts.
const UPSTREAM_TAKES: u64 = 255;

/// State of the view that clients of the upstream interface see: one byte a block, numbers from 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Id of the view's generation; a new one after 255 takes at the latest.
    pub generation: [u8; 16],
    /// Takes in this generation of the view, 0..=255.
    pub changes_number: u8,
}

/// For each tracking block, the number of the take before which it was written last.
///
/// One owner at a time: a take and the readers of changes take turns. Every method is given the [`Marks`] that [`History::new`] was given.
///
/// # Invariants
///
/// - A block's number is [`History::number`] if its bit in the idle bitmap of the marks is set, else that of its cell.
/// - A number in (`upstream_base`, `number`] has a rank of its own.
pub struct History {
    cells: Cells,
    ranks: Ranks,
    consumers: Consumers,
    number: u64,
    generation: [u8; 16],
    upstream_generation: [u8; 16],
    /// The number at which the upstream view's generation began.
    upstream_base: u64,
    /// The idle bitmap is clear.
    folded: bool,
}

impl History {
    /// The history of a device that `marks` track: nothing changed, number 0.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]. Allocates 6 bytes per 1000 tracking blocks; up to a byte a tracking block, with the marks, follows where changes are.
    pub fn new(
        marks: &Marks,
        generation: [u8; 16],
        upstream_generation: [u8; 16],
    ) -> Result<Self, NoMemory> {
        Ok(Self {
            cells: Cells::new(marks.block_count())?,
            ranks: Ranks::new()?,
            consumers: Consumers::new(),
            number: 0,
            generation,
            upstream_generation,
            upstream_base: 0,
            folded: true,
        })
    }

    /// Makes ready for a take: folds the bitmap of the last take into the cells, and clears it. Before the gate is closed.
    ///
    /// Where the upstream view has counted 255 takes, or memory does not allow so many, it starts anew here, with the id `fresh_upstream_generation`.
    /// A take that then does not come does no harm, and what is read stays the same but for this.
    ///
    /// # Errors
    ///
    /// [`NoMemory`]: the take should fail. Nothing is lost, and `prepare` can be tried again.
    pub fn prepare(
        &mut self,
        marks: &Marks,
        fresh_upstream_generation: [u8; 16],
    ) -> Result<(), NoMemory> {
        if self.number - self.upstream_base >= UPSTREAM_TAKES {
            self.new_view(fresh_upstream_generation);
        }
        if self.folded {
            return Ok(());
        }
        for page in 0..self.cells.page_count() {
            let words = page * PAGE_WORDS..(page + 1) * PAGE_WORDS;
            if words.clone().any(|word| marks.idle(word) != 0) {
                self.fold(marks, page, fresh_upstream_generation)?;
                words.for_each(|word| marks.clear_idle(word));
            }
        }
        self.folded = true;
        Ok(())
    }

    /// Enters the last take's marks of a page into its cells.
    fn fold(&mut self, marks: &Marks, page: u64, fresh: [u8; 16]) -> Result<(), NoMemory> {
        // Twice the ranks are made fewer at most: then five bits are enough.
        for _ in 0..4 {
            let rank = self.rank(fresh);
            if self.cells.set(page, rank, |word| marks.idle(word))? {
                return Ok(());
            }
            self.make_narrow(fresh);
        }
        Err(NoMemory)
    }

    /// The rank of the last take.
    fn rank(&mut self, fresh: [u8; 16]) -> u8 {
        if let Some(rank) = self.ranks.rank_of(self.number) {
            return rank;
        }
        let (consumers, cells) = (&self.consumers, &mut self.cells);
        self.ranks.make_room(self.upstream_base, consumers, cells);
        if let Some(rank) = self.ranks.rank_of(self.number) {
            return rank;
        }
        // Consumers and the upstream view need all ranks between them.
        self.new_view(fresh);
        let (consumers, cells) = (&self.consumers, &mut self.cells);
        self.ranks.make_room(self.upstream_base, consumers, cells);
        self.ranks.rank_of(self.number).unwrap_or(u8::MAX)
    }

    /// The cells take as much memory as they may: ranks have to do with a bit less.
    fn make_narrow(&mut self, fresh: [u8; 16]) {
        let before = self.ranks.bits();
        let (consumers, cells) = (&self.consumers, &mut self.cells);
        self.ranks.make_narrow(self.upstream_base, consumers, cells);
        if self.ranks.bits() == before {
            self.new_view(fresh);
            let (consumers, cells) = (&self.consumers, &mut self.cells);
            self.ranks.make_narrow(self.upstream_base, consumers, cells);
        }
    }

    /// The upstream view starts anew.
    fn new_view(&mut self, generation: [u8; 16]) {
        self.upstream_base = self.number;
        self.upstream_generation = generation;
    }

    /// The take: what is marked so far belongs to it, what is marked from now on to the next. Adds one to [`History::number`].
    ///
    /// At the gate, after the drain: while no [`Marks::mark`] runs. A few instructions; cannot fail. Without a [`History::prepare`]
    /// before it, the changes of the take before count as changes of this one.
    pub fn switch(&mut self, marks: &Marks) {
        if !self.folded {
            marks.carry_over();
        }
        marks.exchange();
        self.number += 1;
        self.folded = false;
    }

    /// A consumer of this name has all changes up to take `base`: from now on, and as long as it is set, a delta from there is exact
    /// if it is now. At most 16 names.
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]; nothing changed.
    pub fn set_consumer(&mut self, name: &[u8; 64], base: u64) -> Result<(), ConsumerError> {
        if base > self.number {
            return Err(ConsumerError::Number);
        }
        self.consumers.set(name, base)
    }

    /// The base of a consumer.
    pub fn consumer(&self, name: &[u8; 64]) -> Option<u64> {
        self.consumers.get(name)
    }

    /// Forgets a consumer. Whether there was one.
    pub fn remove_consumer(&mut self, name: &[u8; 64]) -> bool {
        self.consumers.remove(name)
    }

    /// The consumer at a place in the list of all, with its base.
    pub fn consumer_at(&self, index: usize) -> Option<(&[u8; 64], u64)> {
        self.consumers.at(index)
    }

    /// Number of takes in this generation; the number of the last take.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Id of the generation: of this history, from [`History::new`] on.
    pub fn generation(&self) -> [u8; 16] {
        self.generation
    }

    /// The least base for which [`History::changed_since`] is exact. For older ones it may name blocks that changed shortly before the base.
    pub fn exact_from(&self) -> u64 {
        self.ranks.exact_above()
    }

    /// Calls `found(block, count)` for each run of tracking blocks from `from_block` on that were written after take `base` and before
    /// the last take, in ascending order, neighbours joined.
    ///
    /// `found` says whether to go on; the run given to it counts as dealt with. Returns the block to resume from, the number
    /// of blocks when all are done. With a `base` that is not below [`History::number`] there are none.
    pub fn changed_since(
        &self,
        marks: &Marks,
        base: u64,
        from_block: u64,
        found: &mut dyn FnMut(u64, u64) -> bool,
    ) -> u64 {
        let blocks = marks.block_count();
        if base >= self.number {
            return blocks;
        }
        let mut run = Run {
            start: from_block,
            count: 0,
        };
        for word in from_block / 64..blocks.div_ceil(64) {
            let mut mask = self.changed_in(marks, base, word);
            if word == from_block / 64 {
                mask &= u64::MAX << (from_block % 64);
            }
            let mut at = 0;
            while at < 64 {
                let rest = mask >> at;
                let clear = u64::from(rest.trailing_zeros()).min(64 - at);
                let set = u64::from(rest.trailing_ones());
                if set > 0 {
                    run.add(word * 64 + at, set);
                } else if let Some(next) = run.end(found) {
                    return next;
                }
                at += clear + set;
            }
        }
        run.end(found).unwrap_or(blocks)
    }

    /// The upstream view's state.
    pub fn upstream(&self) -> Upstream {
        Upstream {
            generation: self.upstream_generation,
            changes_number: self.upstream_number(self.number),
        }
    }

    /// The upstream view's byte for a tracking block: the number of the take before which it was written last, 0 for none in
    /// this generation of the view. Exact.
    pub fn upstream_byte(&self, marks: &Marks, block: u64) -> u8 {
        let idle = marks.idle(block / 64) >> (block % 64) & 1 == 1;
        self.upstream_number(if idle {
            self.number
        } else {
            self.ranks.number(self.cells.get(block))
        })
    }

    /// Fills `out` with the upstream view's bytes of the blocks from `from_block`, 0 beyond the last.
    pub fn upstream_bytes(&self, marks: &Marks, from_block: u64, out: &mut [u8]) {
        for (block, byte) in (from_block..marks.block_count()).zip(out.iter_mut()) {
            *byte = self.upstream_byte(marks, block);
        }
        let filled =
            usize::try_from(marks.block_count().saturating_sub(from_block)).unwrap_or(usize::MAX);
        out.iter_mut().skip(filled).for_each(|byte| *byte = 0);
    }

    /// Bytes of memory allocated.
    pub fn memory_bytes(&self) -> usize {
        self.cells.memory_bytes() + self.ranks.memory_bytes() + self.consumers.memory_bytes()
    }

    /// The blocks of word `word` that changed after take `base`, which is below `number`.
    fn changed_in(&self, marks: &Marks, base: u64, word: u64) -> u64 {
        let cells = self
            .ranks
            .above(base)
            .map_or(0, |rank| self.cells.at_least(word, rank));
        (cells | marks.idle(word)) & self.cells.valid(word)
    }

    fn upstream_number(&self, number: u64) -> u8 {
        u8::try_from(number.saturating_sub(self.upstream_base)).unwrap_or(u8::MAX)
    }
}

/// A run of blocks that may still go on.
struct Run {
    start: u64,
    count: u64,
}

impl Run {
    fn add(&mut self, start: u64, count: u64) {
        if self.count == 0 {
            self.start = start;
        }
        self.count += count;
    }

    /// The run is over. `Some(next)` if the reader wants no more.
    fn end(&mut self, found: &mut dyn FnMut(u64, u64) -> bool) -> Option<u64> {
        let count = core::mem::take(&mut self.count);
        (count > 0 && !found(self.start, count)).then(|| self.start + count)
    }
}
