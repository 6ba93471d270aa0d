// SPDX-License-Identifier: GPL-2.0-only
//! The worker that anybody may push to: what was pushed before a kick is seen by a run after it, nobody runs beside another, and after
//! its stop nobody runs.
//!
//! A copy of the steps of `bsk_worker_run`, `_kick`, `_queue`, `_begin`, `_here` and `_stop` (`kernel/shim/worker.c`), in their order and with
//! their barriers: `atomic_cmpxchg()` is a full one, `atomic_set()` and `atomic_read()` are none. A work queue runs an item on one
//! processor at a time, once more when it was queued meanwhile.

use loom::sync::atomic::{
    fence, AtomicBool, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::sync::Rcu;

const IDLE: u32 = 0;
const QUEUED: u32 = 1;
const RUNNING: u32 = 2;
const AGAIN: u32 = 3;

/// What is wrong with the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    /// A kick that finds it running leaves no word.
    NotAgain,
    /// A run that ends does not look whether it was kicked.
    EndsBlindly,
    /// No barrier between the push and the look at the state.
    NoBarrierInKick,
    /// No barrier between RUNNING and the look at what was pushed.
    NoBarrierInRun,
    /// Who serves here does not ask whether somebody runs.
    BeginsBlindly,
    /// Its end does not wait for who serves here.
    StopsTooEarly,
}

/// A work item on its queue.
#[derive(Default)]
struct Item {
    queued: bool,
    runs: bool,
    /// Nothing is queued any more.
    over: bool,
}

struct Worker {
    defect: Defect,
    state: AtomicU32,
    live: AtomicBool,
    here: AtomicU32,
    item: Mutex<Item>,
    changed: Condvar,
    rcu: Rcu,
    /// What was pushed, by each of the pushers, and what a run has seen of it.
    pushed: [AtomicBool; 2],
    seen: [AtomicBool; 2],
    busy: AtomicBool,
    freed: AtomicBool,
}

impl Worker {
    fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Worker {
            defect,
            state: AtomicU32::new(IDLE),
            live: AtomicBool::new(true),
            here: AtomicU32::new(0),
            item: Mutex::default(),
            changed: Condvar::new(),
            rcu: Rcu::new(),
            pushed: [(); 2].map(|()| AtomicBool::new(false)),
            seen: [(); 2].map(|()| AtomicBool::new(false)),
            busy: AtomicBool::new(false),
            freed: AtomicBool::new(false),
        })
    }

    /// `atomic_cmpxchg()`: what was there.
    fn cmpxchg(&self, old: u32, new: u32) -> u32 {
        fence(SeqCst);
        let was = self.state.compare_exchange(old, new, AcqRel, Relaxed);
        fence(SeqCst);
        was.unwrap_or_else(|other| other)
    }

    /// What it is there for, `w->run` and `round`: whether nothing is left to do.
    fn round(&self) -> bool {
        assert!(!self.freed.load(Relaxed), "it runs after its end");
        assert!(!self.busy.swap(true, Relaxed), "two run at a time");
        for (pushed, seen) in self.pushed.iter().zip(&self.seen) {
            if pushed.load(Relaxed) {
                seen.store(true, Relaxed);
            }
        }
        assert!(!self.freed.load(Relaxed), "it runs after its end");
        self.busy.store(false, Relaxed);
        true
    }

    /// `bsk_worker_run`.
    fn run(&self) {
        loop {
            self.state.store(RUNNING, Relaxed);
            if self.defect != Defect::NoBarrierInRun {
                fence(SeqCst);
            }
            self.round();
            if !self.live.load(Acquire) || self.end() {
                return;
            }
        }
    }

    /// Whether nobody kicked it while it ran.
    fn end(&self) -> bool {
        if self.defect == Defect::EndsBlindly {
            self.state.store(IDLE, Relaxed);
            return true;
        }
        self.cmpxchg(RUNNING, IDLE) == RUNNING
    }

    /// `bsk_worker_queue`.
    fn queue(&self) {
        let _read = self.rcu.read();
        if self.live.load(Acquire) {
            self.item.lock().unwrap().queued = true;
            self.changed.notify_all();
        } else {
            self.state.store(IDLE, Relaxed);
        }
    }

    /// `bsk_worker_kick`.
    fn kick(&self) {
        if self.defect != Defect::NoBarrierInKick {
            fence(SeqCst);
        }
        let mut old = self.state.load(Relaxed);
        loop {
            if old == QUEUED || old == AGAIN || (old == RUNNING && self.defect == Defect::NotAgain)
            {
                return;
            }
            let was = self.cmpxchg(old, if old == IDLE { QUEUED } else { AGAIN });
            if was == old {
                break;
            }
            old = was;
        }
        if old == IDLE {
            self.queue();
        }
    }

    /// `bsk_worker_push`. The push itself orders nothing here, which is less than the kernel's does.
    fn push(&self, which: usize) {
        self.pushed[which].store(true, Relaxed);
        self.kick();
    }

    /// `bsk_worker_begin`.
    fn begin(&self) -> bool {
        let _read = self.rcu.read();
        let mine = self.live.load(Acquire)
            && (self.cmpxchg(IDLE, RUNNING) == IDLE || self.defect == Defect::BeginsBlindly);
        if mine {
            self.here.fetch_add(1, Relaxed);
        }
        mine
    }

    /// `bsk_worker_here`: a pusher who serves what he pushed, if nobody else does; else he kicks.
    fn serve(&self, which: usize) {
        self.pushed[which].store(true, Relaxed);
        if !self.begin() {
            return self.kick();
        }
        if !(self.round() && self.cmpxchg(RUNNING, IDLE) == RUNNING) {
            self.state.store(QUEUED, Relaxed);
            self.queue();
        }
        self.here.fetch_sub(1, Release);
    }

    /// The work queue's own thread.
    fn work_queue(&self) {
        let mut item = self.item.lock().unwrap();
        loop {
            if item.queued {
                (item.queued, item.runs) = (false, true);
                drop(item);
                self.run();
                item = self.item.lock().unwrap();
                item.runs = false;
                self.changed.notify_all();
            } else if item.over {
                return;
            } else {
                item = self.changed.wait(item).unwrap();
            }
        }
    }

    /// Nobody pushes any more: what is queued is done.
    fn finish(&self) {
        self.item.lock().unwrap().over = true;
        self.changed.notify_all();
    }

    /// `bsk_worker_stop`, and its memory is given back.
    fn stop(&self) {
        self.live.store(false, Release);
        self.rcu.grace();
        while self.defect != Defect::StopsTooEarly && self.here.load(Acquire) != 0 {
            thread::yield_now();
        }
        let mut item = self.item.lock().unwrap();
        item.queued = false;
        while item.runs {
            item = self.changed.wait(item).unwrap();
        }
        drop(item);
        self.freed.store(true, Relaxed);
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(check);
}

