// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an operation costs as a snapshot grows: `cargo bench -p blksnap_core --bench scale`, with `MOST=100000000` for the largest, which takes
//! 2 GB of memory and some minutes.
//!
//! Processor time of an operation on a device of 16 TiB, all places at random, after so many blocks were saved one by one.
//! Its figures are in `docs/performance.md`.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use blksnap_core::cbt::Marks;
use blksnap_core::cow::{Action, Engine, Epoch, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use rustix::time::{clock_gettime, ClockId};

const BLOCKS: u64 = 1 << 32;

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
    fn new(blocks: u64) -> Self {
        let mut engine = Engine::new(BLOCKS, Limits::default(), || 0).expect("memory");
        let saved = Saved::new(BLOCKS).expect("memory");
        engine.prepare().expect("memory");
        engine.take().expect("prepared");
        let mut snapshot = Self {
            engine,
            saved,
            slot: 0,
        };
        snapshot.grow(blocks, &mut Random(2), parts(blocks));
        snapshot
    }

    fn blocks(&self) -> u64 {
        self.engine.stats().saved_blocks
    }

    /// Writes until so many blocks are saved.
    fn grow(&mut self, blocks: u64, random: &mut Random, parts: u64) {
        while self.blocks() < blocks {
            self.write(random.block(parts));
        }
    }

    /// A write of one block, with its copy and its store.
    fn write(&mut self, block: u64) {
        let range = one(block);
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

/// Equally dense at each size: a fortieth of the parts that are written, which are all there are at 10⁸.
fn parts(blocks: u64) -> u64 {
    (blocks / 1600).clamp(1, BLOCKS >> 16)
}

/// How long this thread has had a processor, so that others at work do not count.
fn clock() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).expect("time does not go back")
}

/// Times an operation by [`clock`].
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut operation: impl FnMut(u64),
) {
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|rounds| {
            let begin = clock();
            operation(rounds);
            clock() - begin
        });
    });
}

fn one(block: u64) -> BlockRange {
    BlockRange {
        start: block,
        count: 1,
    }
}

fn marks(criterion: &mut Criterion) {
    let marks = Marks::new(BLOCKS * 8, 16).expect("memory");
    let mut random = Random(1);
    let mut group = criterion.benchmark_group("mark");
    bench(
        &mut group,
        BenchmarkId::from_parameter("at random"),
        |rounds| {
            (0..rounds).for_each(|_| marks.mark(random.block(1 << 11) * 8, 8));
        },
    );
    bench(&mut group, BenchmarkId::from_parameter("again"), |rounds| {
        (0..rounds).for_each(|_| marks.mark(black_box(4096), 8));
    });
}

/// First overwrites, while the snapshot grows to half as much again at most; then it begins anew.
fn writes(group: &mut BenchmarkGroup<'_, WallTime>, blocks: u64) {
    let id = BenchmarkId::new("write", blocks);
    let parts = parts(blocks);
    let (mut snapshot, mut random) = (Some(Snapshot::new(blocks)), Random(3));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|rounds| {
            let (mut left, mut spent) = (rounds, Duration::ZERO);
            while left > 0 {
                let some = snapshot.get_or_insert_with(|| Snapshot::new(blocks));
                let room = blocks + blocks / 2 - some.blocks();
                let begin = clock();
                some.grow(some.blocks() + left.min(room), &mut random, parts);
                spent += clock() - begin;
                left -= left.min(room);
                if left > 0 {
                    snapshot = None;
                }
            }
            spent
        });
    });
}

fn looks(group: &mut BenchmarkGroup<'_, WallTime>, blocks: u64) {
    let empty = Snapshot::new(0);
    let (map, bits) = (empty.engine.memory_bytes(), empty.saved.memory_bytes());
    drop(empty);
    let snapshot = Snapshot::new(blocks);
    let each = |now: usize, before: usize| (now - before) as f64 / blocks as f64;
    println!(
        "{blocks} blocks saved: {:.1} bytes a block in the map, {:.1} in bits",
        each(snapshot.engine.memory_bytes(), map),
        each(snapshot.saved.memory_bytes(), bits)
    );
    let (mut random, parts) = (Random(3), parts(blocks));
    bench(group, BenchmarkId::new("covers", blocks), |rounds| {
        for _ in 0..rounds {
            black_box(snapshot.saved.covers(one(random.block(parts))));
        }
    });
    bench(group, BenchmarkId::new("resolve", blocks), |rounds| {
        for _ in 0..rounds {
            black_box(snapshot.engine.resolve(Epoch(1), random.block(parts), 1));
        }
    });
}

fn main() {
    let most = std::env::var("MOST").ok();
    let most = most.and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    marks(&mut criterion);
    let mut group = criterion.benchmark_group("saved");
    let sizes = std::iter::successors(Some(1000u64), |blocks| blocks.checked_mul(10));
    for blocks in sizes.take_while(|blocks| *blocks <= most) {
        looks(&mut group, blocks);
        writes(&mut group, blocks);
    }
    group.finish();
}
