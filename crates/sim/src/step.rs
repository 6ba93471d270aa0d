// SPDX-License-Identifier: GPL-2.0-only
//! Steps, and how a seed becomes a world and a list of them.

use blksnap_core::cow::{Limits, Policy, Stripes};

use crate::random::Random;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Somebody writes to a device.
    Write,
    /// A write goes on by one step of its submission.
    Submit,
    /// Some sectors of an I/O move.
    Tear,
    /// An I/O completes.
    Complete,
    /// A snapshot's worker takes one action from an engine, or one parked write.
    Work,
    /// A snapshot of some devices is made, and its take begins.
    Take,
    /// The take under way goes on by one step.
    TakeStep,
    /// The take under way gives up.
    TakeTimeout,
    /// A snapshot is destroyed.
    Destroy,
    /// Whoever holds the snapshots crashes: all of them end, also in the middle of a take.
    Crash,
    /// Somebody reads from an image.
    ImageRead,
    /// Somebody writes to an image.
    ImageWrite,
    /// Somebody discards a part of an image.
    ImageZero,
    /// Blocks turn out to have been free at a snapshot's take.
    Free,
    /// A range of a device becomes the difference storage's own.
    Exclude,
    /// The difference storage writes to a range of its own.
    OwnWrite,
    /// Somebody declares a range of a device changed.
    Dirty,
    /// The store grows, or fails to.
    Grow,
    /// The next call that allocates runs out of memory.
    NoMemory,
    /// The next I/O fails.
    BadIo,
    /// A device is taken many times, with few changes between.
    Burst,
    /// The changes between two takes are compared with the plain copies.
    Changes,
    /// A named reader of changes has read them all.
    Consume,
}

/// One thing that happens; the numbers choose among what is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub op: Op,
    /// Chooses a device, a snapshot, an I/O…
    pub x: u32,
    /// Chooses a place.
    pub y: u32,
    /// Chooses a size.
    pub z: u32,
}

/// A world as it is at first.
#[derive(Clone, Debug)]
pub struct Config {
    /// Size of each device in sectors.
    pub devices: Vec<usize>,
    /// Tracking blocks have `1 << shift` bytes.
    pub shift: u32,
    /// Bounds of all engines of a device together.
    pub limits: Limits,
    /// Engines of a device.
    pub engines: u32,
    /// Slots of the store, at first and at most.
    pub store: (u64, u64),
    /// Slots by which the store grows.
    pub portion: u64,
    /// Snapshots at a time.
    pub snapshots: usize,
    /// Writes are single blocks near the starts of the windows of a large device: the most that is copied ahead in vain.
    pub rows: bool,
    /// What the shell does wrong on purpose: nothing in the world of a seed.
    pub defect: Option<Defect>,
}

/// A defect of the shell, for tests of the simulator itself. Those of `tests/mutants` are many more, and have to be built each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Writes from each third sector on are not marked.
    Unmarked,
    /// Writes from each third sector on pass without their copies.
    Uncopied,
    /// Writes from each third sector on, when they need copies, are told to nobody.
    Forgotten,
}

impl Config {
    /// How the blocks of a device are divided among its engines.
    pub(crate) fn stripes(&self) -> Stripes {
        Stripes::new(self.engines, 64)
    }

    /// Bounds of one of its engines.
    pub(crate) fn limits_of_one(&self) -> Limits {
        self.stripes().share(self.limits)
    }

    /// Whether `defect` shows for a write from sector `start` on.
    pub(crate) fn does_wrong(&self, defect: Defect, start: usize) -> bool {
        self.defect == Some(defect) && start.is_multiple_of(3)
    }
}

/// How often each operation is chosen.
type Weights = [(Op, u64); 23];

