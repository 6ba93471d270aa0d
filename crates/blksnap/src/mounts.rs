// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mounted: `/proc/self/mountinfo`, read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::door::DeviceNumber;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of the block device it is on; of a file system on none or on several, or of
    /// btrfs, a number of its own.
    pub number: DeviceNumber,
    /// Where.
    pub point: PathBuf,
    /// What kind, such as `ext4`.
    pub kind: String,
    /// What it was mounted from, such as `/dev/sda1`.
    pub source: PathBuf,
}

/// Reads the text of `mountinfo`; a line that makes no sense is left out.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS…] - KIND SOURCE OPTIONS`
fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = number.split_once(':')?;
    let point = unescape(words.nth(1)?);
    let mut rest = words.skip_while(|word| *word != b"-");
    let kind = String::from_utf8(rest.nth(1)?.to_vec()).ok()?;
    Some(Mount {
        number: DeviceNumber {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        point,
        kind,
        source: unescape(rest.next()?),
    })
}

/// Space, tab, newline and backslash are written as `\` and three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut at = 0;
    while let Some(&byte) = word.get(at) {
        let code = word.get(at + 1..at + 4).and_then(|digits| {
            let octal = |value: u32, digit: &u8| {
                matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
            };
            let value = digits.iter().try_fold(0, octal)?;
            u8::try_from(value).ok()
        });
        match code {
            Some(code) if byte == b'\\' => {
                bytes.push(code);
                at += 4;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn lines() {
        let text = b"22 1 253:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw\n\
                     nonsense\n\
                     40 22 7:0 / /mnt/a\\040b\\134c ro - xfs /dev/loop0 ro,nouuid\n\
                     41 22 0:40 / /x rw - tmpfs tmpfs rw\n\
                     42 22 0:x / /x rw - tmpfs tmpfs rw\n\
                     43 22 8:1 / /x rw shared:1\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        let first = DeviceNumber {
            major: 253,
            minor: 1,
        };
        assert_eq!((mounts[0].number, &*mounts[0].kind), (first, "ext4"));
        assert_eq!(mounts[1].point, Path::new("/mnt/a b\\c"));
        assert_eq!(
            (&*mounts[1].kind, &*mounts[1].source),
            ("xfs", Path::new("/dev/loop0"))
        );
    }

    #[test]
    fn escapes_that_are_none() {
        assert_eq!(unescape(b"a\\04"), Path::new("a\\04"));
        assert_eq!(unescape(b"a\\777"), Path::new("a\\777"));
        assert_eq!(unescape(b"\\"), Path::new("\\"));
    }
}
