// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Marks and history against a plain list of change numbers.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the tests' numbers are small"
)]

use blksnap_core::cbt::{ConsumerError, History, Marks};
use proptest::prelude::*;

/// The stupid oracle: for each tracking block the take before which it was written last, and the blocks written since the last take.
struct Oracle {
    block_sectors: u64,
    capacity: u64,
    taken: Vec<u64>,
    pending: Vec<bool>,
    number: u64,
    upstream_base: u64,
}

impl Oracle {
    fn new(capacity: u64, shift: u32) -> Self {
        let block_sectors = 1 << (shift - 9);
        let blocks = capacity.div_ceil(block_sectors) as usize;
        let (taken, pending) = (vec![0; blocks], vec![false; blocks]);
        Self {
            block_sectors,
            capacity,
            taken,
            pending,
            number: 0,
            upstream_base: 0,
        }
    }

    fn mark(&mut self, sector: u64, sectors: u64) {
        for sector in sector..sector.saturating_add(sectors).min(self.capacity) {
            self.pending[(sector / self.block_sectors) as usize] = true;
        }
    }

    fn take(&mut self) {
        self.number += 1;
        for (taken, pending) in self.taken.iter_mut().zip(&mut self.pending) {
            if std::mem::take(pending) {
                *taken = self.number;
            }
        }
    }
}

struct Pair {
    marks: Marks,
    history: History,
    oracle: Oracle,
    /// Bases that consumers have set, and that have to stay exact.
    consumers: Vec<([u8; 64], u64)>,
}

impl Pair {
    fn new(capacity: u64, shift: u32) -> Self {
        let marks = Marks::new(capacity, shift).unwrap();
        let history = History::new(&marks, [7; 16], [0; 16]).unwrap();
        let oracle = Oracle::new(capacity, shift);
        assert_eq!(marks.block_count(), oracle.taken.len() as u64);
        Self {
            marks,
            history,
            oracle,
            consumers: Vec::new(),
        }
    }

    fn mark(&mut self, sector: u64, sectors: u64) {
        self.marks.mark(sector, sectors);
        self.oracle.mark(sector, sectors);
    }

    fn write(&mut self, sector: u64, sectors: u64) {
        self.marks.mark_write(sector, sectors);
        self.oracle.mark(sector, sectors);
    }

