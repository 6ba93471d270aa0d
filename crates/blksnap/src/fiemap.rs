// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a file's data is on the block device of its file system: `FS_IOC_FIEMAP`.

use std::fs::File;
use std::io;

use blksnap_uapi::extended::Extent;
use rustix::fs::fstatfs;
use rustix::io::Errno;

use crate::sys;

/// Words of 8 bytes in `struct fiemap` and in `struct fiemap_extent`.
const HEAD_WORDS: usize = 4;
const EXTENT_WORDS: usize = 7;
/// Extents asked for at a time.
const AT_ONCE: usize = 1024;
/// `FIEMAP_EXTENT_LAST`.
const LAST: u32 = 1;
/// The only other flags that leave an extent a plain range of the device: unwritten, merged.
const PLAIN: u32 = LAST | 0x800 | 0x1000;
/// `s_magic` of ext2, ext3 and ext4, and of XFS: on others "physical" may be something else.
const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;

/// The file's extents in the order of the device, merged where they touch.
pub(crate) fn extents(file: &File) -> io::Result<Vec<Extent>> {
    let magic = fstatfs(file)?.f_type;
    if magic != EXT4 && (magic != XFS || sys::is_realtime(file)?) {
        return Err(Errno::OPNOTSUPP.into());
    }
    let (mut at, end) = (0, file.metadata()?.len());
    let mut extents = Vec::new();
    while at < end {
        let mut words = vec![0; HEAD_WORDS + AT_ONCE * EXTENT_WORDS];
        (words[0], words[1]) = (at, end - at);
        let count = (AT_ONCE as u32).to_ne_bytes();
        words[3] = u64::from_ne_bytes([count[0], count[1], count[2], count[3], 0, 0, 0, 0]);
        sys::fiemap(file, &mut words)?;
        at = plain(&words, at, &mut extents)?;
    }
    extents.sort_unstable_by_key(|extent| extent.offset);
    extents.dedup_by(|next, last| {
        let touches = last.offset + last.length == next.offset;
        if touches {
            last.length += next.length;
        }
        touches
    });
    Ok(extents)
}

/// Adds the extents of an answer that begins at `at` of the file; gives where it ends.
///
/// # Errors
///
/// `EOPNOTSUPP`: the answer is cut short, or there is something in it that is no plain range of
/// the device.
pub fn plain(words: &[u64], mut at: u64, extents: &mut Vec<Extent>) -> io::Result<u64> {
    let unsupported = || io::Error::from(Errno::OPNOTSUPP);
    let (head, rest) = words.split_at_checked(HEAD_WORDS).ok_or_else(unsupported)?;
    let [.., e, f, g, h] = head[2].to_ne_bytes();
    let mapped = u32::from_ne_bytes([e, f, g, h]) as usize;
    let (records, _) = rest.as_chunks::<EXTENT_WORDS>();
    for [logical, physical, length, _, _, flags, _] in
        records.get(..mapped).ok_or_else(unsupported)?
    {
        let [a, b, c, d, ..] = flags.to_ne_bytes();
        let flags = u32::from_ne_bytes([a, b, c, d]);
        // A hole, or data that is not simply there.
        if *logical > at || flags & !PLAIN != 0 || *length == 0 {
            return Err(unsupported());
        }
        let begins = at - logical;
        let length = length.checked_sub(begins).filter(|length| *length > 0);
        let length = length.ok_or_else(unsupported)?;
        let offset = physical.checked_add(begins).ok_or_else(unsupported)?;
        offset.checked_add(length).ok_or_else(unsupported)?;
        extents.push(Extent { offset, length });
        at = at.checked_add(length).ok_or_else(unsupported)?;
    }
    if mapped == 0 {
        return Err(unsupported());
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[(u64, u64, u64, u32)]) -> Vec<u64> {
        let count = (records.len() as u32).to_ne_bytes();
        let mut words = vec![
            0,
            0,
            u64::from_ne_bytes([0, 0, 0, 0, count[0], count[1], count[2], count[3]]),
            0,
        ];
        for (logical, physical, length, flags) in records {
            let flags = flags.to_ne_bytes();
            let flags = u64::from_ne_bytes([flags[0], flags[1], flags[2], flags[3], 0, 0, 0, 0]);
            words.extend([*logical, *physical, *length, 0, 0, flags, 0]);
        }
        words
    }

    #[test]
    fn plain_extents() {
        let mut extents = Vec::new();
        let end = plain(
            &answer(&[(0, 8192, 4096, 0x800), (4096, 4096, 4096, LAST)]),
            0,
            &mut extents,
        );
        assert_eq!(end.unwrap(), 8192);
        assert_eq!(extents.len(), 2);
        // Asked for from the middle of an extent.
        let mut rest = Vec::new();
        assert_eq!(
            plain(&answer(&[(0, 8192, 8192, LAST)]), 4096, &mut rest).unwrap(),
            8192
        );
        assert_eq!((rest[0].offset, rest[0].length), (12288, 4096));
    }

    #[test]
    fn what_is_not_simply_there_is_refused() {
        for records in [
            &[(4096, 0, 4096, LAST)][..], // a hole before it
            &[(0, 0, 4096, 4)],           // not allocated yet
            &[(0, 0, 4096, 0x2000)],      // shared
            &[(0, 0, 0, 0)],
            &[(0, u64::MAX, 4096, 0)],
            &[],
        ] {
            assert!(
                plain(&answer(records), 0, &mut Vec::new()).is_err(),
                "{records:?}"
            );
        }
        assert!(plain(&[0; 3], 0, &mut Vec::new()).is_err());
    }
}
