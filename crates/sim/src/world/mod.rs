// SPDX-License-Identifier: GPL-2.0-only
//! The shell around the core, as the kernel module is one, and the oracles beside it.
//!
//! | File | What the module has there |
//! |---|---|
//! | `writes.rs` | the hook and the filter: counting, gate, mark, test, park |
//! | `take.rs` | create, take, destroy |
//! | `chain.rs` | the snapshots of one device, and their failure |
//! | `work.rs` | the worker of a device's snapshots: reads, stores, releases |
//! | `stores.rs` | the difference storages |
//! | `image.rs`, `image_writes.rs` | the image's block device; what it has to be is in `oracle.rs` |
//! | `own.rs` | free space, and storage on the device itself |
//! | `changes.rs` | readers of the changes |
//!
//! `watch.rs` looks at all of it after every event.

mod chain;
mod changes;
mod image;
mod image_writes;
mod oracle;
mod own;
mod stores;
mod take;
mod watch;
mod work;
mod writes;

use std::collections::BTreeMap;

use blksnap_core::BlockRange;
use blksnap_core::cbt::{History, Marks};
use blksnap_core::cow::{BatchId, CopyId, Epoch};

use crate::disk::{Content, Io};
use crate::step::{Config, Op, Step};
use chain::{Bits, Chain, ChainId};
use changes::Changes;
use image::ImageRead;
use image_writes::ImageWrite;
use oracle::Oracle;
use stores::{Store, StoreId};
use take::Take;
use writes::Write;

/// What is wrong, in words.
pub(crate) type Check = Result<(), String>;

/// Sectors in a block.
const BLOCK: usize = blksnap_core::BLOCK_SECTORS as usize;

/// What a sector of a device has at first; numbers of writes are larger.
const FRESH: Content = 1;
/// A sector of zeros.
const ZERO: Content = 0;
/// What nobody may read.
const GONE: Content = Content::MAX - 1;

/// A snapshot, by its number.
type Serial = u32;

/// What an I/O is for.
enum What {
    /// A write that passed, of this number.
    Write(u64),
    /// A copy of one of the engines.
    Copy(ChainId, usize, CopyId),
    /// A batch, to the slots from this one on.
    Store(ChainId, usize, BatchId, u64),
    /// A piece of an image read, from the origin, a device; the place of the piece in the read.
    ReadOrigin(u64, usize, usize),
    /// A whole image read, from the origin, a device: nothing of it was copied when it began.
    ReadFast(u64, usize),
    /// A piece of an image read, from a storage; the place of the piece in the read.
    ReadStore(u64, StoreId, usize),
    /// A piece of an image write, into a storage.
    WriteStore(u64, StoreId),
}

struct Device {
    disk: Vec<Content>,
    gate_closed: bool,
    /// Writes that passed the gate and are not complete.
    counted: usize,
    /// Writes that the gate holds.
    waiting: Vec<u64>,
    /// Ranges of a storage on the device itself.
    own: Vec<BlockRange>,
    /// Readers of changes, by the number that their name is made of, with their bases.
    consumers: Vec<(u8, u64)>,
    marks: Marks,
    history: History,
    changes: Changes,
}

/// A device in a snapshot.
struct Member {
    device: usize,
    chain: ChainId,
    /// From the take on.
    epoch: Option<Epoch>,
    /// The image answers with errors.
    lost: bool,
    /// Blocks that the image has for itself.
    own: Bits,
    /// The image as it has to be.
    oracle: Oracle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No write minds it yet.
    Created,
    Taken,
}

struct Snapshot {
    serial: Serial,
    state: State,
    members: Vec<Member>,
    store: StoreId,
}

/// All there is.
pub(crate) struct World {
    config: Config,
    devices: Vec<Device>,
    chains: Vec<Chain>,
    snapshots: Vec<Snapshot>,
    stores: BTreeMap<StoreId, Store>,
    next_store: StoreId,
    writes: BTreeMap<u64, Write>,
    /// Writes that can go on by themselves.
    runnable: Vec<u64>,
    ios: Vec<Io<What>>,
    reads: BTreeMap<u64, ImageRead>,
    image_writes: BTreeMap<u64, ImageWrite>,
    take: Option<Take>,
    next: u64,
    /// Writes so far, where they come in rows.
    row: usize,
    /// Allocations that succeed in the next call that allocates.
    no_memory: Option<u32>,
    /// The next I/O fails.
    bad_io: bool,
    /// Sectors of devices that the event under way has moved.
    touched: Vec<(usize, usize, usize)>,
    notes: Option<Vec<String>>,
}