    /// Prepares a take that then does not come.
    fn prepare(&mut self) {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&self.oracle.number.to_le_bytes());
        self.history.prepare(&self.marks, id).unwrap();
        if self.history.upstream().generation == id {
            self.oracle.upstream_base = self.oracle.number;
        }
        assert!(self.oracle.number - self.oracle.upstream_base < 255);
    }

    /// A consumer has read everything.
    fn consume(&mut self, which: u8) {
        let (name, base) = ([which; 64], self.oracle.number);
        self.history.set_consumer(&name, base).unwrap();
        self.consumers.retain(|(other, _)| *other != name);
        self.consumers.push((name, base));
    }

    fn check_consumers(&self) {
        for (name, base) in &self.consumers {
            assert_eq!(self.history.consumer(name), Some(*base));
            let (found, _) = self.changed(*base, 0, usize::MAX);
            assert_eq!(found, self.expected(*base), "consumer's base {base}");
        }
    }

    fn expected(&self, base: u64) -> Vec<u64> {
        let numbers = (0..).zip(&self.oracle.taken);
        let newer = numbers.filter(|(_, number)| **number > base);
        newer.map(|(block, _)| block).collect()
    }

    fn take(&mut self) {
        self.prepare();
        self.history.switch(&self.marks);
        self.oracle.take();
    }

    fn changed(&self, base: u64, from: u64, stop_after: usize) -> (Vec<u64>, u64) {
        let (mut blocks, mut runs, mut end) = (Vec::new(), 0, None);
        let next = self
            .history
            .changed_since(&self.marks, base, from, &mut |block, count| {
                assert!(
                    count > 0 && end.is_none_or(|end| block > end),
                    "runs are joined and ascend"
                );
                end = Some(block + count);
                blocks.extend(block..block + count);
                runs += 1;
                runs < stop_after
            });
        (blocks, next)
    }

    fn check_changes(&self, base: u64) {
        let (found, next) = self.changed(base, 0, usize::MAX);
        assert_eq!(next, self.marks.block_count());
        let expected = self.expected(base);
        if base >= self.history.exact_from() {
            assert_eq!(found, expected, "since {base} at {}", self.history.number());
        } else {
            assert!(
                expected.iter().all(|block| found.contains(block)),
                "a change is missing"
            );
            assert!(
                found
                    .iter()
                    .all(|block| self.oracle.taken[*block as usize] > 0),
                "never written"
            );
        }
    }

    /// Reading in small pieces gives the same as reading at once.
    fn check_resume(&self, base: u64, runs: usize) {
        let (mut all, mut from) = (Vec::new(), 0);
        while from < self.marks.block_count() {
            let (blocks, next) = self.changed(base, from, runs);
            assert!(next > from);
            all.extend(blocks);
            from = next;
        }
        assert_eq!(all, self.changed(base, 0, usize::MAX).0);
    }

    fn check_upstream(&self) {
        let state = self.history.upstream();
        assert_eq!(
            u64::from(state.changes_number),
            self.oracle.number - self.oracle.upstream_base
        );
        let mut bytes = vec![0xaa; self.oracle.taken.len() + 3];
        self.history.upstream_bytes(&self.marks, 0, &mut bytes);
        let expected = self
            .oracle
            .taken
            .iter()
            .map(|n| n.saturating_sub(self.oracle.upstream_base) as u8);
        assert!(bytes.iter().copied().eq(expected.chain([0, 0, 0])));
        assert_eq!(self.history.upstream_byte(&self.marks, 0), bytes[0]);
    }

    fn check(&self) {
        assert_eq!(self.history.number(), self.oracle.number);
        assert_eq!(self.history.generation(), [7; 16]);
        self.check_upstream();
        self.check_consumers();
    }

    /// The promise of the module's manual, where memory is not short.
    fn check_reach(&self) {
        let exact = self.history.exact_from();
        assert!(
            exact == 0 || exact + 190 <= self.oracle.number,
            "exact from {exact} at {}",
            self.oracle.number
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Mark(u64, u64),
    Write(u64, u64),
    Take,
    Prepare,
    Check(u64),
    Consume(u8),
}

fn steps(capacity: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..capacity + 3000, prop_oneof![1..20u64, 1..=capacity, Just(u64::from(u32::MAX))]).prop_map(|(at, n)| Step::Write(at, n)),
        6 => (0..capacity + 10, prop_oneof![0..20u64, 0..capacity, Just(u64::MAX)]).prop_map(|(at, n)| Step::Mark(at, n)),
        4 => Just(Step::Take),
        1 => Just(Step::Prepare),
        2 => (0..40u64).prop_map(Step::Check),
        1 => (0..16u8).prop_map(Step::Consume),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn history_is_what_was_written(
        (capacity, shift, steps) in (1..40_000u64, 9..13u32).prop_flat_map(|(c, s)| (Just(c), Just(s), steps(c)))
    ) {
        let mut pair = Pair::new(capacity, shift);
        for step in steps {
            match step {
                Step::Mark(sector, sectors) => pair.mark(sector, sectors),
                Step::Write(sector, sectors) => pair.write(sector, sectors),
                Step::Take => pair.take(),
                Step::Prepare => pair.prepare(),
                Step::Consume(which) => pair.consume(which),
                Step::Check(back) => {
                    let base = pair.oracle.number.saturating_sub(back);
                    pair.check_changes(base);
                    pair.check_resume(base, 1 + back as usize);
                }
            }
            pair.check();
            if pair.consumers.is_empty() {
                pair.check_reach();
            }
        }
        pair.check_changes(0);
    }
}

/// Every rank is in use all the time, so they run out again and again.
#[test]
fn seventy_thousand_takes_of_a_ring() {
    let mut pair = Pair::new(600, 9);
    for take in 0..70_000u64 {
        pair.write(take % 600, 1);
        pair.take();
        if take % 7 == 0 || take < 1000 {
            pair.check();
            pair.check_reach();
            pair.check_changes(take.saturating_sub(take % 300));
            pair.check_changes(0);
        }
    }
    assert_eq!(pair.history.number(), 70_000);
}

/// Random writes, so that numbers fall out of use in any order; several pages of cells.
#[test]
fn thousands_of_takes_at_random() {
    let mut pair = Pair::new(10_000, 9);
    let mut random = 88_172_645_463_325_252u64;
    for take in 0..3000u64 {
        for _ in 0..4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Most in one place, few anywhere.
            let place = if random % 3 > 0 {
                random / 4 % 300
            } else {
                random / 4 % 10_000
            };
            pair.write(place, 1 + random % 4);
        }
        pair.take();
        if take % 10 == 0 {
            pair.check();
            pair.check_reach();
            pair.check_changes(take.saturating_sub(random % 400));
        }
    }
}

