// SPDX-License-Identifier: GPL-2.0-only

//! A block layer filter in safe Rust, as an example and as a test subject of blkfilter.ko.
//!
//! It is attached by the name `rust`. It counts the bios it is shown and, as told by a command, lets them pass (at first), holds each
//! once and sends it on by a worker, or ends discards itself, which the device then never sees. Commands of `BLKFILTER_CTL`:
//!
//! | command | argument |
//! |---|---|
//! | 0 | out `{ u64 shown, sectors, held, sent }` |
//! | 5 | in `{ u32 }`: 0 pass, 1 hold, 2 hold, and end discards |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::sync::Arc;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use kern::alloc::try_arc;
use kern::bdev::BlockDevice;
use kern::bio::{Bio, Op};
use kern::filter::{Attachment, Filter, Registration};
use kern::sync::Atomic;
use kern::user::UserPtr;
use kern::worker::{List, Queue, Queues, Work, Worker};
use kern::{Errno, Result};

const PASS: u32 = 0;
const END_DISCARDS: u32 = 2;

/// One attached device.
struct Sample {
    attachment: Attachment,
    mode: AtomicU32,
    shown: AtomicU64,
    sectors: AtomicU64,
    held: AtomicU64,
    sent: AtomicU64,
    worker: Worker<Sample>,
}

impl Work for Sample {
    fn run(&self) {
        for bio in self.worker.take(List::Held) {
            if bio.op() == Op::Discard && self.mode.load(Relaxed) == END_DISCARDS {
                bio.end(Ok(()));
            } else {
                self.sent.fetch_add(1, Relaxed);
                self.attachment.submit(bio);
            }
        }
    }
}

impl Filter for Sample {
    const NAME: &'static CStr = c"rust";

    fn attach(attachment: Attachment, _device: BlockDevice, _opt: UserPtr, _optlen: u32) -> Result<Arc<Self>> {
        let sample = try_arc(Sample {
            attachment,
            mode: AtomicU32::new(PASS),
            shown: AtomicU64::new(0),
            sectors: AtomicU64::new(0),
            held: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            worker: Worker::new(Queue::Fast)?,
        })?;
        sample.worker.start(&sample);
        Ok(sample)
    }

    fn detach(self: Arc<Self>) {
        // Nothing is shown any more; what is held goes on.
        self.worker.stop();
        self.run();
    }

    fn ctl(&self, cmd: u32, opt: UserPtr, optlen: &mut u32) -> Result {
        match cmd {
            0 if *optlen >= 32 => {
                for (i, number) in [&self.shown, &self.sectors, &self.held, &self.sent].into_iter().enumerate() {
                    opt.add(8 * i as u64).write(&number.load(Relaxed).to_ne_bytes())?;
                }
                *optlen = 32;
                Ok(())
            }
            5 if *optlen >= 4 => {
                let mut mode = [0; 4];
                opt.read(&mut mode)?;
                self.mode.store(u32::from_ne_bytes(mode), Relaxed);
                Ok(())
            }
            0 | 5 => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn submit(&self, _at: &Atomic, bio: Bio, _sector: u64, sectors: u64, again: bool) -> Option<Bio> {
        if again {
            return Some(bio);
        }
        self.shown.fetch_add(1, Relaxed);
        self.sectors.fetch_add(sectors, Relaxed);
        if self.mode.load(Relaxed) == PASS {
            return Some(bio);
        }
        self.held.fetch_add(1, Relaxed);
        self.worker.push(List::Held, bio);
        None
    }
}

/// Fields are dropped in this order: the filter goes first, and with it all that uses the queues.
struct Module {
    _registration: Registration<Sample>,
    _queues: Queues,
}

impl kern::Module for Module {
    fn init() -> Result<Self> {
        let queues = Queues::new()?;
        Ok(Module { _registration: Registration::new()?, _queues: queues })
    }
}

kern::module!(Module);
