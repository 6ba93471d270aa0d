// SPDX-License-Identifier: GPL-2.0-only
//! The image of a device: reads, which are taken up again when what they read may have moved.

use blksnap_core::cow::{Epoch, Source};

use super::chain::Chain;
use super::stores::place_of;
use super::writes::violation;
use super::{BLOCK, Check, Member, Serial, State, What, World, ZERO, blocks_of, note, some_range};
use crate::disk::{Content, Io};

/// A read of an image under way.
pub(super) struct ImageRead {
    pub(super) serial: Serial,
    pub(super) member: usize,
    pub(super) start: usize,
    /// What each sector may be: all that it could have been since the read began.
    pub(super) allowed: Vec<Vec<Content>>,
    /// What was read so far.
    data: Vec<Content>,
    failed: bool,
    /// Pieces under way.
    pieces: usize,
    /// The write to the image that wants to fill a block with it.
    fills: Option<u64>,
}

impl World {
    pub(super) fn some_image(&self, x: usize) -> Option<(usize, usize)> {
        let snapshot = x % self.snapshots.len().max(1);
        let taken = self.snapshots.get(snapshot);
        let taken = taken.filter(|snapshot| snapshot.state == State::Taken)?;
        let member = x / 16 % taken.members.len();
        (!taken.members[member].lost).then_some((snapshot, member))
    }

    fn member(&self, serial: Serial, which: usize) -> Option<&Member> {
        let snapshot = self.snapshots.iter().find(|one| one.serial == serial)?;
        snapshot.members.get(which).filter(|member| !member.lost)
    }

    /// The chain that an image of a snapshot looks through, and the snapshot's epoch.
    pub(super) fn image_of(&self, member: &Member) -> Option<(&Chain, Epoch)> {
        let chain = self.chains.iter().find(|chain| chain.id == member.chain)?;
        Some((chain, member.epoch?))
    }

    pub(super) fn image_read(&mut self, x: usize, place: usize, size: usize) -> Check {
        let Some((at, which)) = self.some_image(x) else {
            return Ok(());
        };
        let member = &self.snapshots[at].members[which];
        let (start, sectors) = some_range(member.oracle.copy.len(), place, size);
        let fast = (x / 256).is_multiple_of(2);
        self.begin_read(at, which, (start, sectors), fast, None)
    }

    /// Begins a read of sectors of an image.
    pub(super) fn begin_read(
        &mut self,
        at: usize,
        which: usize,
        (start, sectors): (usize, usize),
        fast: bool,
        fills: Option<u64>,
    ) -> Check {
        let number = self.number();
        let serial = self.snapshots[at].serial;
        let member = &self.snapshots[at].members[which];
        let allowed = (start..start + sectors)
            .map(|sector| member.oracle.allowed(sector))
            .collect();
        note!(
            self,
            "read {number} of the image of snapshot {serial}, sectors {start}+{sectors}"
        );
        let read = ImageRead {
            serial,
            member: which,
            start,
            allowed,
            data: vec![0; sectors],
            failed: false,
            pieces: 1,
            fills,
        };
        self.reads.insert(number, read);
        let device = self.snapshots[at].members[which].device;
        if fast && self.untouched(serial, which, start, sectors) {
            // The way without a lock, which half of the readers try.
            let io = Io::read(start, sectors, What::ReadFast(number, device));
            self.start_piece(number, io);
        } else {
            self.read_piece(number, 0, sectors, None)?;
        }
        self.read_piece_done(number)
    }

