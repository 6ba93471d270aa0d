// SPDX-License-Identifier: GPL-2.0-only
//! The oracle of change tracking: plain copies at the takes, and a plain list of what was marked.

use std::collections::VecDeque;

use super::writes::violation;
use super::{Check, World, note, some_range};
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
            copies: VecDeque::from([(0, vec![0; sectors])]),
        }
    }

    pub(super) fn mark(&mut self, start: usize, sectors: usize) {
        self.pending[start / self.block..=(start + sectors - 1) / self.block].fill(true);
    }

    pub(super) fn prepare(&mut self, _ready: bool) {
        if self.number - self.upstream_base == 255 {
            self.upstream_base = self.number;
        }
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

    /// Compares the changes since one of the last takes of a device with the plain copies.
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
        let mut found = vec![false; changes.taken.len()];
        let mut from = 0;
        while from < found.len() as u64 {
            // A piece at a time, as from an ioctl with little room.
            from = device
                .history
                .changed_since(&device.marks, *base, from, &mut |block, count| {
                    found[block as usize..(block + count) as usize].fill(true);
                    false
                });
        }
        for (block, ((found, taken), (old, new))) in found
            .iter()
            .zip(&changes.taken)
            .zip(old.chunks(changes.block).zip(new.chunks(changes.block)))
            .enumerate()
        {
            violation(*found || old == new, || {
                format!(
                    "P3: block {block} of device {at} changed since take {base}, and is not in the delta"
                )
            })?;
            let exact = device.history.exact_from() <= *base;
            violation(!found || *taken > if exact { *base } else { 0 }, || {
                format!(
                    "P3: block {block} of device {at} is in the delta since take {base}, and was not written"
                )
            })?;
            let byte = device.history.upstream_byte(&device.marks, block as u64);
            violation(
                u64::from(byte) == taken.saturating_sub(changes.upstream_base),
                || format!("P3: block {block} of device {at} has {byte} in the byte map"),
            )?;
        }
        Ok(())
    }
}
