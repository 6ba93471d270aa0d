// SPDX-License-Identifier: GPL-2.0-only
//! Sets of ranges against one bit a byte of a small device, and their text in a manifest.

use blksnap::Extent;
use blksnap_backup::extents::{RangeSet, subtract, union, widen};
use blksnap_backup::runs::Runs;

const SIZE: u64 = 256;

type Bits = [bool; SIZE as usize];

/// Ascending ranges that do not touch.
fn ranges(bytes: &[u8]) -> Vec<Extent> {
    let mut bits = [false; SIZE as usize];
    for pair in bytes.chunks_exact(2) {
        let (from, length) = (usize::from(pair[0]), usize::from(pair[1] % 32));
        let to = (from + length).min(bits.len());
        bits[from..to].fill(true);
    }
    let mut found: Vec<Extent> = Vec::new();
    for (at, _) in bits.iter().enumerate().filter(|(_, set)| **set) {
        let at = at as u64;
        match found.last_mut() {
            Some(last) if last.end() == at => last.length += 1,
            _ => found.push(Extent {
                offset: at,
                length: 1,
            }),
        }
    }
    found
}

fn bits(extents: &[Extent]) -> Bits {
    let mut bits = [false; SIZE as usize];
    let mut before = 0;
    for extent in extents {
        assert!(
            extent.length > 0 && extent.offset >= before,
            "ascending: {extents:?}"
        );
        before = extent.end();
        bits[extent.offset as usize..extent.end() as usize].fill(true);
    }
    bits
}

fn each(one: Bits, other: Bits, is: impl Fn(bool, bool) -> bool) -> Bits {
    std::array::from_fn(|at| is(one[at], other[at]))
}

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let (one, other) = (ranges(one), ranges(other));
    let (a, b) = (bits(&one), bits(&other));
    assert_eq!(bits(&union(&one, &other)), each(a, b, |a, b| a || b));
    assert_eq!(bits(&subtract(&one, &other)), each(a, b, |a, b| a && !b));
    let wide = bits(&widen(&one, 8, SIZE));
    assert!((0..SIZE as usize).all(|at| wide[at] == a[at - at % 8..][..8].contains(&true)));
    let mut set = RangeSet::default();
    other
        .iter()
        .for_each(|extent| set.add(extent.offset, extent.end()));
    for extent in &one {
        let missing = set.missing(extent.offset, extent.end());
        let missing: Vec<Extent> = missing
            .iter()
            .map(|(from, to)| Extent {
                offset: *from,
                length: to - from,
            })
            .collect();
        assert_eq!(missing, subtract(&[*extent], &other));
    }
    let wide = widen(&one, 8, SIZE);
    assert_eq!(Runs::new(&wide, 8).extents(SIZE), Ok(wide));
    // And a text from outside.
    if let Ok(runs) = std::str::from_utf8(bytes) {
        let runs = Runs {
            unit_bytes: 8,
            bytes: 0,
            runs: runs.to_owned(),
        };
        let _ = runs.extents(SIZE).map(|extents| bits(&extents));
    }
}