    /// Whether a range of an image is on the origin as it was at the take, by the bits alone.
    fn untouched(&self, serial: Serial, which: usize, start: usize, sectors: usize) -> bool {
        let range = blocks_of(start, sectors);
        let image = |member: &Member| {
            let (chain, epoch) = self.image_of(member)?;
            Some(member.own.untouched(range) && chain.untouched(epoch, range))
        };
        self.member(serial, which).and_then(image) == Some(true)
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
        let mut done = 0;
        while done < sectors {
            let Some(read) = self.reads.get(&number) else {
                return Ok(());
            };
            let Some(member) = self.member(read.serial, read.member) else {
                return Ok(());
            };
            let Some((chain, epoch)) = self.image_of(member) else {
                return Ok(());
            };
            let (device, place) = (member.device, read.start + at + done);
            let (block, within) = (place / BLOCK, place % BLOCK);
            let left = sectors - done;
            let most = (within + left).div_ceil(BLOCK) as u64;
            let (source, run) = chain.resolve(epoch, block as u64, most);
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
                    let shard = &chain.shards[chain.stripes.of(block as u64)];
                    let pages = shard.pages.get(&copy);
                    let data = pages.and_then(|pages| pages.get(from..from + length));
                    let data = data.ok_or("an image read finds no pages")?.to_vec();
                    self.check_read(number, at + done, &data)?;
                }
                (Source::Store { slot }, _) => {
                    let (store, from) = place_of(slot);
                    let what = What::ReadStore(number, store, at + done);
                    self.start_piece(number, Io::read(from + within, length, what));
                }
                (Source::Zero, _) => self.check_read(number, at + done, &vec![ZERO; length])?,
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

    fn read_piece_done(&mut self, number: u64) -> Check {
        let Some(read) = self.reads.get_mut(&number) else {
            return Ok(());
        };
        read.pieces -= 1;
        if read.pieces > 0 {
            return Ok(());
        }
        match self.reads.remove(&number) {
            Some(ImageRead {
                fills: Some(write),
                start,
                data,
                failed,
                ..
            }) => self.filled(write, start, data, failed),
            _ => Ok(()),
        }
    }

    fn check_read(&mut self, number: u64, at: usize, data: &[Content]) -> Check {
        let Some(read) = self.reads.get_mut(&number) else {
            return Ok(());
        };
        read.data[at..at + data.len()].copy_from_slice(data);
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
        if failed {
            self.read_fails(number);
        } else {
            self.read_piece(number, at, data.len(), Some(data))?;
        }
        self.read_piece_done(number)
    }

    pub(super) fn fast_read_done(&mut self, number: u64, data: &[Content], failed: bool) -> Check {
        if failed {
            self.read_fails(number);
        } else if let Some(read) = self.reads.get(&number) {
            if self.untouched(read.serial, read.member, read.start, data.len()) {
                self.check_read(number, 0, data)?;
            } else {
                self.read_piece(number, 0, data.len(), None)?;
            }
        }
        self.read_piece_done(number)
    }

    pub(super) fn store_read_done(
        &mut self,
        number: u64,
        at: usize,
        data: &[Content],
        failed: bool,
    ) -> Check {
        if failed {
            self.read_fails(number);
        } else {
            self.check_read(number, at, data)?;
        }
        self.read_piece_done(number)
    }

    fn read_fails(&mut self, number: u64) {
        if let Some(read) = self.reads.get_mut(&number) {
            read.failed = true;
        }
    }

    /// The snapshot failed or ends: its image answers with errors, to what is under way as well.
    pub(super) fn end_image_io(&mut self, serial: Serial, which: usize) {
        let ours = |snapshot, member| (snapshot, member) == (serial, which);
        self.reads.retain(|_, read| !ours(read.serial, read.member));
        let ended: Vec<u64> = self
            .image_writes
            .iter()
            .filter(|(_, write)| ours(write.serial, write.member))
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            self.end_image_write(number);
        }
    }

    /// Everything has ended: the whole image, and all that has to be gone.
    pub(super) fn check_whole(&self, at: usize) -> Check {
        let snapshot = &self.snapshots[at];
        let serial = snapshot.serial;
        let members = snapshot.members.iter();
        for member in members.filter(|one| !one.lost && one.epoch.is_some()) {
            let (chain, epoch) = self.image_of(member).ok_or("an image without a chain")?;
            for block in 0..member.oracle.copy.len().div_ceil(BLOCK) {
                let source = chain.resolve(epoch, block as u64, 1).0;
                let stored = !matches!(source, Source::Memory { .. });
                violation(stored, || "a copy was never stored".into())?;
                self.check_block((serial, member), (chain, epoch), block)?;
            }
        }
        Ok(())
    }

    /// Everything has ended: what a chain has to have let go.
    pub(super) fn check_chain(&self, chain: &Chain) -> Check {
        let (id, ended) = (chain.id, chain.ended);
        for shard in &chain.shards {
            let stats = shard.engine.stats();
            violation(shard.engine.idle(), || format!("chain {id} is not idle"))?;
            violation(shard.engine.failed() == chain.over, || {
                format!("an engine of chain {id} has not heard of its end")
            })?;
            if chain.over {
                continue;
            }
            violation(shard.pages.is_empty() && shard.stores == 0, || {
                format!("chain {id} leaks pages")
            })?;
            let oldest = shard.engine.live().next();
            violation(chain.levels.first().map(|one| one.epoch) == oldest, || {
                format!("chain {id} keeps an epoch that nobody needs")
            })?;
            let once = ended || stats.saved_blocks == stats.store_blocks;
            violation(once, || format!("chain {id} did not store each block once"))?;
        }
        Ok(())
    }
}
