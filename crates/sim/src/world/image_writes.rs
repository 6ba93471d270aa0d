// SPDX-License-Identifier: GPL-2.0-only
//! Writes to an image: held until their blocks have a place in the store, and then written there.

use blksnap_core::cow::Source;

use super::writes::call;
use super::{BLOCK, Check, Serial, Snapshot, State, What, World, blocks_of, note, some_range};
use crate::disk::{Content, Io};

/// A write to an image under way.
pub(super) struct ImageWrite {
    pub(super) serial: Serial,
    member: usize,
    start: usize,
    sectors: usize,
    pub(super) pieces: usize,
}

impl World {
    pub(super) fn image_write(&mut self, x: usize, place: usize, size: usize) {
        let Some((at, which)) = self.some_image(x) else {
            return;
        };
        let number = self.number();
        let memory = &mut self.no_memory;
        let Snapshot {
            serial, members, ..
        } = &mut self.snapshots[at];
        let (serial, member) = (*serial, &mut members[which]);
        let (start, sectors) = some_range(member.oracle.copy.len(), place, size);
        (start..start + sectors)
            .for_each(|sector| member.oracle.submitted(sector, number as Content, number));
        for read in self
            .reads
            .values_mut()
            .filter(|read| read.serial == serial && read.member == which)
        {
            for (sector, allowed) in (read.start..).zip(&mut read.allowed) {
                if (start..start + sectors).contains(&sector) {
                    allowed.push(number as Content);
                }
            }
        }
        let range = blocks_of(start, sectors);
        let result = call(memory, &mut member.engine, |engine| {
            engine.image_write(&member.saved, number, range)
        });
        note!(
            self,
            "write {number} to the image of snapshot {serial}, sectors {start}+{sectors}: {result:?}"
        );
        if result.is_ok() {
            self.image_writes.insert(
                number,
                ImageWrite {
                    serial,
                    member: which,
                    start,
                    sectors,
                    pieces: 0,
                },
            );
        } else {
            let _ = self.fail(serial, "no memory");
        }
    }

    /// The image write has its place in the store, for good; or the snapshot failed.
    pub(super) fn image_write_released(&mut self, number: u64) {
        let Some(write) = self.image_writes.get(&number) else {
            return;
        };
        let (serial, start, end) = (write.serial, write.start, write.start + write.sectors);
        let snapshot = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.serial == serial);
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.state == State::Taken) else {
            self.image_writes.remove(&number);
            return;
        };
        let engine = &snapshot.members[write.member].engine;
        let mut ios = Vec::new();
        let mut place = start;
        while place < end {
            let within = place % BLOCK;
            let (source, run) = engine.resolve(
                (place / BLOCK) as u64,
                ((within + end - place).div_ceil(BLOCK)) as u64,
            );
            let length = (run as usize * BLOCK - within).min(end - place);
            if let Source::Store { slot } = source {
                let data = vec![number as Content; length];
                ios.push(Io::write(
                    slot as usize * BLOCK + within,
                    data,
                    What::WriteStore(number, serial),
                ));
            }
            place += length;
        }
        if let Some(write) = self.image_writes.get_mut(&number) {
            write.pieces = ios.len();
        }
        ios.into_iter().for_each(|io| self.start(io));
    }

    pub(super) fn store_write_done(&mut self, number: u64, serial: Serial, failed: bool) -> Check {
        let Some(write) = self.image_writes.get_mut(&number) else {
            return Ok(());
        };
        if failed {
            return self.fail(serial, "a write to the image fails");
        }
        write.pieces -= 1;
        if write.pieces == 0 {
            let (member, start, sectors) = (write.member, write.start, write.sectors);
            self.image_writes.remove(&number);
            let now = self.number();
            if let Some(snapshot) = self.snapshot(serial) {
                let oracle = &mut snapshot.members[member].oracle;
                (start..start + sectors)
                    .for_each(|sector| oracle.completed(sector, number as Content, now));
            }
        }
        Ok(())
    }
}
