// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which slots of the difference storage are taken.

/// Slots that can be addressed: 128 TiB.
pub const MAX_SLOTS: u64 = 1 << 35;

/// The slots of one snapshot's difference storage: handed out in ascending order, never taken back.
///
/// A store that can grow does so in portions, ahead of use: when less than half a portion is free, or less than was asked for in vain,
/// [`StoreSpace::wants_growth`] says how much to add.
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
        }
    }

    /// The first of `count` slots that follow each other, now taken; `None` if there are not as many. See [`StoreSpace::full`] for what then.
    pub fn allocate(&mut self, count: u32) -> Option<u64> {
        let (slot, count) = (self.used, u64::from(count));
        if count > self.capacity - self.used {
            self.missed = self.missed.max(count);
            return None;
        }
        self.used += count;
        Some(slot)
    }

    /// How many slots to add now, if any. The one who adds them asks again after [`StoreSpace::grown`], and not meanwhile.
    pub fn wants_growth(&self) -> Option<u64> {
        let free = self.capacity - self.used;
        let growth = self.portion.min(self.limit - self.capacity);
        (growth > 0 && free < self.portion.div_ceil(2).max(self.missed)).then_some(growth)
    }

    /// `slots` were added; beyond the limit they are not used.
    pub fn grown(&mut self, slots: u64) {
        self.capacity = self.capacity.saturating_add(slots).min(self.limit);
    }

    /// The store cannot grow any more (the file system is full): the limit is what it has.
    pub fn stop_growing(&mut self) {
        self.limit = self.capacity;
    }

    /// Whether `count` slots can never be had: the snapshot has to be given up. Otherwise they are there, or come with growth.
    pub fn full(&self, count: u32) -> bool {
        let reach = if self.portion == 0 {
            self.capacity
        } else {
            self.limit
        };
        u64::from(count) > reach - self.used
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
}
