// SPDX-License-Identifier: GPL-2.0-only
//! The image of a device: reads that are taken up again, writes into the store, and what they have to be.

use std::collections::BTreeMap;

use blksnap_core::cow::Source;

use super::writes::{call, violation};
use super::{
    BLOCK, Check, Member, Serial, Snapshot, State, What, World, blocks_of, note, some_range,
};
use crate::disk::{Content, Io};

/// A value that a sector of the image may have.
#[derive(Clone)]
struct Value {
    data: Content,
    submitted: u64,
    completed: Option<u64>,
}

/// The plain copy made at the take, and for the sectors that were written since the values they may have.
#[derive(Default)]
pub(super) struct Oracle {
    copy: Vec<Content>,
    written: BTreeMap<usize, Vec<Value>>,
}

impl Oracle {
    pub(super) fn new(copy: Vec<Content>) -> Self {
        Self {
            copy,
            written: BTreeMap::new(),
        }
    }

    fn allowed(&self, sector: usize) -> Vec<Content> {
        match self.written.get(&sector) {
            Some(values) => values.iter().map(|value| value.data).collect(),
            None => vec![self.copy[sector]],
        }
    }

    fn submitted(&mut self, sector: usize, data: Content, now: u64) {
        let first = Value {
            data: self.copy[sector],
            submitted: 0,
            completed: Some(0),
        };
        let values = self.written.entry(sector).or_insert_with(|| vec![first]);
        values.push(Value {
            data,
            submitted: now,
            completed: None,
        });
    }

    /// From now on, values that were there before `data` was submitted are gone.
    fn completed(&mut self, sector: usize, data: Content, now: u64) {
        let Some(values) = self.written.get_mut(&sector) else {
            return;
        };
        let mut since = 0;
        for value in values.iter_mut().filter(|value| value.data == data) {
            (value.completed, since) = (Some(now), value.submitted);
        }
        values.retain(|value| value.completed.is_none_or(|end| end >= since));
    }
}

/// A read of an image under way.
pub(super) struct ImageRead {
    serial: Serial,
    member: usize,
    start: usize,
    /// What each sector may be: all that it could have been since the read began.
    allowed: Vec<Vec<Content>>,
    /// Pieces under way.
    pieces: usize,
}

/// A write to an image under way.
pub(super) struct ImageWrite {
    serial: Serial,
    member: usize,
    start: usize,
    sectors: usize,
    pieces: usize,
}

impl World {
    fn some_image(&self, x: usize) -> Option<(usize, usize)> {
        let snapshot = x % self.snapshots.len().max(1);
        let taken = self
            .snapshots
            .get(snapshot)
            .filter(|snapshot| snapshot.state == State::Taken)?;
        Some((snapshot, x / 16 % taken.members.len()))
    }

    pub(super) fn image_read(&mut self, x: usize, place: usize, size: usize) -> Check {
        let Some((at, which)) = self.some_image(x) else {
            return Ok(());
        };
        let number = self.number();
        let Snapshot {
            serial, members, ..
        } = &self.snapshots[at];
        let (serial, oracle) = (*serial, &members[which].oracle);
        let (start, sectors) = some_range(oracle.copy.len(), place, size);
        let allowed = (start..start + sectors)
            .map(|sector| oracle.allowed(sector))
            .collect();
        note!(
            self,
            "read {number} of the image of snapshot {serial}, sectors {start}+{sectors}"
        );
        self.reads.insert(
            number,
            ImageRead {
                serial,
                member: which,
                start,
                allowed,
                pieces: 1,
            },
        );
        let Member { saved, device, .. } = &self.snapshots[at].members[which];
        if (x / 256).is_multiple_of(2) && saved.untouched(blocks_of(start, sectors)) {
            // The way without a lock, which half of the readers try.
            let io = Io::read(start, sectors, What::ReadFast(number, *device));
            self.start_piece(number, io);
        } else {
            self.read_piece(number, 0, sectors, None)?;
        }
        self.read_piece_done(number);
        Ok(())
    }

