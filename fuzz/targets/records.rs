// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel tells of a file system's free space and of a file's place: whatever it says, nothing that is
//! in use is taken for free, and nothing overlaps.
#![no_main]

use blksnap::{fiemap, fsmap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
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
    let mut extents = Vec::new();
    let at = words.first().map_or(0, |word| *word % 65536);
    if let Ok(end) = fiemap::plain(&words, at, &mut extents) {
        let bytes: u64 = extents.iter().map(|extent| extent.length).sum();
        assert_eq!(end, at + bytes, "each byte of the file has a place");
    }
});