/// Writes down what happens, if somebody wants to read it.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if let Some(notes) = &mut $world.notes {
            notes.push(format!($($text)*));
        }
    };
}
use note;

impl World {
    pub(crate) fn new(config: Config, trace: bool) -> Self {
        let devices = config
            .devices
            .iter()
            .map(|sectors| Device::new(*sectors, config.shift))
            .collect();
        Self {
            config,
            devices,
            chains: Vec::new(),
            snapshots: Vec::new(),
            stores: BTreeMap::new(),
            next_store: 0,
            writes: BTreeMap::new(),
            runnable: Vec::new(),
            ios: Vec::new(),
            reads: BTreeMap::new(),
            image_writes: BTreeMap::new(),
            take: None,
            next: 1,
            row: 0,
            no_memory: None,
            bad_io: false,
            touched: Vec::new(),
            notes: trace.then(Vec::new),
        }
    }

    pub(crate) fn notes(&mut self) -> Vec<String> {
        self.notes.take().unwrap_or_default()
    }

    /// Lets one thing happen.
    pub(crate) fn step(&mut self, step: Step) -> Check {
        let Step { op, x, y, z } = step;
        let [x, y, z] = [x, y, z].map(|number| number as usize);
        match op {
            Op::Write => {
                self.new_write(x, y, z);
                // In a row one comes after the other, so that the one before is saved.
                let most = if self.config.rows { 30 } else { 0 };
                for _ in 0..most {
                    if self.writes.is_empty() || !self.round()? {
                        break;
                    }
                }
            }
            Op::Take if self.config.rows && !y.is_multiple_of(8) => {}
            Op::Submit => self.submit_some(x),
            Op::Tear => self.tear(x, y, z),
            Op::Complete => self.complete_some(x)?,
            Op::Work => self.work_some(x)?,
            Op::Take => {
                self.create(x);
                // Some takes happen while nothing else does.
                let at_once = if y.is_multiple_of(4) { 20 } else { 0 };
                (0..at_once).try_for_each(|_| self.take_step())?;
            }
            Op::TakeStep => self.take_step()?,
            Op::TakeTimeout => self.take_timeout(),
            Op::Destroy => self.destroy_some(x)?,
            Op::Crash => self.crash(x)?,
            Op::ImageRead => self.image_read(x, y, z)?,
            Op::ImageWrite => self.image_write(x, y, z, false),
            Op::ImageZero => self.image_write(x, y, z, true),
            Op::Free => self.free_some(x, y, z)?,
            Op::Exclude => self.exclude_some(x, y),
            Op::OwnWrite => self.own_write(x, y),
            Op::Dirty => self.dirty(x, y, z),
            Op::Grow => {
                self.grow_some(x, z)?;
            }
            Op::NoMemory => self.no_memory = Some((x % 4) as u32),
            Op::BadIo => self.bad_io = true,
            Op::Burst => self.burst(x, y, z),
            Op::Changes => self.compare_changes(x, y)?,
            Op::Consume => self.consume(x, y),
        }
        self.watch(z)?;
        self.check_bounds()
    }

    /// Nothing new comes, nothing fails any more: everything has to end, and the images and changes to be right.
    pub(crate) fn settle(&mut self) -> Check {
        (self.no_memory, self.bad_io) = (None, false);
        note!(self, "-- everything comes to an end");
        for round in 1..20_000 {
            if !self.round()? {
                // Nobody waits for what lingers, but for the end of it.
                self.check_arrived()?;
                if !self.store_all_now() {
                    return self.check_settled();
                }
            }
            self.watch(round)?;
            self.check_bounds()?;
        }
        Err("it never comes to an end".into())
    }

    /// One round in which each part does what it can. Whether there was anything to do.
    fn round(&mut self) -> Result<bool, String> {
        let busy = !self.runnable.is_empty() || !self.ios.is_empty() || self.take.is_some();
        (0..self.runnable.len()).for_each(|_| self.submit_some(0));
        if !self.ios.is_empty() {
            self.complete_some(0)?;
        }
        self.take_step()?;
        let mut worked = false;
        for at in 0..self.stores.len() {
            worked |= self.grow_some(at, 0)?;
        }
        for at in 0..self.chains.len() {
            worked |= self.work_all(at)?;
        }
        self.bury();
        Ok(busy || worked)
    }