    /// Reads `sectors` sectors of an image read, from the `at`th on, from where they are. `seen` is what the origin had: it counts where the
    /// data still is there alone.
    fn read_piece(
        &mut self,
        number: u64,
        at: usize,
        sectors: usize,
        seen: Option<&[Content]>,
    ) -> Check {
        let Some(read) = self.reads.get(&number) else {
            return Ok(());
        };
        let (serial, which, first) = (read.serial, read.member, read.start);
        let Some(snapshot) = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.serial == serial)
        else {
            return Ok(());
        };
        let device = snapshot.members[which].device;
        let mut done = 0;
        while done < sectors {
            let snapshot = self
                .snapshots
                .iter()
                .find(|snapshot| snapshot.serial == serial);
            let Some(Member { engine, pages, .. }) =
                snapshot.and_then(|snapshot| snapshot.members.get(which))
            else {
                return Ok(());
            };
            let place = first + at + done;
            let (block, within) = (place / BLOCK, place % BLOCK);
            let left = sectors - done;
            let (source, run) =
                engine.resolve(block as u64, (within + left).div_ceil(BLOCK) as u64);
            let length = (run as usize * BLOCK - within).min(left);
            match (source, seen) {
                (Source::Origin, Some(seen)) => {
                    self.check_read(number, at + done, &seen[done..done + length])?
                }
                (Source::Origin, None) => {
                    let io = Io::read(place, length, What::ReadOrigin(number, device, at + done));
                    self.start_piece(number, io);
                }
                (Source::Memory { copy, index }, _) => {
                    let from = index as usize * BLOCK + within;
                    let data = pages
                        .get(&copy)
                        .and_then(|pages| pages.get(from..from + length));
                    let data = data.ok_or("an image read finds no pages")?.to_vec();
                    self.check_read(number, at + done, &data)?;
                }
                (Source::Store { slot }, _) => {
                    let from = slot as usize * BLOCK + within;
                    let io = Io::read(from, length, What::ReadStore(number, serial, at + done));
                    self.start_piece(number, io);
                }
            }
            done += length;
        }
        Ok(())
    }

    fn start_piece(&mut self, number: u64, io: Io<What>) {
        if let Some(read) = self.reads.get_mut(&number) {
            read.pieces += 1;
        }
        self.start(io);
    }

    fn read_piece_done(&mut self, number: u64) {
        if let Some(read) = self.reads.get_mut(&number) {
            read.pieces -= 1;
            if read.pieces == 0 {
                self.reads.remove(&number);
            }
        }
    }

    fn check_read(&self, number: u64, at: usize, data: &[Content]) -> Check {
        let Some(read) = self.reads.get(&number) else {
            return Ok(());
        };
        for (sector, (data, allowed)) in
            (read.start + at..).zip(data.iter().zip(&read.allowed[at..]))
        {
            violation(allowed.contains(data), || {
                format!(
                    "P1: read {number} of snapshot {} has {data} in sector {sector}, not {allowed:?}",
                    read.serial
                )
            })?;
        }
        Ok(())
    }

    pub(super) fn origin_read_done(
        &mut self,
        number: u64,
        at: usize,
        data: &[Content],
        failed: bool,
    ) -> Check {
        if !failed {
            self.read_piece(number, at, data.len(), Some(data))?;
        }
        self.read_piece_done(number);
        Ok(())
    }

    pub(super) fn fast_read_done(&mut self, number: u64, data: &[Content], failed: bool) -> Check {
        if let Some(read) = self.reads.get(&number).filter(|_| !failed) {
            let range = blocks_of(read.start, data.len());
            let snapshot = self
                .snapshots
                .iter()
                .find(|snapshot| snapshot.serial == read.serial);
            let member = snapshot.and_then(|snapshot| snapshot.members.get(read.member));
            if member.is_some_and(|member| member.saved.untouched(range)) {
                self.check_read(number, 0, data)?;
            } else {
                self.read_piece(number, 0, data.len(), None)?;
            }
        }
        self.read_piece_done(number);
        Ok(())
    }

    pub(super) fn store_read_done(
        &mut self,
        number: u64,
        at: usize,
        data: &[Content],
        failed: bool,
    ) -> Check {
        if !failed {
            self.check_read(number, at, data)?;
        }
        self.read_piece_done(number);
        Ok(())
    }

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

    /// The snapshot failed: its image answers with errors, to what is under way as well.
    pub(super) fn end_image_io(&mut self, serial: Serial) {
        self.reads.retain(|_, read| read.serial != serial);
        // Those that an engine holds come out of it.
        self.image_writes
            .retain(|_, write| write.serial != serial || write.pieces == 0);
    }

    /// Everything has ended: the whole image, and all that has to be gone.
    pub(super) fn check_whole(&self, at: usize) -> Check {
        let Snapshot {
            serial,
            state,
            members,
            store,
            space,
            ..
        } = &self.snapshots[at];
        for member in members {
            violation(member.engine.idle(), || {
                format!("snapshot {serial} is not idle")
            })?;
            if *state != State::Taken {
                continue;
            }
            violation(member.pages.is_empty() && member.stores == 0, || {
                format!("snapshot {serial} leaks pages")
            })?;
            for sector in 0..member.oracle.copy.len() {
                let data = match member.engine.resolve((sector / BLOCK) as u64, 1).0 {
                    Source::Origin => self.devices[member.device].disk[sector],
                    Source::Store { slot } => store[slot as usize * BLOCK + sector % BLOCK],
                    Source::Memory { .. } => return Err("a copy was never stored".into()),
                };
                let allowed = member.oracle.allowed(sector);
                violation(allowed.contains(&data), || {
                    format!("P1: snapshot {serial} has {data} in sector {sector}, not {allowed:?}")
                })?;
            }
        }
        let saved: u64 = members
            .iter()
            .map(|member| member.engine.stats().saved_blocks)
            .sum();
        let once = *state != State::Taken || saved == space.used();
        violation(once, || {
            format!(
                "snapshot {serial} stored {saved} blocks in {} slots",
                space.used()
            )
        })
    }
}
