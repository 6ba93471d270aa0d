// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which slots of the difference storage are taken.

use super::rate::Rate;

/// Slots that can be addressed: 128 TiB.
pub const MAX_SLOTS: u64 = 1 << 35;

/// Most portions that are added at a time, and how often the number was doubled for that.
const MOST_PORTIONS: u64 = 64;
const MOST_DOUBLED: u32 = 6;
/// A store that grows has room for what is written in this time.
const AHEAD_MS: u64 = 4000;
/// A store that will be full in less is low, once a quarter of it is used.
const SOON_MS: u64 = 60_000;

/// The slots of one snapshot's difference storage: handed out in ascending order, never taken back.
///
/// A store that can grow does so in portions, ahead of use: when less than half a portion is free, or less than was asked for in vain, or than is
/// written in four seconds, [`StoreSpace::wants_growth`] says how much to add. Where that came too late, twice as many portions are added
/// the next time; at most 64.
///
/// # Invariants
///
/// `used <= capacity <= limit <= MAX_SLOTS`
#[derive(Clone, Debug)]
pub struct StoreSpace {
    used: u64,
    capacity: u64,
    limit: u64,
    portion: u64,
    /// Most slots that were asked for in vain, at any time: others may have had what was there since.
    missed: u64,
    /// Slots were asked for in vain since the last growth.
    late: bool,
    /// How often the number of portions was doubled.
    doubled: u32,
    rate: Rate,
}

impl StoreSpace {
    /// A store of `capacity` slots that may grow to `limit` slots in steps of `portion`; all in slots of 4 KiB.
    ///
    /// With a `portion` of 0 it does not grow. A limit below the capacity limits the capacity. More than [`MAX_SLOTS`] are not used.
    pub fn new(capacity: u64, limit: u64, portion: u64) -> Self {
        let limit = limit.min(MAX_SLOTS);
        Self {
            used: 0,
            capacity: capacity.min(limit),
            limit,
            portion,
            missed: 0,
            late: false,
            doubled: 0,
            rate: Rate::default(),
        }
    }

    /// The first of `count` slots that follow each other, now taken; `None` if there are not as many. See [`StoreSpace::full`] for what then.
    pub fn allocate(&mut self, count: u32) -> Option<u64> {
        let (slot, count) = (self.used, u64::from(count));
        if count > self.capacity - self.used {
            self.missed = self.missed.max(count);
            self.late = true;
            return None;
        }
        self.used += count;
        Some(slot)
    }

    /// Tells the time, in milliseconds of any clock that does not go back: at each store, or at least once a second while there are some. Without it
    /// nothing is foreseen.
    pub fn tick(&mut self, now_ms: u64) {
        self.rate.note(now_ms, self.used);
    }

    /// How many slots to add now, if any. The one who adds them asks again after [`StoreSpace::grown`], and not meanwhile.
    pub fn wants_growth(&self) -> Option<u64> {
        if self.portion == 0 {
            // Asked at each store: no rate has to be worked out for this.
            return None;
        }
        let free = self.capacity - self.used;
        let soon = self.rate.in_ms(AHEAD_MS);
        let portions = soon
            .checked_div(self.portion)
            .map_or(0, |portions| portions + 1)
            .max(1 << self.doubled)
            .min(MOST_PORTIONS);
        let room = self.limit - self.capacity;
        let growth = self.portion.saturating_mul(portions).min(room);
        let least = self.portion.div_ceil(2).max(self.missed).max(soon);
        (growth > 0 && free < least).then_some(growth)
    }

    /// `slots` were added; beyond the limit they are not used.
    pub fn grown(&mut self, slots: u64) {
        self.capacity = self.capacity.saturating_add(slots).min(self.limit);
        let late = core::mem::take(&mut self.late);
        self.doubled = if late {
            MOST_DOUBLED.min(self.doubled + 1)
        } else {
            self.doubled.saturating_sub(1)
        };
    }

    /// The store cannot grow any more (the file system is full): the limit is what it has.
    pub fn stop_growing(&mut self) {
        self.limit = self.capacity;
    }

    /// Whether `count` slots can never be had: the snapshot has to be given up. Otherwise they are there, or come with growth.
    pub fn full(&self, count: u32) -> bool {
        u64::from(count) > self.left()
    }

    /// In how many milliseconds the store will be full for good, at the rate of the last seconds; `u64::MAX` if that cannot be foreseen.
    pub fn full_in_ms(&self) -> u64 {
        self.rate.ms_for(self.left())
    }

    /// Less than an eighth of what there may be is left; or a quarter is used, and it will be full within a minute. A short burst into an empty
    /// store says nothing of how long it will last.
    ///
    /// `was`: it was low when it was asked last. It stays so until more than a quarter is left, and two minutes: a rate that goes up and down is
    /// told once.
    pub fn low(&self, was: bool) -> bool {
        let (left, reach) = (self.left(), self.reach());
        let (least, soon) = if was {
            (reach / 4, 2 * SOON_MS)
        } else {
            (reach / 8, SOON_MS)
        };
        left < least || self.used >= reach / 4 && self.full_in_ms() < soon
    }

    /// Slots taken.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Slots there are.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Slots there may be.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn reach(&self) -> u64 {
        if self.portion == 0 {
            self.capacity
        } else {
            self.limit
        }
    }

    fn left(&self) -> u64 {
        self.reach() - self.used
    }
}
