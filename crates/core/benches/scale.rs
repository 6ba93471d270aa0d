// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an operation costs as a snapshot grows: `cargo bench -p blksnap_core`, with `MOST=100000000` for the largest.
//!
//! Processor nanoseconds an operation on a device of 16 TiB, all places at random, after so many blocks were saved one by one.
//! Its figures are in `docs/performance.md`.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use blksnap_core::cbt::Marks;
use blksnap_core::cow::{Action, Engine, Epoch, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;

const BLOCKS: u64 = 1 << 32;
const ROUNDS: u64 = 2_000_000;

struct Random(u64);

impl Random {
    /// A block of one of the parts of the device that are written at all, of 256 MiB each.
    fn block(&mut self, parts: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = self.0 >> 20;
        ((number % parts) << 16) + (number >> 20) % (1 << 16)
    }
}

struct Snapshot {
    engine: Engine,
    saved: Saved<OnceLock<SavedPage>>,
    slot: u64,
}

impl Snapshot {
    fn new() -> Self {
        let mut engine = Engine::new(BLOCKS, Limits::default()).expect("memory");
        let bits = || Saved::new(BLOCKS).expect("memory");
        let (saved, own) = (bits(), bits());
        engine.prepare(&saved, &own).expect("memory");
        engine.take().expect("prepared");
        Self {
            engine,
            saved,
            slot: 0,
        }
    }

    /// A write of one block, with its copy and its store.
    fn write(&mut self, block: u64) {
        let range = BlockRange {
            start: block,
            count: 1,
        };
        if self.saved.covers(range) {
            return;
        }
        self.engine
            .write(&self.saved, block, range)
            .expect("memory");
        while let Some(action) = self.engine.next_action() {
            match action {
                Action::Read { copy, .. } => self
                    .engine
                    .read_done(&self.saved, copy, true)
                    .expect("memory"),
                Action::Store { batch, blocks, .. } => {
                    // Slots that do not follow each other, so that nothing joins.
                    self.engine
                        .store_done(&self.saved, batch, self.slot)
                        .expect("memory");
                    self.slot += u64::from(blocks) + 1;
                }
                _ => {}
            }
        }
    }
}

/// Nanoseconds that this thread has had a processor, so that others at work do not count; without Linux, those that passed.
fn clock(begin: Instant) -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent
        .as_deref()
        .and_then(|spent| spent.split(' ').next()?.parse().ok());
    spent.unwrap_or_else(|| u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0))
}

fn time(rounds: u64, mut operation: impl FnMut()) -> f64 {
    let now = Instant::now();
    let begin = clock(now);
    (0..rounds).for_each(|_| operation());
    (clock(now) - begin) as f64 / rounds as f64
}

fn main() {
    let most = std::env::var("MOST")
        .ok()
        .and_then(|most| most.parse().ok())
        .unwrap_or(1_000_000);
    let marks = Marks::new(BLOCKS * 8, 16).expect("memory");
    let mut random = Random(1);
    let first = time(ROUNDS, || marks.mark(random.block(1 << 11) * 8, 8));
    let again = time(ROUNDS, || marks.mark(black_box(4096), 8));
    println!("mark: {first:.0} ns at random, {again:.1} ns again\n");
    println!(
        "{:>11} {:>8} {:>8} {:>8} {:>16} {:>16}",
        "saved", "covers", "resolve", "write", "map bytes/block", "bits bytes/block"
    );
    let mut snapshot = Snapshot::new();
    let empty = (
        snapshot.engine.memory_bytes(),
        snapshot.saved.memory_bytes(),
    );
    let (mut target, mut random) = (1000, Random(2));
    while target <= most {
        // Equally dense at each size: a fortieth of the parts that are written, which are all there are at 10⁸.
        let parts = (target / 1600).clamp(1, BLOCKS >> 16);
        // What a write costs is the mean since the row before.
        let missing = target - snapshot.engine.stats().saved_blocks;
        let grow = time(1, || {
            while snapshot.engine.stats().saved_blocks < target {
                let block = random.block(parts);
                snapshot.write(block);
            }
        });
        let write = grow / missing as f64;
        let memory = (
            snapshot.engine.memory_bytes() - empty.0,
            snapshot.saved.memory_bytes() - empty.1,
        );
        let saved = snapshot.engine.stats().saved_blocks;
        let each = |bytes: usize| bytes as f64 / saved as f64;
        let covers = time(ROUNDS, || {
            let range = BlockRange {
                start: random.block(parts),
                count: 1,
            };
            black_box(snapshot.saved.covers(range));
        });
        let resolve = time(ROUNDS, || {
            black_box(snapshot.engine.resolve(Epoch(1), random.block(parts), 1));
        });
        println!(
            "{saved:>11} {covers:>8.1} {resolve:>8.0} {write:>8.0} {:>16.1} {:>16.1}",
            each(memory.0),
            each(memory.1)
        );
        target *= 10;
    }
}
