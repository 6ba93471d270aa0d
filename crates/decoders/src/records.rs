// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel tells of a file system's free space: whatever it says, nothing that is in use is taken for
//! free, and nothing overlaps.

use blksnap::fsmap;

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let device = words.first().map_or(0, |word| *word as u32 & 3);
    if let Ok(free) = fsmap::free_records(&words, device) {
        let mut end = 0;
        for extent in free {
            assert!(extent.length > 0 && extent.offset >= end);
            end = extent.offset + extent.length;
        }
    }
}
