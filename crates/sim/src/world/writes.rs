// SPDX-License-Identifier: GPL-2.0-only
//! A write to a device on its way: hook, gate, marks, test, and the disk.

use super::chain::{Chain, ChainId};
use super::{BLOCK, Check, Device, What, World, blocks_of, note, some_range};
use crate::disk::{Content, Io};
use crate::step::Defect;
use blksnap_core::BlockRange;

/// How far a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has reached the hook, for the first time or again.
    Arrived,
    /// It counts as in flight, so a drain waits for it.
    Counted,
    /// The gate let it pass.
    Open,
    /// Its blocks are marked.
    Marked,
    /// It needs copies, of which a worker of this chain has to tell its engine.
    Parked(ChainId),
    /// An engine holds it.
    Held,
    /// The gate holds it.
    Waiting,
    /// It is on its way to the disk.
    Passed,
}

pub(super) struct Write {
    pub(super) device: usize,
    pub(super) start: usize,
    pub(super) sectors: usize,
    pub(super) stage: Stage,
    /// It was parked before, and is offered again.
    pub(super) again: bool,
    /// What the engine that holds it was told of.
    pub(super) part: BlockRange,
}

impl World {
    pub(super) fn new_write(&mut self, x: usize, place: usize, size: usize) {
        let device = x % self.devices.len();
        let total = self.devices[device].disk.len();
        let (start, sectors) = if self.config.rows {
            let (window, at) = (64 * BLOCK, self.row);
            self.row += 1;
            (at / 5 % (total / window) * window + at % 5 * BLOCK, BLOCK)
        } else {
            some_range(total, place, size)
        };
        let number = self.number();
        note!(
            self,
            "write {number} to device {device}, sectors {start}+{sectors}, arrives"
        );
        self.writes.insert(
            number,
            Write {
                device,
                start,
                sectors,
                stage: Stage::Arrived,
                again: false,
                part: blocks_of(start, 0),
            },
        );
        self.runnable.push(number);
    }

    /// One of the writes that can go on by themselves does so.
    pub(super) fn submit_some(&mut self, which: usize) {
        if self.runnable.is_empty() {
            return;
        }
        let at = which % self.runnable.len();
        let number = self.runnable[at];
        if !self.submit(number) {
            self.runnable.swap_remove(at);
        }
    }

    /// One step of a submission. Whether the write can go on from there by itself.
    fn submit(&mut self, number: u64) -> bool {
        let Some(write) = self.writes.get_mut(&number) else {
            return false;
        };
        let device = &mut self.devices[write.device];
        match write.stage {
            Stage::Arrived => {
                device.counted += 1;
                write.stage = Stage::Counted;
            }
            Stage::Counted if device.gate_closed => {
                device.counted -= 1;
                device.waiting.push(number);
                write.stage = Stage::Waiting;
                note!(self, "write {number} waits at the gate");
                return false;
            }
            Stage::Counted => write.stage = Stage::Open,
            Stage::Open => {
                if !self.config.does_wrong(Defect::Unmarked, write.start) {
                    device.mark_write(write.start, write.sectors);
                }
                write.stage = Stage::Marked;
            }
            Stage::Marked => return self.test(number),
            stage => unreachable!("{stage:?} goes on by others"),
        }
        true
    }

    /// Passes a write on, or parks it if it needs copies.
    fn test(&mut self, number: u64) -> bool {
        let Some(write) = self.writes.get_mut(&number) else {
            return false;
        };
        let range = blocks_of(write.start, write.sectors);
        let taken = |chain: &&mut Chain| chain.device == write.device && !chain.levels.is_empty();
        if let Some(chain) = self.chains.iter_mut().rev().find(taken) {
            let wrong = self.config.does_wrong(Defect::Uncopied, write.start);
            if chain.saved().covers(range) || wrong {
                chain.tally.demand(range);
            } else {
                let (which, _) = chain.stripes.part(chain.saved(), range);
                if !self.config.does_wrong(Defect::Forgotten, write.start) {
                    chain.shards[which].parked.push_back(number);
                }
                write.stage = Stage::Parked(chain.id);
                self.devices[write.device].counted -= 1;
                note!(self, "write {number} is parked");
                return false;
            }
        }
        write.stage = Stage::Passed;
        let (data, again) = (vec![number as Content; write.sectors], write.again);
        let io = Io::write(write.start, data, What::Write(number));
        note!(
            self,
            "write {number} passes{}",
            if again { ", at last" } else { "" }
        );
        self.start(io);
        false
    }

    /// A parked or held write is offered again. It is marked again, for a take may have come, and tested again, for another snapshot.
    pub(super) fn send_on(&mut self, number: u64) {
        if let Some(write) = self.writes.get_mut(&number) {
            (write.stage, write.again) = (Stage::Arrived, true);
            self.runnable.push(number);
        }
    }

    pub(super) fn write_done(&mut self, number: u64, failed: bool) {
        if let Some(write) = self.writes.remove(&number) {
            self.devices[write.device].counted -= 1;
            note!(
                self,
                "write {number} {}",
                if failed { "fails" } else { "is on the disk" }
            );
        }
    }

    /// Writers that wait at the gate are offered again.
    pub(super) fn open_gate(&mut self, device: usize) {
        self.devices[device].gate_closed = false;
        for number in std::mem::take(&mut self.devices[device].waiting) {
            if let Some(write) = self.writes.get_mut(&number) {
                write.stage = Stage::Arrived;
                self.runnable.push(number);
            }
        }
        note!(self, "the gate of device {device} opens");
    }

    /// Tells an engine of the first write that is parked for it. Whether there was one.
    pub(super) fn tell_engine(&mut self, (at, which): (usize, usize)) -> Result<bool, String> {
        let chain = &mut self.chains[at];
        let id = chain.id;
        let Some(number) = chain.shards[which].parked.pop_front() else {
            return Ok(false);
        };
        let Some(write) = self.writes.get_mut(&number) else {
            return Ok(true);
        };
        if chain.over {
            self.send_on(number);
            return Ok(true);
        }
        write.stage = Stage::Held;
        let saved = &chain
            .levels
            .last()
            .ok_or("a write is parked too early")?
            .saved;
        write.part = chain
            .stripes
            .part_of(which, saved, blocks_of(write.start, write.sectors));
        chain.tally.demand(write.part);
        let engine = &mut chain.shards[which].engine;
        let result = call(&mut self.no_memory, || {
            engine.write(saved, number, write.part)
        });
        note!(
            self,
            "engine {which} of chain {id} holds write {number}: {result:?}"
        );
        if let Err(lost) = result {
            self.fail(id, which, &lost.to_string())?;
            self.send_on(number);
        }
        Ok(true)
    }
}

impl Device {
    fn mark_write(&mut self, start: usize, sectors: usize) {
        self.marks.mark_write(start as u64, sectors as u64);
        self.changes.mark(start, sectors);
    }

    pub(super) fn mark(&mut self, start: usize, sectors: usize) {
        self.marks.mark(start as u64, sectors as u64);
        self.changes.mark(start, sectors);
    }
}

/// Calls into an engine, without memory if that is what comes next.
pub(super) fn call<R>(no_memory: &mut Option<u32>, call: impl FnOnce() -> R) -> R {
    crate::alloc::failing(no_memory.take(), call)
}

/// The name of what went wrong.
pub(super) fn violation(check: bool, text: impl FnOnce() -> String) -> Check {
    if check { Ok(()) } else { Err(text()) }
}
