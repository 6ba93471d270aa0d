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
    /// In the copy with this number, or on their way there.
    Copy(u32),
    /// In the store; the first block of the run in this slot, the others behind it. Below 2^35.
    Stored(u64),
    /// Nowhere: they read as zeros.
    Zero,
}

/// From the highest bit: start (18), length - 1 (9), kind of place (2), value (35). Entries sort by their start, for they do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(u64);

impl Entry {
    /// `len` is 1 to [`MAX_RUN`]; `start` and the run's end are within the group.
    pub(super) fn new(start: u64, len: u64, place: Place) -> Self {
        debug_assert!((1..=MAX_RUN).contains(&len) && start + len <= 1 << START_BITS);
        let (tag, value) = match place {
            Place::Copy(copy) => (0, u64::from(copy)),
            Place::Stored(slot) => (1, slot),
            Place::Zero => (2, 0),
        };
        debug_assert!(value < 1 << VALUE_BITS);
        let entry = (start << LEN_BITS | (len - 1)) << TAG_BITS | tag;
        Self(entry << VALUE_BITS | value)
    }

    /// All entries that start at or before `at` are less than this, all others are not.
    pub(super) fn first_behind(at: u64) -> Self {
        // `at` is a block of the group; behind the last one nothing starts.
        Self(match (at + 1) >> START_BITS {
            0 => (at + 1) << (64 - START_BITS),
            _ => u64::MAX,
        })
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
        match (self.0 >> VALUE_BITS) & 3 {
            0 => Place::Copy(u32::try_from(value).unwrap_or(u32::MAX)),
            1 => Place::Stored(value),
            _ => Place::Zero,
        }
    }

    /// The place of block `at`, which is in the run.
    pub(super) fn place_at(self, at: u64) -> Place {
        match self.place() {
            Place::Stored(slot) => Place::Stored(slot + (at - self.start())),
            place => place,
        }
    }

    /// Both runs as one, if `next` lies behind this one on the device, and in the store or in nothing.
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        if self.end() != next.start() {
            return None;
        }
        let follows = match (self.place(), next.place()) {
            (Place::Stored(slot), Place::Stored(next_slot)) => slot + self.len() == next_slot,
            (Place::Zero, Place::Zero) => true,
            _ => false,
        };
        let len = self.len() + next.len();
        (follows && len <= MAX_RUN).then(|| Self::new(self.start(), len, self.place()))
    }
}