/// A take without `prepare` reports changes late, and none is lost.
#[test]
fn nothing_is_lost_without_prepare() {
    let marks = Marks::new(64, 9).unwrap();
    let mut history = History::new(&marks, [1; 16], [2; 16]).unwrap();
    marks.mark(3, 1);
    history.switch(&marks);
    marks.mark(5, 1);
    history.switch(&marks);
    let mut found = Vec::new();
    history.changed_since(&marks, 1, 0, &mut |block, count| {
        found.push((block, count));
        true
    });
    assert_eq!(found, [(3, 1), (5, 1)]);
}

#[test]
fn a_large_discard_is_marked_by_words() {
    // 16 TiB at 64 KiB, all of it: 4 Mi words. By bits this would take minutes in a debug build.
    let marks = Marks::new(1 << 35, 16).unwrap();
    let mut history = History::new(&marks, [1; 16], [2; 16]).unwrap();
    marks.mark(0, u64::MAX);
    history.prepare(&marks, [3; 16]).unwrap();
    history.switch(&marks);
    let mut found = Vec::new();
    history.changed_since(&marks, 0, 0, &mut |block, count| {
        found.push((block, count));
        true
    });
    assert_eq!(found, [(0, 1 << 28)]);
}

#[test]
fn memory_is_bounded() {
    // 1 TiB at 64 KiB: two bits a block for the marks, at most a byte a block and 24 bytes a page for the history.
    let marks = Marks::new(1 << 31, 16).unwrap();
    let mut history = History::new(&marks, [1; 16], [2; 16]).unwrap();
    assert_eq!(marks.memory_bytes(), 4 << 20);
    assert!(history.memory_bytes() < 128 << 10);
    // A sequential overwrite of everything leaves uniform pages.
    marks.mark(0, u64::MAX);
    history.switch(&marks);
    history.prepare(&marks, [3; 16]).unwrap();
    assert!(history.memory_bytes() < 128 << 10);
}

/// Consumers that read rarely, while the ranks run out again and again.
#[test]
fn bases_of_consumers_stay_exact() {
    let mut pair = Pair::new(700, 9);
    for take in 0..6000u64 {
        pair.mark(take * 11 % 700, 1);
        pair.take();
        if take % 29 == 0 {
            // Some read often, some never again.
            pair.consume((take / 29 % 40).min(15) as u8);
        }
        if take % 50 == 0 {
            pair.check();
            pair.check_changes(take.saturating_sub(take % 300));
        }
    }
    assert!(
        pair.history.exact_from() > 5000,
        "{}: ranks are merged",
        pair.history.exact_from()
    );
}

#[test]
fn there_are_sixteen_consumers() {
    let mut pair = Pair::new(10, 9);
    (0..16).for_each(|which| pair.consume(which));
    let full = Err(ConsumerError::Full);
    assert_eq!(pair.history.set_consumer(&[16; 64], 0), full);
    let early = Err(ConsumerError::Number);
    assert_eq!(pair.history.set_consumer(&[3; 64], 1), early);
    assert!(pair.history.remove_consumer(&[3; 64]));
    assert!(!pair.history.remove_consumer(&[3; 64]));
    assert_eq!(pair.history.consumer(&[3; 64]), None);
    assert_eq!(pair.history.consumer_at(3), Some((&[4; 64], 0)));
    assert_eq!(pair.history.consumer_at(15), None);
    pair.history.set_consumer(&[16; 64], 0).unwrap();
}

/// Every page of a device has changes of every take: a byte a tracking block is all that change tracking takes. 64 GiB at 64 KiB.
#[test]
fn memory_is_bounded_at_worst() {
    let mut pair = Pair::new(1 << 20, 9);
    let mut most = 0;
    for take in 0..300u64 {
        for page in 0..256 {
            for i in 0..8 {
                pair.mark(page * 4096 + (take * 37 + i * 511) % 4096, 1);
            }
        }
        pair.take();
        if take == 20 {
            pair.consume(1);
        }
        let bytes = pair.marks.memory_bytes() + pair.history.memory_bytes();
        assert!(bytes <= 1 << 20, "{bytes} bytes after {take} takes");
        most = most.max(bytes);
        if take % 30 == 29 {
            pair.check_changes(take - 12);
            pair.check_consumers();
        }
        // Fewer numbers than with memory, but never few.
        assert!(take < 16 || pair.history.exact_from() + 15 <= take);
    }
    let exact = pair.history.exact_from();
    assert!(
        most > 14 << 16 && exact > 250,
        "{most} bytes, exact from {exact}"
    );
    pair.check();
}
