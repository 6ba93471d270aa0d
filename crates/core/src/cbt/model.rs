// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Marks and the switch in all interleavings that matter, and with all reorderings that the memory model allows.

use std::vec::Vec;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, RwLock};
use loom::thread;

use super::{History, Marks};

/// Each write that is on the disk at a take is in its delta, and none is lost between two writers of one word.
#[test]
fn no_mark_is_lost_at_a_switch() {
    loom::model(|| {
        let marks = Arc::new(Marks::new(64, 9).unwrap());
        let mut history = History::new(&marks, [1; 16], [2; 16]).unwrap();
        // The gate: who reads it is in flight, who writes it has drained.
        let gate = Arc::new(RwLock::new(()));
        let disk = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = [3, 4]
            .into_iter()
            .map(|sector| {
                let (marks, gate, disk) = (marks.clone(), gate.clone(), disk.clone());
                thread::spawn(move || {
                    let _in_flight = gate.read().unwrap();
                    marks.mark_write(sector, 1);
                    disk.fetch_or(1 << sector, Ordering::Relaxed);
                })
            })
            .collect();
        history.prepare(&marks, [3; 16]).unwrap();
        let drained = gate.write().unwrap();
        history.switch(&marks);
        let written = disk.load(Ordering::Relaxed);
        drop(drained);
        let mut found = 0;
        history.changed_since(&marks, 0, 0, &mut |block, count| {
            (block..block + count).for_each(|block| found |= 1 << block);
            true
        });
        assert_eq!(found & written, written, "a change is missing");
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
    });
}
