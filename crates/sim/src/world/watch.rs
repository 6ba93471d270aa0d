// SPDX-License-Identifier: GPL-2.0-only
//! What is looked at after every event: the blocks that it touched and one more of each image, the marks of what it wrote, and one of the
//! writes under way; after some events, which their own numbers choose, all of these.
//!
//! - **P1**: an image that were read now would be as the plain copy made at the take, with what was written to it since.
//! - **P2**: a write that has not ended is with somebody who goes on with it, and a gate is closed by a take only.
//! - **P3**: what differs from the plain copy of the last take is marked; after each take, what it marked is in the deltas.

use super::chain::Chain;
use super::stores::place_of;
use super::writes::{Stage, Write, violation};
use super::{BLOCK, Check, Member, Serial, State, What, World, ZERO, blocks_of};
use blksnap_core::cow::{Epoch, Source};

/// One event of so many is followed by a look at everything.
const ALL: usize = 293;

impl World {
    /// Notes that an event moves sectors of an I/O, by its place in the list.
    pub(super) fn touch_by(&mut self, at: usize) {
        let io = &self.ios[at];
        let device = match io.what {
            What::Write(number) => self.writes.get(&number).map(|write| write.device),
            What::Copy(id, ..) => self
                .chains
                .iter()
                .find(|one| one.id == id)
                .map(|one| one.device),
            _ => None,
        };
        let range = |device| (device, io.start, io.data.len());
        self.touched.extend(device.map(range));
    }

    /// Looks at what the last event may have broken. `which` is a number of that event.
    pub(super) fn watch(&mut self, which: usize) -> Check {
        let touched = std::mem::take(&mut self.touched);
        let shut = self.devices.iter().position(|device| device.gate_closed);
        if let Some(at) = shut.filter(|_| self.take.is_none()) {
            return Err(format!(
                "P2: the gate of device {at} is closed, and nobody takes it"
            ));
        }
        if which.is_multiple_of(ALL) {
            return self.watch_all();
        }
        for &(device, start, sectors) in &touched {
            self.watch_marks(device, start, sectors)?;
            let (first, last) = (start / BLOCK, (start + sectors - 1) / BLOCK);
            let between = first + which / ALL % (last - first + 1);
            for (at, member) in self.images().filter(|(_, member)| member.device == device) {
                for block in [first, between, last] {
                    self.watch_block(at, member, block)?;
                }
            }
        }
        let images = self.images().count().max(1);
        if let Some((serial, member)) = self.images().nth(which / ALL % images) {
            let blocks = member.oracle.copy.len().div_ceil(BLOCK);
            self.watch_block(serial, member, which / 16 % blocks)?;
        }
        let writes = self.writes.len().max(1);
        if let Some((number, write)) = self.writes.iter().nth(which % writes) {
            self.watch_write(*number, write)?;
        }
        Ok(())
    }

    fn watch_all(&self) -> Check {
        for (serial, member) in self.images() {
            (0..member.oracle.copy.len().div_ceil(BLOCK))
                .try_for_each(|block| self.watch_block(serial, member, block))?;
        }
        for (number, write) in &self.writes {
            self.watch_write(*number, write)?;
        }
        for (at, device) in self.devices.iter().enumerate() {
            self.watch_marks(at, 0, device.disk.len())?;
            let counted = |write: &&Write| write.device == at && write.stage.counts();
            let counted = self.writes.values().filter(counted).count();
            violation(device.counted == counted, || {
                format!(
                    "P2: device {at} counts {} writes, and {counted} are on their way",
                    device.counted
                )
            })?;
        }
        Ok(())
    }

    /// All images that can be read.
    fn images(&self) -> impl Iterator<Item = (Serial, &Member)> {
        let taken = |snapshot: &&super::Snapshot| snapshot.state == State::Taken;
        let snapshots = self.snapshots.iter().filter(taken);
        let members = snapshots.flat_map(|one| one.members.iter().map(|m| (one.serial, m)));
        members.filter(|(_, member)| !member.lost && member.epoch.is_some())
    }

