// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which pages of the memory for copies each copy has, so that large copies have pages that lie behind each other.
//!
//! Pages are known by their numbers, *frames*. The shell has memory in one piece for each word of them, 64 frames or 256 KiB, where it can be had: a read
//! or a store of such a piece is one segment of a bio, in place of 64. Small copies are given the lowest free frames, so that whole words stay whole.

use alloc::vec::Vec;

use super::CopyId;
use crate::fallible::{bytes, filled};
use crate::units::bits;
use crate::NoMemory;

/// Frames of a word.
const WORD: u32 = 64;
/// Copies of so many blocks are given a whole free word, where there is one.
const LARGE: u32 = 16;
/// The end of a row.
const NONE: u32 = u32::MAX;

/// Frames, each free or in one copy's row.
#[derive(Default)]
pub struct Frames {
    /// A bit for each that is free.
    free: Vec<u64>,
    /// How many of them there are.
    left: u32,
    /// No word before this one has free frames.
    low: u32,
    /// The frame behind each in its row.
    next: Vec<u32>,
    /// The first of each copy, and how many.
    copies: Vec<(u32, u32)>,
}

impl Frames {
    /// `count` frames, all free; as many copies may have some at a time.
    pub fn new(count: u32) -> Result<Self, NoMemory> {
        let mut at = 0;
        let free = filled(count.div_ceil(WORD) as usize, || {
            let here = u64::from((count - at).min(WORD));
            at += WORD;
            bits(0, here)
        })?;
        Ok(Self {
            free,
            left: count,
            low: 0,
            next: filled(count as usize, || NONE)?,
            copies: filled(count as usize, || (NONE, 0))?,
        })
    }

    /// Gives `count` frames, one at least, to a copy that has none. `false`: there are not as many, and it has got none.
    pub fn take(&mut self, copy: CopyId, count: u32) -> bool {
        if count == 0 || count > self.left {
            return false;
        }
        while self.free.get(self.low as usize) == Some(&0) {
            self.low += 1;
        }
        let mut word = match count {
            LARGE.. => self.whole().unwrap_or(self.low),
            _ => self.low,
        };
        let Some(entry) = self.copies.get_mut(copy.0 as usize) else {
            return false;
        };
        self.left -= count;
        if let (1, Some(free)) = (count, self.free.get_mut(word as usize)) {
            *entry = (word * WORD + free.trailing_zeros(), 1);
            *free &= free.wrapping_sub(1);
            return true;
        }
        let (mut wanted, mut last) = (count, NONE);
        while wanted > 0 {
            // Enough are free: behind the last word those before are to be looked at.
            let Some(free) = self.free.get_mut(word as usize) else {
                word = self.low;
                continue;
            };
            while *free != 0 && wanted > 0 {
                let frame = word * WORD + free.trailing_zeros();
                *free &= *free - 1;
                match self.next.get_mut(last as usize) {
                    Some(next) => *next = frame,
                    None => *entry = (frame, count),
                }
                (last, wanted) = (frame, wanted - 1);
            }
            word += 1;
        }
        if let Some(next) = self.next.get_mut(last as usize) {
            *next = NONE;
        }
        true
    }

    /// The last word of which all frames are free.
    fn whole(&self) -> Option<u32> {
        let word = self.free.iter().rposition(|word| *word == u64::MAX)?;
        u32::try_from(word).ok()
    }

    /// Takes a copy's frames back.
    pub fn give_back(&mut self, copy: CopyId) {
        let mut row = self.of(copy);
        while let Some(frame) = row.step(&self.next) {
            let word = frame / WORD;
            if let Some(free) = self.free.get_mut(word as usize) {
                *free |= 1 << (frame % WORD);
                self.left += 1;
                self.low = self.low.min(word);
            }
        }
        if let Some(entry) = self.copies.get_mut(copy.0 as usize) {
            *entry = (NONE, 0);
        }
    }

    /// The frames of a copy, in the order of its blocks.
    pub fn row(&self, copy: CopyId) -> impl Iterator<Item = u32> + '_ {
        let mut row = self.of(copy);
        core::iter::from_fn(move || row.step(&self.next))
    }

    fn of(&self, copy: CopyId) -> Row {
        let (at, left) = self
            .copies
            .get(copy.0 as usize)
            .copied()
            .unwrap_or((NONE, 0));
        Row { at, left }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        bytes(&self.free) + bytes(&self.next) + bytes(&self.copies)
    }
}

/// A walk through a row.
struct Row {
    at: u32,
    left: u32,
}

impl Row {
    fn step(&mut self, next: &[u32]) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        self.at = next.get(at as usize).copied()?;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn row(frames: &Frames, copy: u32) -> Vec<u32> {
        frames.row(CopyId(copy)).collect()
    }

    #[test]
    fn a_large_copy_has_frames_in_one_piece() {
        let mut frames = Frames::new(256).unwrap();
        for copy in 0..10 {
            assert!(frames.take(CopyId(copy), 1));
        }
        assert!(frames.take(CopyId(10), 64));
        assert!(frames.take(CopyId(11), 48));
        assert_eq!(row(&frames, 10), (192..256).collect::<Vec<_>>());
        assert_eq!(row(&frames, 11), (128..176).collect::<Vec<_>>());
        // What goes on behind the last whole word comes from the lowest.
        assert!(frames.take(CopyId(12), 130));
        assert_eq!(
            row(&frames, 12)[..80],
            (64..128).chain(176..192).collect::<Vec<_>>()
        );
        assert_eq!(row(&frames, 12)[80..], (10..60).collect::<Vec<_>>());
    }

    #[test]
    fn small_copies_leave_whole_words() {
        let mut frames = Frames::new(256).unwrap();
        for round in 0..100 {
            for copy in 0..32 {
                assert!(frames.take(CopyId(copy), 2));
            }
            assert!(frames.take(CopyId(32), 192), "round {round}");
            assert_eq!(row(&frames, 5), [10, 11]);
            assert!(!frames.take(CopyId(33), 1));
            (0..33).for_each(|copy| frames.give_back(CopyId(copy)));
        }
    }

    proptest! {
        #[test]
        fn each_frame_is_in_one_row(count in 1u32..300, steps in prop::collection::vec((0u32..300, 1u32..100), 1..200)) {
            let mut frames = Frames::new(count).unwrap();
            let mut model: HashMap<u32, Vec<u32>> = HashMap::new();
            for (copy, wanted) in steps {
                let copy = copy % count;
                if model.remove(&copy).is_some() {
                    frames.give_back(CopyId(copy));
                    prop_assert!(row(&frames, copy).is_empty());
                    continue;
                }
                let left = count as usize - model.values().map(Vec::len).sum::<usize>();
                prop_assert_eq!(frames.take(CopyId(copy), wanted), wanted as usize <= left);
                if wanted as usize <= left {
                    model.insert(copy, row(&frames, copy));
                    prop_assert_eq!(model[&copy].len(), wanted as usize);
                    let mut all: Vec<u32> = model.values().flatten().copied().collect();
                    let sum = all.len();
                    all.sort_unstable();
                    all.dedup();
                    prop_assert_eq!(all.len(), sum);
                    prop_assert!(all.iter().all(|frame| *frame < count));
                }
                for (copy, frames_of) in &model {
                    prop_assert_eq!(&row(&frames, *copy), frames_of);
                }
            }
        }
    }
}
