// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A run of blocks and its place, in eight bytes.

/// Bits of the start of a run within its group.
pub(super) const START_BITS: u32 = 18;
const LEN_BITS: u32 = 9;
const TAG_BITS: u32 = 2;
const VALUE_BITS: u32 = 64 - START_BITS - LEN_BITS - TAG_BITS;

/// Longest run, in blocks.
pub(crate) const MAX_RUN: u64 = 1 << LEN_BITS;

/// Where the blocks of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On their way into the copy with this number.
    Reading(u32),
    /// In the memory of the copy with this number.
    Memory(u32),
    /// In the store; the first block of the run in this slot, the others behind it. Below 2^35.
    Stored(u64),
}

/// From the highest bit: start (18), length - 1 (9), kind of place (2), value (35). Entries sort by their start, for they do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(u64);

impl Entry {
    /// `len` is 1 to [`MAX_RUN`]; `start` and the run's end are within the group.
    pub(super) fn new(start: u64, len: u64, place: Place) -> Self {
        debug_assert!((1..=MAX_RUN).contains(&len) && start + len <= 1 << START_BITS);
        let (tag, value) = match place {
            Place::Reading(copy) => (0, u64::from(copy)),
            Place::Memory(copy) => (1, u64::from(copy)),
            Place::Stored(slot) => (2, slot),
        };
        debug_assert!(value < 1 << VALUE_BITS);
        let entry = (start << LEN_BITS | (len - 1)) << TAG_BITS | tag;
        Self(entry << VALUE_BITS | value)
    }

    pub(super) fn start(self) -> u64 {
        self.0 >> (64 - START_BITS)
    }

    pub(super) fn len(self) -> u64 {
        (self.0 >> (VALUE_BITS + TAG_BITS)) % MAX_RUN + 1
    }

    /// One past the last block.
    pub(super) fn end(self) -> u64 {
        self.start() + self.len()
    }

    /// The place of the run.
    pub(super) fn place(self) -> Place {
        let value = self.0 & ((1 << VALUE_BITS) - 1);
        let copy = u32::try_from(value).unwrap_or(u32::MAX);
        match (self.0 >> VALUE_BITS) & 3 {
            0 => Place::Reading(copy),
            1 => Place::Memory(copy),
            _ => Place::Stored(value),
        }
    }

    /// The place of block `at`, which is in the run.
    pub(super) fn place_at(self, at: u64) -> Place {
        match self.place() {
            Place::Stored(slot) => Place::Stored(slot + (at - self.start())),
            place => place,
        }
    }

    /// Both runs as one, if `next` lies behind this one on the device and in the store.
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        let (Place::Stored(slot), Place::Stored(next_slot)) = (self.place(), next.place()) else {
            return None;
        };
        let len = self.len() + next.len();
        let follows =
            self.end() == next.start() && slot + self.len() == next_slot && len <= MAX_RUN;
        follows.then(|| Self::new(self.start(), len, self.place()))
    }
}
