// SPDX-License-Identifier: GPL-2.0-only
//! The oracle of change tracking: plain copies at the takes, and a plain list of what was marked.

use std::collections::VecDeque;

use super::writes::violation;
use super::{Check, Device, World, note, some_range};
use crate::disk::Content;

/// Takes of which the copies are kept.
const COPIES: usize = 6;

pub(super) struct Changes {
    block: usize,
    pending: Vec<bool>,
    /// For each tracking block the take before which it was marked last.
    taken: Vec<u64>,
    number: u64,
    upstream_base: u64,
    /// The device at the last takes, with their numbers; at first as number 0.
    copies: VecDeque<(u64, Vec<Content>)>,
}

impl Changes {
    pub(super) fn new(sectors: usize, block: usize) -> Self {
        let blocks = sectors.div_ceil(block);
        Self {
            block,
            pending: vec![false; blocks],
            taken: vec![0; blocks],
            number: 0,
            upstream_base: 0,
            copies: VecDeque::from([(0, vec![super::FRESH; sectors])]),
        }
    }

    pub(super) fn mark(&mut self, start: usize, sectors: usize) {
        self.pending[start / self.block..=(start + sectors - 1) / self.block].fill(true);
    }

    /// The first of some sectors that is not as it was at the last take, and whose block is not marked.
    pub(super) fn unmarked(&self, disk: &[Content], start: usize, sectors: usize) -> Option<usize> {
        let (_, copy) = self.copies.back()?;
        (start..start + sectors).find(|at| disk[*at] != copy[*at] && !self.pending[at / self.block])
    }

    /// The changes since the take before the last one are compared with the plain copies.
    pub(super) fn last(&self) -> usize {
        self.copies.len().saturating_sub(2)
    }

    /// The byte map may begin anew: after 255 takes it has to.
    pub(super) fn prepared(&mut self, anew: bool) -> bool {
        if anew {
            self.upstream_base = self.number;
        }
        self.number - self.upstream_base < 255
    }

    pub(super) fn take(&mut self, disk: &[Content]) {
        self.number += 1;
        for (taken, pending) in self.taken.iter_mut().zip(&mut self.pending) {
            if std::mem::take(pending) {
                *taken = self.number;
            }
        }
        if self.copies.len() == COPIES {
            self.copies.pop_front();
        }
        self.copies.push_back((self.number, disk.to_vec()));
    }
}

impl World {
    /// A client declares a range changed. It takes turns with takes.
    pub(super) fn dirty(&mut self, x: usize, place: usize, size: usize) {
        if self.take.is_none() {
            let device = x % self.devices.len();
            let (start, sectors) = some_range(self.devices[device].disk.len(), place, size);
            self.devices[device].mark(start, sectors);
            note!(
                self,
                "sectors {start}+{sectors} of device {device} are declared changed"
            );
        }
    }

    /// Up to 300 takes of a device in a row, without a snapshot, before each of which the next tracking block is declared changed.
    pub(super) fn burst(&mut self, x: usize, place: usize, size: usize) {
        let at = x % self.devices.len();
        if self.take.is_some() || self.devices[at].counted > 0 {
            return;
        }
        note!(self, "device {at} is taken {} times", size % 300);
        for take in 0..size % 300 {
            let sector =
                (place + take * (1 << (self.config.shift - 9))) % self.devices[at].disk.len();
            self.devices[at].mark(sector, 1);
            if self.prepare(at) {
                self.devices[at].switch();
            }
        }
    }

    /// A named reader has read all changes of a device.
    pub(super) fn consume(&mut self, x: usize, which: usize) {
        let at = x % self.devices.len();
        let device = &mut self.devices[at];
        let (name, base) = ((which % 4) as u8, device.history.number());
        let memory = &mut self.no_memory;
        let set = super::writes::call(memory, || device.history.set_consumer(&[name; 64], base));
        if set.is_ok() {
            device.consumers.retain(|(other, _)| *other != name);
            device.consumers.push((name, base));
            note!(self, "consumer {name} of device {at} has read up to {base}");
        }
    }

    /// Compares the changes since one of the last takes of a device with the plain copies, and those since any take with what was marked.
    pub(super) fn compare_changes(&mut self, x: usize, back: usize) -> Check {
        let at = x % self.devices.len();
        let device = &self.devices[at];
        let changes = &device.changes;
        let (Some((base, old)), Some((_, new))) = (
            changes.copies.get(back % changes.copies.len()),
            changes.copies.back(),
        ) else {
            return Ok(());
        };
        let found = device.delta(*base);
        let pieces = old.chunks(changes.block).zip(new.chunks(changes.block));
        for (block, (found, (old, new))) in found.iter().zip(pieces).enumerate() {
            violation(*found || old == new, || {
                format!(
                    "P3: block {block} of device {at} changed since take {base}, and is not in the delta"
                )
            })?;
        }
        device.compare_marks(at, *base, &found)?;
        let base = back as u64 * 37 % (changes.number + 1);
        device.compare_marks(at, base, &device.delta(base))?;
        for (_, base) in &device.consumers {
            device.compare_marks(at, *base, &device.delta(*base))?;
        }
        for (block, taken) in (0..).zip(&changes.taken) {
            let byte = device.history.upstream_byte(&device.marks, block);
            violation(
                u64::from(byte) == taken.saturating_sub(changes.upstream_base),
                || format!("P3: block {block} of device {at} has {byte} in the byte map"),
            )?;
        }
        Ok(())
    }
}

impl Device {
    /// Which tracking blocks are in the delta since a take. A piece at a time, as from an ioctl with little room.
    fn delta(&self, base: u64) -> Vec<bool> {
        let mut found = vec![false; self.changes.taken.len()];
        let mut from = 0;
        while from < found.len() as u64 {
            from = self
                .history
                .changed_since(&self.marks, base, from, &mut |block, count| {
                    found[block as usize..(block + count) as usize].fill(true);
                    false
                });
        }
        found
    }

    /// Compares a delta with the plain list of marks.
    fn compare_marks(&self, at: usize, base: u64, found: &[bool]) -> Check {
        let named = self.consumers.iter().any(|(_, other)| *other == base);
        let least = if named || self.history.exact_from() <= base {
            base
        } else {
            0
        };
        for (block, (found, taken)) in found.iter().zip(&self.changes.taken).enumerate() {
            violation(*found || *taken <= base, || {
                format!(
                    "P3: block {block} of device {at} was written since take {base}, and is not in the delta"
                )
            })?;
            violation(!found || *taken > least, || {
                format!(
                    "P3: block {block} of device {at} is in the delta since take {base}, and was not written"
                )
            })?;
        }
        Ok(())
    }
}