/// One pushes and kicks, the other serves here or pushes as well.
fn pushed_is_seen(defect: Defect, served: bool) {
    model(move || {
        let worker = Worker::new(defect);
        let run = |what: fn(&Worker)| {
            let worker = worker.clone();
            thread::spawn(move || what(&worker))
        };
        let queue = run(Worker::work_queue);
        let other = run(if served {
            |w| w.serve(1)
        } else {
            |w| w.push(1)
        });
        worker.push(0);
        other.join().unwrap();
        worker.finish();
        queue.join().unwrap();
        let seen = worker.seen.iter().all(|seen| seen.load(Relaxed));
        assert!(seen, "what was pushed is not seen by any run");
        assert_eq!(worker.state.load(Relaxed), IDLE, "it never comes to rest");
    });
}

/// One serves here or pushes, while it is stopped.
fn stopped(defect: Defect, served: bool) {
    model(move || {
        let worker = Worker::new(defect);
        let run = |what: fn(&Worker)| {
            let worker = worker.clone();
            thread::spawn(move || what(&worker))
        };
        let queue = run(Worker::work_queue);
        let other = run(if served {
            |w| w.serve(1)
        } else {
            |w| w.push(1)
        });
        worker.stop();
        worker.finish();
        other.join().unwrap();
        queue.join().unwrap();
    });
}

#[test]
fn what_is_pushed_is_seen() {
    pushed_is_seen(Defect::None, false);
}

#[test]
fn who_serves_here_is_alone_and_loses_nothing() {
    pushed_is_seen(Defect::None, true);
}

#[test]
fn nobody_runs_after_its_stop() {
    stopped(Defect::None, false);
    stopped(Defect::None, true);
}

#[test]
#[should_panic = "not seen by any run"]
fn defect_a_kick_leaves_no_word() {
    pushed_is_seen(Defect::NotAgain, false);
}

#[test]
#[should_panic = "not seen by any run"]
fn defect_a_run_ends_blindly() {
    pushed_is_seen(Defect::EndsBlindly, false);
}

#[test]
#[should_panic = "not seen by any run"]
fn defect_no_barrier_in_the_kick() {
    pushed_is_seen(Defect::NoBarrierInKick, false);
}

#[test]
#[should_panic = "not seen by any run"]
fn defect_no_barrier_in_the_run() {
    pushed_is_seen(Defect::NoBarrierInRun, false);
}

#[test]
#[should_panic = "two run at a time"]
fn defect_serving_begins_blindly() {
    pushed_is_seen(Defect::BeginsBlindly, true);
}

#[test]
#[should_panic = "it runs after its end"]
fn defect_stopped_too_early() {
    stopped(Defect::StopsTooEarly, true);
}
