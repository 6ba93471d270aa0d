// SPDX-License-Identifier: GPL-2.0-only
//! Blocks that need no copy: free ones, and the ranges of a difference storage on the device itself, which are free for each image.

use blksnap_core::BlockRange;
use blksnap_core::cow::Source;

use super::writes::{call, violation};
use super::{BLOCK, Check, Member, World, note, some_range};
use crate::disk::Content;

/// The whole blocks of a part of a device.
fn whole_blocks(total: usize, place: usize, size: usize) -> BlockRange {
    let (start, sectors) = some_range(total, place, size);
    let first = start.div_ceil(BLOCK);
    let end = if start + sectors == total {
        total.div_ceil(BLOCK)
    } else {
        (start + sectors) / BLOCK
    };
    BlockRange {
        start: first as u64,
        count: end.saturating_sub(first) as u64,
    }
}

impl World {
    /// Somebody knows of blocks that were free at the take of a snapshot.
    pub(super) fn free_some(&mut self, x: usize, place: usize, size: usize) -> Check {
        let Some((at, which)) = self.some_image(x) else {
            return Ok(());
        };
        let serial = self.snapshots[at].serial;
        // Free space of which somebody writes a part in the image is not free.
        let busy = |write: &super::ImageWrite| write.serial == serial && write.member == which;
        if self.image_writes.values().any(busy) {
            return Ok(());
        }
        let member = &mut self.snapshots[at].members[which];
        let Member {
            own, oracle, epoch, ..
        } = member;
        let range = whole_blocks(oracle.copy.len(), place, size);
        let chain = self.chains.iter_mut().find(|one| one.id == member.chain);
        let (Some(chain), Some(epoch)) = (chain, *epoch) else {
            return Ok(());
        };
        let result = call(&mut self.no_memory, || chain.free(own, epoch, range));
        note!(
            self,
            "blocks {range:?} of snapshot {serial} were free: {result:?}"
        );
        let mut fresh = 0;
        // Without memory, some of it may be done.
        let zero = |block| chain.resolve(epoch, block, 1).0 == Source::Zero;
        for block in range.start..range.end() {
            if result.is_ok() || zero(block) {
                fresh += u64::from(oracle.freed(block as usize));
            }
        }
        violation(result.is_err() || result == Ok(fresh), || {
            format!("{result:?} blocks are said to be free, and {fresh} are")
        })?;
        for read in self.reads.values_mut() {
            if (read.serial, read.member) == (serial, which) {
                for (sector, allowed) in (read.start..).zip(&mut read.allowed) {
                    let block = (sector / BLOCK) as u64;
                    if (range.start..range.end()).contains(&block) {
                        allowed.extend(oracle.allowed(sector));
                    }
                }
            }
        }
        Ok(())
    }

    /// A range of a device becomes a storage's own, before the first take of the device.
    pub(super) fn exclude_some(&mut self, x: usize, place: usize) {
        let at = x % self.devices.len();
        let device = &mut self.devices[at];
        let total = device.disk.len();
        let taken = self.chains.iter().any(|chain| chain.device == at);
        if taken || self.take.is_some() || device.own.len() * 40 * BLOCK > total {
            return;
        }
        let range = BlockRange {
            start: (place % total / BLOCK) as u64,
            count: 1 + (x / 16 % 3) as u64,
        };
        let range = range.clip(total.div_ceil(BLOCK) as u64);
        device.own.push(range);
        note!(self, "a storage lies in {range:?} of device {at}");
    }

    /// The storage writes to a range of its own: no filter sees that.
    pub(super) fn own_write(&mut self, x: usize, which: usize) {
        let at = x % self.devices.len();
        let number = self.number();
        let device = &mut self.devices[at];
        let of = device.own.len().max(1);
        let Some(range) = device.own.get(which % of).copied() else {
            return;
        };
        // A take marks them as changed; this is simpler.
        if device.gate_closed {
            return;
        }
        let start = range.start as usize * BLOCK;
        let end = (range.end() as usize * BLOCK).min(device.disk.len());
        device.mark(start, end - start);
        device.disk[start..end].fill(number as Content);
        note!(
            self,
            "the storage writes {number} to {range:?} of device {at}"
        );
    }
}
