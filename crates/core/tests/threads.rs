// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The lock-free parts under real threads: writers that take no lock, beside takes and copies.
//!
//! Short here; run longer with `THREADS_ROUNDS`. The thread sanitizer has nothing to say of it: Rust's own locks are not instrumented in the
//! library that comes with the compiler, so that it takes all they guard for races. `cbt/model.rs` and `cow/model.rs` check the orderings.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, RwLock};
use std::thread;

use blksnap_core::cbt::{History, Marks};
use blksnap_core::cow::{Action, Engine, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;

const BLOCKS: u64 = 300;
const WRITERS: u64 = 3;

fn rounds() -> u64 {
    std::env::var("THREADS_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(60)
}

fn disk() -> Vec<AtomicU64> {
    (0..BLOCKS).map(AtomicU64::new).collect()
}

fn copy(disk: &[AtomicU64]) -> Vec<u64> {
    disk.iter().map(|block| block.load(Relaxed)).collect()
}

/// Calls `write(block, number)` on several threads until `stop`.
fn writers<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    stop: &'scope AtomicBool,
    write: &'scope (impl Fn(u64, u64) + Sync),
) {
    for writer in 0..WRITERS {
        scope.spawn(move || {
            let mut random = writer + 1;
            while !stop.load(Relaxed) {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                write((random >> 33) % BLOCKS, random | 1 << 63);
            }
        });
    }
}

/// Ends the writers, also when the test panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Each block that differs between two takes is in the delta of the two.
#[test]
fn no_change_is_lost() {
    let (marks, disk, stop) = (
        Marks::new(BLOCKS, 9).unwrap(),
        disk(),
        AtomicBool::new(false),
    );
    let mut history = History::new(&marks, [1; 16], [2; 16]).unwrap();
    // The gate: who reads it is in flight, who writes it has drained.
    let gate = RwLock::new(());
    let write = |block: u64, number| {
        let _in_flight = gate.read().unwrap();
        marks.mark_write(block, 1);
        disk[usize::try_from(block).unwrap()].store(number, Relaxed);
    };
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        writers(scope, &stop, &write);
        let mut copies = vec![copy_at(&gate, &disk, || {})];
        for round in 0..rounds() {
            thread::yield_now();
            history.prepare(&marks, [3; 16]).unwrap();
            copies.push(copy_at(&gate, &disk, || history.switch(&marks)));
            let base = round.saturating_sub(round % 5);
            let (old, new) = (
                &copies[usize::try_from(base).unwrap()],
                copies.last().unwrap(),
            );
            let mut found = vec![false; disk.len()];
            history.changed_since(&marks, base, 0, &mut |block, count| {
                found[usize::try_from(block).unwrap()..][..usize::try_from(count).unwrap()]
                    .fill(true);
                true
            });
            // Number 0 is what was before the first take, when the copy above may have missed writes.
            let missed = (0..disk.len())
                .find(|block| base > 0 && old[*block] != new[*block] && !found[*block]);
            assert_eq!(missed, None, "between {base} and {}", round + 1);
        }
    });
}

fn copy_at(gate: &RwLock<()>, disk: &[AtomicU64], switch: impl FnOnce()) -> Vec<u64> {
    let _drained = gate.write().unwrap();
    switch();
    copy(disk)
}

/// What is read from the origin while a range is untouched, or from its copy otherwise, is what was there at the take.
#[test]
fn no_write_passes_its_copy() {
    for _ in 0..rounds() / 4 {
        let (disk, stop) = (disk(), AtomicBool::new(false));
        let saved = Saved::<OnceLock<SavedPage>>::new(BLOCKS).unwrap();
        let mut engine = Engine::new(BLOCKS, Limits::default(), || 0).unwrap();
        engine.prepare().unwrap();
        engine.take().unwrap();
        let engine = Mutex::new(engine);
        let image: Vec<OnceLock<u64>> = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        let write = |block: u64, number| {
            let range = BlockRange {
                start: block,
                count: 1,
            };
            if !saved.covers(range) {
                let mut engine = engine.lock().unwrap();
                engine.write(&saved, number, range).unwrap();
                engine.store_now();
                while let Some(action) = engine.next_action() {
                    if let Action::Read { copy, range } = action {
                        for block in range.start..range.end() {
                            let at = usize::try_from(block).unwrap();
                            image[at].set(disk[at].load(Relaxed)).unwrap();
                        }
                        engine.read_done(&saved, copy, true).unwrap();
                    } else if let Action::Store { batch, blocks, .. } = action {
                        let slot = engine.stats().store_blocks;
                        assert!(blocks > 0);
                        engine.store_done(&saved, batch, slot).unwrap();
                    }
                }
            }
            disk[usize::try_from(block).unwrap()].store(number, Relaxed);
        };
        thread::scope(|scope| {
            let _stop = Stop(&stop);
            writers(scope, &stop, &write);
            let mut wrong = None;
            for at in (0..BLOCKS).chain(0..BLOCKS) {
                let index = usize::try_from(at).unwrap();
                let seen = disk[index].load(Relaxed);
                let untouched = saved.untouched(BlockRange {
                    start: at,
                    count: 1,
                });
                let data = if untouched {
                    seen
                } else {
                    *image[index].get().unwrap()
                };
                wrong = wrong.or((data != at).then_some((at, data)));
            }
            assert_eq!(wrong, None);
        });
    }
}
