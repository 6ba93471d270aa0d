// SPDX-License-Identifier: GPL-2.0-only
//! Bios and the gate: no bio passes while a take has the gate, and none stays behind it.
//!
//! A copy of the steps of `Attachment::{usual, offer, at_gate, hold, gate_close, gate_drain, gate_open, send_held}`
//! (`kernel/src/blkfilter/attachment/mod.rs`), of `Flight::{start, finish, idle}` (`kernel/src/kern/hook/flight.rs`) and of
//! `bsk_drain_wait()` (`kernel/shim/hook_sync.c`). The count is a number on each processor without a barrier; the taker's `on_each_cpu()`
//! is an interrupt between two instructions of each of them.

use loom::sync::atomic::{
    fence, AtomicI32, AtomicU32,
    Ordering::{Acquire, Relaxed, SeqCst},
};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::sync::Cpu;

const CLOSED: u32 = 1;

/// What is wrong with the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    /// A bio looks at the gate first, and is counted then.
    CountsLate,
    /// Who drains makes no barriers for the others.
    NoInterrupt,
    /// Who holds a bio does not look once more whether the gate is open.
    HoldsBlindly,
    /// Who has found the sum to be 0 makes no barrier before what comes then.
    NoBarrierBehindTheSum,
}

struct Attachment {
    defect: Defect,
    cpus: [Cpu; 2],
    /// `Flight::count`.
    count: [AtomicI32; 2],
    /// `Attachment::state`.
    state: AtomicU32,
    /// `Attachment::held`: so many bios wait.
    held: Mutex<u32>,
    /// `Attachment::work` is queued.
    work: AtomicU32,
    /// Bios that have reached the device.
    disk: AtomicU32,
}

impl Attachment {
    fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Attachment {
            defect,
            cpus: [(); 2].map(|()| Cpu::new(())),
            count: [(); 2].map(|()| AtomicI32::new(0)),
            state: AtomicU32::new(0),
            held: Mutex::new(0),
            work: AtomicU32::new(0),
            disk: AtomicU32::new(0),
        })
    }

    /// One instruction of a processor, which no interrupt divides.
    fn on<T>(&self, cpu: usize, instruction: impl FnOnce() -> T) -> T {
        let _whole = self.cpus[cpu].lock().unwrap();
        instruction()
    }

    /// `Flight::start` and `finish`.
    fn add(&self, cpu: usize, n: i32) {
        self.on(cpu, || self.count[cpu].fetch_add(n, Relaxed));
    }

    /// A bio on a processor; it ends on the other one.
    fn bio(&self, cpu: usize) {
        let closed = || self.on(cpu, || self.state.load(Acquire) & CLOSED != 0);
        let seen = if self.defect == Defect::CountsLate {
            let seen = closed();
            self.add(cpu, 1);
            seen
        } else {
            self.add(cpu, 1);
            closed()
        };
        if seen {
            self.add(cpu, -1);
            self.hold();
        } else {
            self.pass();
            // `smp_mb__before_atomic` in `bsk_ended`.
            fence(SeqCst);
            self.add(1 - cpu, -1);
        }
    }

    fn pass(&self) {
        self.disk.fetch_add(1, Relaxed);
    }

    fn hold(&self) {
        *self.held.lock().unwrap() += 1;
        fence(SeqCst);
        if self.state.load(SeqCst) & CLOSED == 0 && self.defect != Defect::HoldsBlindly {
            self.work.store(1, SeqCst);
        }
    }

    /// `bsk_drain_wait` and `Flight::idle`.
    fn drain(&self) {
        if self.defect != Defect::NoInterrupt {
            fence(SeqCst);
            (0..2).for_each(|cpu| self.on(cpu, || fence(SeqCst)));
        }
        while self
            .count
            .iter()
            .map(|count| count.load(Relaxed))
            .sum::<i32>()
            != 0
        {
            thread::yield_now();
        }
        if self.defect != Defect::NoBarrierBehindTheSum {
            fence(SeqCst);
        }
    }

    /// A take. What it finds on the device does not change until it opens the gate.
    fn take(&self) {
        self.state.fetch_or(CLOSED, SeqCst);
        self.drain();
        let before = self.disk.load(Relaxed);
        // The instant.
        let after = self.disk.load(Relaxed);
        assert_eq!(before, after, "a bio passes at the instant of a take");
        fence(SeqCst);
        self.state.fetch_and(!CLOSED, SeqCst);
        fence(SeqCst);
        if *self.held.lock().unwrap() > 0 {
            self.work.store(1, SeqCst);
        }
    }

    /// The worker, if it was queued.
    fn worked(&self) {
        if self.work.load(SeqCst) == 1 {
            let held = std::mem::take(&mut *self.held.lock().unwrap());
            (0..held).for_each(|_| self.pass());
        }
    }
}

fn take_among_bios(defect: Defect) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let attachment = Attachment::new(defect);
        let bios = [0, 1].map(|cpu| {
            let attachment = attachment.clone();
            thread::spawn(move || attachment.bio(cpu))
        });
        attachment.take();
        bios.into_iter().for_each(|bio| bio.join().unwrap());
        attachment.worked();
        assert_eq!(
            attachment.disk.load(SeqCst),
            2,
            "a bio is left behind the gate"
        );
        assert_eq!(
            attachment.count[0].load(SeqCst) + attachment.count[1].load(SeqCst),
            0
        );
    });
}

#[test]
fn no_bio_passes_at_the_instant_and_none_stays() {
    take_among_bios(Defect::None);
}

#[test]
#[should_panic = "a bio passes at the instant"]
fn defect_counted_after_the_gate() {
    take_among_bios(Defect::CountsLate);
}

#[test]
#[should_panic = "a bio passes at the instant"]
fn defect_no_barriers_for_the_others() {
    take_among_bios(Defect::NoInterrupt);
}

#[test]
#[should_panic = "a bio passes at the instant"]
fn defect_no_barrier_behind_the_sum() {
    take_among_bios(Defect::NoBarrierBehindTheSum);
}

#[test]
#[should_panic = "left behind the gate"]
fn defect_held_without_a_second_look() {
    take_among_bios(Defect::HoldsBlindly);
}
