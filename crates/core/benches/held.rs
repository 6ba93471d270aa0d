// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a held write costs in core, from its test to the store of its copy: `cargo bench -p blksnap_core --bench held`.
//!
//! Run below `perf stat -e instructions:u` or `valgrind --tool=callgrind` for instructions: `WRITES` writes of one block, at random (`MODE=random`),
//! in order (`stream`), or all blocks of a region at random (`dense`), `DEPTH` at a time.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use blksnap_core::cbt::Marks;
use blksnap_core::cow::{Action, Engine, Limits, Saved, SavedPage};
use blksnap_core::BlockRange;

/// 16 GiB.
const BLOCKS: u64 = 1 << 22;

fn number(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

fn main() {
    let (writes, depth) = (number("WRITES", 200_000), number("DEPTH", 32));
    let mode = std::env::var("MODE").unwrap_or_else(|_| "random".into());
    let saved = Saved::<OnceLock<SavedPage>>::new(BLOCKS).expect("memory");
    let mut engine = Engine::new(BLOCKS, Limits::default(), || 0).expect("memory");
    engine.prepare().expect("memory");
    engine.take().expect("prepared");
    let marks = Marks::new(BLOCKS * 8, 16).expect("memory");
    let mut order: Vec<u64> = match mode.as_str() {
        "random" => (0..writes).map(|at| at * 104_729 % BLOCKS).collect(),
        _ => (0..writes).collect(),
    };
    if mode == "dense" {
        let mut random = 1u64;
        for at in (1..order.len()).rev() {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, usize::try_from(random >> 33).unwrap_or(0) % (at + 1));
        }
    }
    let (mut slot, mut held, mut reads) = (0, 0, Vec::new());
    let begin = Instant::now();
    for batch in order.chunks(usize::try_from(depth).unwrap_or(1)) {
        for block in batch {
            let range = BlockRange {
                start: *block,
                count: 1,
            };
            marks.mark(block * 8, 8);
            if !saved.covers(range) {
                held += 1;
                engine.write(&saved, *block, range).expect("memory");
            }
        }
        loop {
            while let Some(action) = engine.next_action() {
                match action {
                    Action::Read { copy, .. } => reads.push(copy),
                    Action::Store { batch, blocks, .. } => {
                        engine.store_done(&saved, batch, slot).expect("memory");
                        slot += u64::from(blocks);
                    }
                    Action::Release { token } => {
                        let range = BlockRange {
                            start: token,
                            count: 1,
                        };
                        black_box(saved.covers(range));
                    }
                    _ => {}
                }
            }
            if reads.is_empty() {
                break;
            }
            for copy in reads.drain(..) {
                engine.read_done(&saved, copy, true).expect("memory");
            }
        }
    }
    let each = begin.elapsed().as_secs_f64() * 1e9 / order.len() as f64;
    let stats = engine.stats();
    println!(
        "{mode}: {each:.0} ns a write; {held} of {} held, {} reads of {:.2} blocks, {} stores of {:.1} blocks, {} blocks ahead",
        order.len(),
        stats.copy_reads,
        stats.copy_read_blocks as f64 / stats.copy_reads as f64,
        stats.stores,
        stats.store_blocks as f64 / stats.stores as f64,
        stats.spec_blocks,
    );
}