    /// A block of an image, were it read now.
    fn watch_block(&self, serial: Serial, member: &Member, block: usize) -> Check {
        let (chain, epoch) = self.image_of(member).ok_or("an image without a chain")?;
        self.check_block((serial, member), (chain, epoch), block)
    }

    /// Whether a block of an image is where it has to be found, as it has to be.
    pub(super) fn check_block(
        &self,
        (serial, member): (Serial, &Member),
        (chain, epoch): (&Chain, Epoch),
        block: usize,
    ) -> Check {
        let first = block * BLOCK;
        let end = (first + BLOCK).min(member.oracle.copy.len());
        let disk = &self.devices[member.device].disk[first..end];
        let zeros = [ZERO; BLOCK];
        let data = match chain.resolve(epoch, block as u64, 1).0 {
            Source::Origin => disk,
            Source::Memory { copy, index } => {
                let from = index as usize * BLOCK;
                let shard = &chain.shards[chain.stripes.of(block as u64)];
                let pages = shard.pages.get(&copy);
                let pages = pages.and_then(|pages| pages.get(from..from + disk.len()));
                pages.ok_or("P1: a block is in pages that are not there")?
            }
            Source::Store { slot } => {
                let (store, from) = place_of(slot);
                let store = self.stores.get(&store).ok_or("P1: a store is gone")?;
                &store.data[from..from + disk.len()]
            }
            Source::Zero => &zeros[..disk.len()],
        };
        let oracle = &member.oracle;
        let wrong = |data: &[u32]| {
            (first..)
                .zip(data)
                .find(|(at, data)| !oracle.allows(*at, **data))
                .map(|(at, _)| at)
        };
        if let Some(sector) = wrong(data) {
            let (data, allowed) = (data[sector - first], oracle.allowed(sector));
            return Err(format!(
                "P1: snapshot {serial} has {data} in sector {sector}, not {allowed:?}"
            ));
        }
        // The way without a lock, by the bits alone.
        let range = blocks_of(first, disk.len());
        if member.own.untouched(range) && chain.untouched(epoch, range) {
            violation(wrong(disk).is_none(), || {
                format!("P1: snapshot {serial} has an untouched block {block}, and it has changed")
            })?;
        }
        Ok(())
    }

    /// What differs from the last take's plain copy is marked.
    fn watch_marks(&self, at: usize, start: usize, sectors: usize) -> Check {
        let device = &self.devices[at];
        match device.changes.unmarked(&device.disk, start, sectors) {
            Some(sector) => Err(format!(
                "P3: sector {sector} of device {at} has changed, and is not marked"
            )),
            None => Ok(()),
        }
    }

    /// Somebody goes on with a write.
    fn watch_write(&self, number: u64, write: &Write) -> Check {
        let device = &self.devices[write.device];
        let chains = self.chains.iter().filter(|one| one.device == write.device);
        let mut shards = chains.flat_map(|one| one.shards.iter().map(|shard| (one.id, shard)));
        let known = match write.stage {
            Stage::Waiting => device.gate_closed && device.waiting.contains(&number),
            Stage::Parked(id) => shards.any(|(of, one)| of == id && one.parked.contains(&number)),
            Stage::Held => shards.any(|(_, one)| !one.engine.idle()),
            Stage::Passed => {
                let it = |what: &What| matches!(what, What::Write(other) if *other == number);
                self.ios.iter().any(|io| it(&io.what))
            }
            // The others go on by themselves.
            _ => self.runnable.contains(&number),
        };
        violation(known, || {
            format!(
                "P2: nobody goes on with write {number} to device {}, which is {:?}",
                write.device, write.stage
            )
        })
    }
}

impl Stage {
    /// Whether a drain waits for the write.
    fn counts(self) -> bool {
        use Stage::{Counted, Marked, Open, Passed};
        matches!(self, Counted | Open | Marked | Passed)
    }
}
