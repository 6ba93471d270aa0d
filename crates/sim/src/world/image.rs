// SPDX-License-Identifier: GPL-2.0-only
//! The image of a device: reads, which are taken up again when what they read may have moved.

use blksnap_core::cow::Source;

use super::writes::violation;
use super::{
    BLOCK, Check, Member, Serial, Snapshot, State, What, World, blocks_of, note, some_range,
};
use crate::disk::{Content, Io};

/// A read of an image under way.
pub(super) struct ImageRead {
    pub(super) serial: Serial,
    pub(super) member: usize,
    pub(super) start: usize,
    /// What each sector may be: all that it could have been since the read began.
    pub(super) allowed: Vec<Vec<Content>>,
    /// Pieces under way.
    pieces: usize,
}

impl World {
    pub(super) fn some_image(&self, x: usize) -> Option<(usize, usize)> {
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
