// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of byte ranges.

use std::collections::BTreeMap;

use blksnap::Extent;

/// A set of bytes, kept as ranges that do not touch: from the first byte to the one behind the last.
#[derive(Clone, Debug, Default)]
pub struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds `offset..end`.
    pub fn add(&mut self, mut offset: u64, mut end: u64) {
        if offset >= end {
            return;
        }
        // Every range that begins at or before our end and ends at or behind our start melts in.
        while let Some((&from, &to)) = self.0.range(..=end).next_back() {
            if to < offset {
                break;
            }
            self.0.remove(&from);
            offset = offset.min(from);
            end = end.max(to);
        }
        self.0.insert(offset, end);
    }

    /// What of `offset..end` is not in the set, in ascending order.
    #[must_use]
    pub fn missing(&self, offset: u64, end: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        if offset >= end {
            return missing;
        }
        let mut at = offset;
        let before = self.0.range(..=offset).next_back().map(|(_, &to)| to);
        if let Some(to) = before {
            at = at.max(to);
        }
        for (&from, &to) in self.0.range((
            std::ops::Bound::Excluded(offset),
            std::ops::Bound::Excluded(end),
        )) {
            if from > at {
                missing.push((at, from));
            }
            at = at.max(to);
        }
        if at < end {
            missing.push((at, end));
        }
        missing
    }
}

/// Ascending extents widened to whole units of `unit` bytes, cut at `size`, and merged where they then touch.
#[must_use]
pub fn widen(extents: &[Extent], unit: u64, size: u64) -> Vec<Extent> {
    let mut wide: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        let offset = extent.offset - extent.offset % unit;
        let end = extent.end().next_multiple_of(unit).min(size);
        match wide.last_mut() {
            Some(last) if offset <= last.end() => {
                last.length = last.length.max(end.saturating_sub(last.offset))
            }
            _ if offset < end => wide.push(Extent {
                offset,
                length: end - offset,
            }),
            _ => {}
        }
    }
    wide
}

/// What is in one of two ascending lists of ranges, or in both; ranges that touch are merged.
#[must_use]
pub fn union(one: &[Extent], other: &[Extent]) -> Vec<Extent> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    all.extend_from_slice(one);
    all.extend_from_slice(other);
    // Two runs that are each in order: this is a merge.
    all.sort_by_key(|extent| extent.offset);
    all.dedup_by(|next, last| {
        let touches = next.offset <= last.end();
        if touches {
            last.length = last.end().max(next.end()) - last.offset;
        }
        touches
    });
    all
}

/// What is in the first of two ascending lists of ranges and not in the second.
#[must_use]
pub fn subtract(from: &[Extent], what: &[Extent]) -> Vec<Extent> {
    let mut rest = Vec::with_capacity(from.len());
    let mut first = 0;
    for extent in from {
        let mut at = extent.offset;
        while what.get(first).is_some_and(|taken| taken.end() <= at) {
            first += 1;
        }
        for taken in what[first..]
            .iter()
            .take_while(|taken| taken.offset < extent.end())
        {
            if taken.offset > at {
                rest.push(Extent {
                    offset: at,
                    length: taken.offset - at,
                });
            }
            at = at.max(taken.end());
        }
        if at < extent.end() {
            rest.push(Extent {
                offset: at,
                length: extent.end() - at,
            });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    /// Against one bit a byte.
    #[test]
    fn ranges_against_a_plain_set() {
        let mut seed = 42u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut set = RangeSet::default();
        let mut plain = [false; 200];
        for _ in 0..2000 {
            if random(40) == 0 {
                set = RangeSet::default();
                plain = [false; 200];
            }
            let (from, to) = (random(190), random(200));
            set.add(from, to);
            (from..to).for_each(|at| plain[at as usize] = true);
            let (from, to) = (random(200), random(200));
            let missing: Vec<u64> = set
                .missing(from, to)
                .into_iter()
                .flat_map(|(from, to)| from..to)
                .collect();
            let expected: Vec<u64> = (from..to).filter(|at| !plain[*at as usize]).collect();
            assert_eq!(missing, expected);
        }
    }

    /// Against one bit a byte.
    #[test]
    fn lists_against_a_plain_set() {
        let mut seed = 3u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let mut list = || {
                let (mut extents, mut at) = (Vec::new(), 0);
                while at < 90 {
                    let (gap, length) = (random(9), random(9) + 1);
                    extents.push(extent(at + gap, length));
                    at += gap + length;
                }
                extents
            };
            let (one, other) = (list(), list());
            let set = |extents: &[Extent]| -> std::collections::BTreeSet<u64> {
                extents
                    .iter()
                    .flat_map(|extent| extent.offset..extent.end())
                    .collect()
            };
            let bytes =
                |extents: &[Extent]| extents.iter().map(|extent| extent.length).sum::<u64>();
            let (both, rest) = (union(&one, &other), subtract(&one, &other));
            assert_eq!(set(&both), &set(&one) | &set(&other));
            assert_eq!(set(&rest), &set(&one) - &set(&other));
            assert_eq!(bytes(&both), set(&both).len() as u64, "no byte twice");
            assert_eq!(bytes(&rest), set(&rest).len() as u64);
            assert!(both.windows(2).all(|pair| pair[0].end() < pair[1].offset));
        }
        assert_eq!(subtract(&[], &[extent(0, 1)]), []);
    }

    #[test]
    fn widening() {
        let wide = widen(
            &[extent(5, 1), extent(9, 2), extent(40, 4), extent(95, 5)],
            8,
            100,
        );
        assert_eq!(wide, [extent(0, 16), extent(40, 8), extent(88, 12)]);
        assert_eq!(widen(&[extent(64, 64)], 64, 1000), [extent(64, 64)]);
        assert_eq!(widen(&[extent(200, 8)], 8, 100), []);
    }
}