/// The world and the steps of a seed.
pub fn schedule(seed: u64, steps: usize) -> (Config, Vec<Step>) {
    let mut random = Random::new(seed);
    let config = config(&mut random);
    let weights = weights(&mut random);
    let total = weights.iter().map(|(_, weight)| weight).sum::<u64>();
    let mut step = || {
        let mut at = random.next() % total;
        let chosen = weights.iter().find(|(_, weight)| {
            let found = at < *weight;
            at = at.wrapping_sub(*weight);
            found
        });
        let (xy, z) = (random.next(), random.next());
        Step {
            op: chosen.map_or(Op::Submit, |(op, _)| *op),
            x: xy as u32,
            y: (xy >> 32) as u32,
            z: z as u32,
        }
    };
    (config, (0..steps).map(|_| step()).collect())
}

fn config(random: &mut Random) -> Config {
    let mut between = |from, to| random.between(from, to);
    let sizes = [1, 8, 60, 200, 1500];
    let mut size = || {
        let most = sizes[between(0, 4) as usize] * 2;
        between(1, most) as usize
    };
    let devices = (0..3).map(|_| size()).collect::<Vec<_>>();
    // Half of the worlds have one device, and so the longest chains.
    let devices = devices[..between(0, 3).saturating_sub(between(0, 1)).max(1) as usize].to_vec();
    let rows = between(0, 15) == 0;
    let devices = if rows { vec![12_000] } else { devices };
    let pool = [1, 3, 16, 64, 300][between(0, 4) as usize];
    let limits = Limits {
        copy_blocks: if rows {
            64
        } else {
            [between(1, 8), 64][between(0, 3) as usize / 3] as u32
        },
        pool_blocks: if rows { 300 } else { pool },
        store_batch_blocks: between(1, 16) as u32,
        stores_in_flight: between(1, 3) as u32,
        policy: if between(0, 9) == 0 {
            Policy::GiveUp
        } else {
            Policy::Hold
        },
    };
    let capacity = [0, 8, 40, 200, 1000, 2000][between(0, 5) as usize];
    let capacity = if rows { 3000 } else { capacity };
    let store = (capacity, capacity + between(0, 1) * 100);
    let (portion, shift, snapshots) = (between(0, 12), between(9, 13), between(1, 8));
    Config {
        devices,
        shift: shift as u32,
        limits,
        engines: [1, 1, 2, 4][between(0, 3) as usize],
        store,
        portion,
        snapshots: snapshots as usize,
        rows,
        defect: None,
    }
}

fn weights(random: &mut Random) -> Weights {
    let writes = random.between(2, 30);
    let faults = random.between(0, 2);
    [
        (Op::Write, writes),
        (Op::Submit, 60),
        (Op::Tear, random.between(0, 40)),
        (Op::Complete, random.between(10, 60)),
        (Op::Work, mostly(random, (20, 80), 4)),
        (Op::Take, mostly(random, (1, 4), 10)),
        (Op::TakeStep, 40),
        (Op::TakeTimeout, random.between(0, 1)),
        (Op::Destroy, mostly(random, (0, 2), 8)),
        (Op::ImageRead, random.between(0, 20)),
        (Op::ImageWrite, random.between(0, 8)),
        (Op::ImageZero, random.between(0, 3)),
        (Op::Free, random.between(0, 2)),
        (Op::Exclude, random.between(0, 1)),
        (Op::OwnWrite, random.between(0, 2)),
        (Op::Dirty, random.between(0, 1)),
        (Op::Grow, random.between(0, 6)),
        (
            Op::NoMemory,
            if faults > 0 { random.between(0, 6) } else { 0 },
        ),
        (Op::BadIo, if faults > 1 { random.between(0, 2) } else { 0 }),
        (Op::Burst, random.between(0, 5) / 5),
        (Op::Changes, random.between(0, 3)),
        (Op::Consume, random.between(0, 1)),
        (Op::Crash, random.between(0, 3) / 3),
    ]
}

/// A number of `from..=to`, but `other` in one world of four.
fn mostly(random: &mut Random, (from, to): (u64, u64), other: u64) -> u64 {
    if random.between(0, 3) == 0 {
        other
    } else {
        random.between(from, to)
    }
}
