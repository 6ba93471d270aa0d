// SPDX-License-Identifier: GPL-2.0-only
//! Writes to an image: in place where the image has blocks of its own, else into new slots; blocks of which only a part is written
//! are filled from the image.

use blksnap_core::BlockRange;
use blksnap_core::cow::{Epoch, Over};

use super::chain::Chain;
use super::oracle::Oracle;
use super::stores::{Slots, place_of};
use super::writes::call;
use super::{BLOCK, Check, Member, Serial, What, World, ZERO, blocks_of, note, some_range};
use crate::disk::{Content, Io};

/// A write to an image under way.
pub(super) struct ImageWrite {
    pub(super) serial: Serial,
    pub(super) member: usize,
    start: usize,
    sectors: usize,
    data: Content,
    /// Pieces under way, and one for him who starts them.
    pieces: usize,
    failed: bool,
    /// Blocks that will have new slots, and the first of these.
    new: Vec<(BlockRange, u64)>,
}

impl World {
    /// Somebody writes to an image, or discards a part of it.
    pub(super) fn image_write(&mut self, x: usize, place: usize, size: usize, zero: bool) {
        let Some((at, which)) = self.some_image(x) else {
            return;
        };
        let number = self.number();
        let serial = self.snapshots[at].serial;
        let member = &mut self.snapshots[at].members[which];
        let (start, sectors) = some_range(member.oracle.copy.len(), place, size);
        let chain = self.chains.iter_mut().find(|one| one.id == member.chain);
        let (Some(chain), Some(epoch)) = (chain, member.epoch) else {
            return;
        };
        let range = blocks_of(start, sectors);
        let result = call(&mut self.no_memory, || {
            chain.turns().image_write(epoch, number, range)
        });
        note!(
            self,
            "write {number} to the image of snapshot {serial}, sectors {start}+{sectors}: {result:?}"
        );
        if result.is_err() {
            return;
        }
        let data = if zero { ZERO } else { number as Content };
        (start..start + sectors).for_each(|sector| member.oracle.submitted(sector, data, number));
        for read in self.reads.values_mut() {
            for (sector, allowed) in (read.start..).zip(&mut read.allowed) {
                let ours = (read.serial, read.member) == (serial, which);
                if ours && (start..start + sectors).contains(&sector) {
                    allowed.push(data);
                }
            }
        }
        let write = ImageWrite {
            serial,
            member: which,
            start,
            sectors,
            data,
            pieces: 1,
            failed: false,
            new: Vec::new(),
        };
        self.image_writes.insert(number, write);
    }

    /// The image write has its blocks for itself, or the snapshot failed.
    pub(super) fn carry_out(&mut self, number: u64) -> Check {
        let Some(write) = self.image_writes.get(&number) else {
            return Ok(());
        };
        let (start, end) = (write.start, write.start + write.sectors);
        let (serial, which, data) = (write.serial, write.member, write.data);
        let mut place = start;
        while place < end {
            let Some(at) = self.snapshots.iter().position(|one| one.serial == serial) else {
                return Ok(());
            };
            let member = &self.snapshots[at].members[which];
            let total = member.oracle.copy.len();
            let Some((chain, epoch)) = self.image_of(member) else {
                return Ok(());
            };
            let (block, within) = (place / BLOCK, place % BLOCK);
            let most = (within + end - place).div_ceil(BLOCK) as u64;
            let (over, mut run) = chain.overlay(epoch, block as u64, most);
            // Whatever has no slots gets them in one go.
            while !matches!(over, Over::Slot(_)) && run < most {
                match chain.overlay(epoch, block as u64 + run, most - run) {
                    (Over::Slot(_), _) => break,
                    (_, more) => run += more,
                }
            }
            let last = (block + run as usize) * BLOCK;
            let length = last.min(end) - place;
            let partial = within > 0 || length < BLOCK.min(total - place);
            if let Over::Slot(slot) = over {
                let (store, from) = place_of(slot);
                let content = vec![data; length];
                let io = Io::write(from + within, content, What::WriteStore(number, store));
                self.start_image_piece(number, io);
                place += length;
            } else if partial {
                // One block: the image's own view of it, with the data over it.
                let first = block * BLOCK;
                let length = BLOCK.min(total - first);
                if let Some(write) = self.image_writes.get_mut(&number) {
                    write.pieces += 1;
                }
                self.begin_read(at, which, (first, length), true, Some(number))?;
                place = first + BLOCK;
            } else {
                // Whole blocks, but for the device's last one.
                let length = if last.min(end) == total {
                    length
                } else {
                    length / BLOCK * BLOCK
                };
                let range = blocks_of(place, length);
                if data == ZERO {
                    self.zero_blocks(number, range);
                } else {
                    self.write_blocks(number, range, vec![data; length]);
                }
                place += length;
            }
        }
        self.image_piece_done(number)
    }