    fn check_arrived(&self) -> Check {
        if let Some((number, write)) = self.writes.iter().next() {
            return Err(format!(
                "P2: write {number} to device {} never gets there",
                write.device
            ));
        }
        if !self.image_writes.is_empty() || !self.reads.is_empty() {
            return Err("P2: I/O to an image never ends".into());
        }
        Ok(())
    }

    fn check_settled(&mut self) -> Check {
        for device in 0..self.devices.len() {
            (0..8).try_for_each(|back| self.compare_changes(device, back))?;
        }
        self.chains
            .iter()
            .try_for_each(|chain| self.check_chain(chain))?;
        (0..self.snapshots.len()).try_for_each(|at| self.check_whole(at))
    }

    /// The next number for a write or an image I/O.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn snapshot(&mut self, serial: Serial) -> Option<&mut Snapshot> {
        self.snapshots.iter_mut().find(|one| one.serial == serial)
    }

    fn start(&mut self, mut io: Io<What>) {
        io.fails = std::mem::take(&mut self.bad_io);
        self.ios.push(io);
    }

    fn tear(&mut self, which: usize, from: usize, count: usize) {
        if !self.ios.is_empty() {
            let at = which % self.ios.len();
            self.touch_by(at);
            let io = &mut self.ios[at];
            if let Some(disk) = disk_of(
                &mut self.devices,
                &mut self.stores,
                &self.chains,
                &self.writes,
                &io.what,
            ) {
                io.tear(disk, from, count % 8 + 1);
            }
        }
    }

    fn complete_some(&mut self, which: usize) -> Check {
        if self.ios.is_empty() {
            return Ok(());
        }
        let at = which % self.ios.len();
        self.touch_by(at);
        let mut io = self.ios.swap_remove(at);
        if let Some(disk) = disk_of(
            &mut self.devices,
            &mut self.stores,
            &self.chains,
            &self.writes,
            &io.what,
        ) {
            io.finish(disk);
        }
        match io.what {
            What::Write(number) => self.write_done(number, io.fails),
            What::Copy(chain, at, copy) => self.copy_done(chain, at, copy, io.data, io.fails)?,
            What::Store(chain, at, batch, slot) => {
                self.store_done(chain, at, batch, slot, io.fails)?
            }
            What::ReadOrigin(read, _, at) => self.origin_read_done(read, at, &io.data, io.fails)?,
            What::ReadFast(read, _) => self.fast_read_done(read, &io.data, io.fails)?,
            What::ReadStore(read, _, at) => self.store_read_done(read, at, &io.data, io.fails)?,
            What::WriteStore(write, _) => self.store_write_done(write, io.fails)?,
        }
        Ok(())
    }
}

/// The disk that an I/O is on, unless it is gone.
fn disk_of<'a>(
    devices: &'a mut [Device],
    stores: &'a mut BTreeMap<StoreId, Store>,
    chains: &[Chain],
    writes: &BTreeMap<u64, Write>,
    what: &What,
) -> Option<&'a mut [Content]> {
    match *what {
        What::Write(number) => Some(&mut devices[writes.get(&number)?.device].disk),
        What::Copy(id, ..) => {
            let chain = chains.iter().find(|chain| chain.id == id)?;
            Some(&mut devices[chain.device].disk)
        }
        What::ReadOrigin(_, device, _) | What::ReadFast(_, device) => {
            Some(&mut devices[device].disk)
        }
        What::Store(.., slot) => Some(&mut stores.get_mut(&stores::place_of(slot).0)?.data),
        What::ReadStore(_, store, _) | What::WriteStore(_, store) => {
            Some(&mut stores.get_mut(&store)?.data)
        }
    }
}

/// A part of `total` sectors, chosen by two numbers: short ones more often.
fn some_range(total: usize, place: usize, size: usize) -> (usize, usize) {
    let start = place % total;
    let most = if size.is_multiple_of(8) {
        total
    } else {
        2 * BLOCK
    };
    let sectors = (size / 8 % most + 1).min(total - start);
    // Half of them are whole blocks.
    if size.is_multiple_of(2) {
        (start, sectors)
    } else {
        aligned(total, start, sectors)
    }
}

fn aligned(total: usize, start: usize, sectors: usize) -> (usize, usize) {
    let from = start / BLOCK * BLOCK;
    (
        from,
        ((start + sectors).div_ceil(BLOCK) * BLOCK).min(total) - from,
    )
}

fn blocks_of(start: usize, sectors: usize) -> BlockRange {
    BlockRange::of_sectors(start as u64, sectors as u64)
}
