// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The bits of saved blocks in all interleavings that matter, and with all reorderings that the memory model allows.

use std::sync::OnceLock;

use loom::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use loom::sync::Arc;
use loom::thread;

use super::{Saved, SavedPage};
use crate::BlockRange;

type Bits = Saved<OnceLock<SavedPage>>;

const BLOCK: BlockRange = BlockRange { start: 5, count: 1 };

/// Bits of one page that is there.
fn bits() -> Arc<Bits> {
    let saved = Bits::new(64).unwrap();
    saved.prepare(BLOCK).unwrap();
    Arc::new(saved)
}

/// Who passes finds the copy in memory; who reads the origin and finds it untouched has read what was there before.
#[test]
fn no_write_passes_before_its_copy() {
    loom::model(|| {
        let (saved, disk) = (bits(), Arc::new(AtomicU64::new(1)));
        let copy = Arc::new(AtomicU64::new(0));
        let writer = {
            let (saved, disk, copy) = (saved.clone(), disk.clone(), copy.clone());
            thread::spawn(move || {
                if saved.covers(BLOCK) {
                    assert_eq!(copy.load(Relaxed), 1, "it passes before the copy is made");
                    // Whoever reads this from the disk comes behind it.
                    disk.store(2, Release);
                }
            })
        };
        let reader = {
            let (saved, disk) = (saved.clone(), disk.clone());
            thread::spawn(move || {
                let seen = disk.load(Acquire);
                assert!(seen == 1 || !saved.untouched(BLOCK), "a read is torn");
            })
        };
        copy.store(disk.load(Relaxed), Relaxed);
        saved.set(BLOCK);
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// A block that was copied ahead counts once, whoever writes to it first.
#[test]
fn what_was_copied_ahead_is_used_once() {
    loom::model(|| {
        let saved = bits();
        saved.prepare_ahead(BLOCK).unwrap();
        let writer = |saved: Arc<Bits>| move || saved.covers(BLOCK);
        let writers = [(); 2].map(|()| thread::spawn(writer(saved.clone())));
        saved.set_ahead(BLOCK);
        saved.set(BLOCK);
        let passed = writers.map(|writer| writer.join().unwrap());
        let used = u64::from(passed.contains(&true));
        assert_eq!(saved.used(BLOCK.start), used);
        assert!(saved.covers(BLOCK));
        assert_eq!(saved.used(BLOCK.start), 1);
    });
}

/// Who passes because the snapshot failed sees that it failed.
#[test]
fn a_failure_is_seen_by_those_it_lets_pass() {
    loom::model(|| {
        let (saved, failure) = (bits(), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (saved, failure) = (saved.clone(), failure.clone());
            thread::spawn(move || {
                assert!(!saved.covers(BLOCK) || failure.load(Relaxed) == 1);
                assert!(saved.untouched(BLOCK) || failure.load(Relaxed) == 1);
            })
        };
        failure.store(1, Relaxed);
        saved.release_all();
        writer.join().unwrap();
    });
}