    /// The image's own view of a block is read, and the write lies over it.
    pub(super) fn filled(
        &mut self,
        number: u64,
        first: usize,
        mut block: Vec<Content>,
        failed: bool,
    ) -> Check {
        if let Some(write) = self.image_writes.get_mut(&number) {
            write.failed |= failed;
            for (sector, data) in (first..).zip(&mut block) {
                if (write.start..write.start + write.sectors).contains(&sector) {
                    *data = write.data;
                }
            }
            if !failed {
                let range = blocks_of(first, block.len());
                self.write_blocks(number, range, block);
            }
        }
        self.image_piece_done(number)
    }

    /// Writes whole blocks of an image into new slots.
    fn write_blocks(&mut self, number: u64, range: BlockRange, data: Vec<Content>) {
        let Some(write) = self.image_writes.get(&number) else {
            return;
        };
        let store = self.snapshots.iter().find(|one| one.serial == write.serial);
        let store = store.map(|snapshot| snapshot.store);
        let slots = self.slots(&Vec::from_iter(store), range.count as u32);
        let Some(write) = self.image_writes.get_mut(&number) else {
            return;
        };
        if let Slots::At(slot) = slots {
            write.new.push((range, slot));
            let (store, from) = place_of(slot);
            let io = Io::write(from, data, What::WriteStore(number, store));
            self.start_image_piece(number, io);
        } else {
            write.failed = true;
        }
    }

    /// Whole blocks of an image without slots read as zeros.
    fn zero_blocks(&mut self, number: u64, range: BlockRange) {
        let Some(write) = self.image_writes.get_mut(&number) else {
            return;
        };
        let serial = write.serial;
        let snapshot = self.snapshots.iter_mut().find(|one| one.serial == serial);
        let Some(member) = snapshot.map(|snapshot| &mut snapshot.members[write.member]) else {
            return;
        };
        let chain = self.chains.iter_mut().find(|one| one.id == member.chain);
        let (Some(chain), Some(epoch)) = (chain, member.epoch) else {
            return;
        };
        let result = call(&mut self.no_memory, || {
            chain.zero(&member.own, epoch, range)
        });
        write.failed |= result.is_err();
        note_owned(chain, epoch, range, &mut member.oracle);
    }

    fn start_image_piece(&mut self, number: u64, io: Io<What>) {
        if let Some(write) = self.image_writes.get_mut(&number) {
            write.pieces += 1;
        }
        self.start(io);
    }

    pub(super) fn store_write_done(&mut self, number: u64, failed: bool) -> Check {
        if let Some(write) = self.image_writes.get_mut(&number) {
            write.failed |= failed;
        }
        self.image_piece_done(number)
    }

    /// A piece of an image write has ended: with the last one, the new slots become the image's.
    fn image_piece_done(&mut self, number: u64) -> Check {
        let Some(write) = self.image_writes.get_mut(&number) else {
            return Ok(());
        };
        write.pieces -= 1;
        if write.pieces > 0 {
            return Ok(());
        }
        let Some(mut write) = self.image_writes.remove(&number) else {
            return Ok(());
        };
        let now = self.number();
        let serial = write.serial;
        let snapshot = self.snapshots.iter_mut().find(|one| one.serial == serial);
        let Some(member) = snapshot.map(|snapshot| &mut snapshot.members[write.member]) else {
            return Ok(());
        };
        let Member {
            own, oracle, epoch, ..
        } = member;
        let chain = self.chains.iter_mut().find(|one| one.id == member.chain);
        let (Some(chain), Some(epoch)) = (chain, *epoch) else {
            return Ok(());
        };
        for (range, slot) in std::mem::take(&mut write.new) {
            if !write.failed {
                let entered = call(&mut self.no_memory, || chain.enter(own, epoch, range, slot));
                write.failed |= !entered;
                note_owned(chain, epoch, range, oracle);
            }
        }
        chain.turns().image_done(number);
        let well = !write.failed;
        note!(
            self,
            "image write {number} is over, {}",
            if well { "well" } else { "badly" }
        );
        (write.start..write.start + write.sectors)
            .for_each(|sector| oracle.completed(sector, number, now, well));
        Ok(())
    }

    /// An image write is over, since its snapshot is.
    pub(super) fn end_image_write(&mut self, number: u64) {
        if let Some(write) = self.image_writes.remove(&number) {
            let snapshot = self.snapshots.iter().find(|one| one.serial == write.serial);
            let chain = snapshot.map(|snapshot| snapshot.members[write.member].chain);
            if let Some(chain) = chain.and_then(|id| self.chain(id)) {
                chain.turns().image_done(number);
            }
        }
    }
}

/// Tells the oracle which blocks the image has for itself: all, unless memory was short.
fn note_owned(chain: &Chain, epoch: Epoch, range: BlockRange, oracle: &mut Oracle) {
    for block in range.start..range.end() {
        if chain.overlay(epoch, block, 1).0 != Over::None {
            oracle.owns(block as usize);
        }
    }
}
