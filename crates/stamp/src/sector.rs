// SPDX-License-Identifier: GPL-2.0-only
//! A stamped sector: 512 bytes that say which sector they are, and which write they are of.
//!
//! ```text
//! 0   magic        8 bytes
//! 8   sector       u64 LE  where it was written
//! 16  sequence     u64 LE  which write of the load; from 1
//! 24  time         u64 LE  nanoseconds, when the write began
//! 32  filler       the three numbers again and again, so that a torn sector does not pass
//! 504 checksum     u64 LE  of all before it
//! ```

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;

const MAGIC: [u8; 8] = *b"STAMPED1";

/// What a sector says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sector: u64,
    pub(crate) sequence: u64,
    pub(crate) time_ns: u64,
}

/// What a sector turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Whole, and stamped.
    Stamped(Stamp),
    /// All zeros.
    Zero,
    /// It has the magic but not the checksum: torn.
    Torn,
    /// Something else.
    Foreign,
}

/// Fills a sector.
pub(crate) fn write(bytes: &mut [u8], stamp: Stamp) {
    let mut words = [0u64; SECTOR / 8];
    words[0] = u64::from_le_bytes(MAGIC);
    let said = [stamp.sector, stamp.sequence, stamp.time_ns];
    for (i, word) in words[1..SECTOR / 8 - 1].iter_mut().enumerate() {
        *word = said[i % 3];
    }
    words[SECTOR / 8 - 1] = checksum(&words);
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
}

/// Reads a sector.
pub(crate) fn read(bytes: &[u8]) -> Found {
    let mut words = [0u64; SECTOR / 8];
    for (chunk, word) in bytes.chunks_exact(8).zip(&mut words) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        *word = u64::from_le_bytes(eight);
    }
    if words[0] != u64::from_le_bytes(MAGIC) {
        return if words.iter().all(|w| *w == 0) {
            Found::Zero
        } else {
            Found::Foreign
        };
    }
    if words[SECTOR / 8 - 1] != checksum(&words) {
        return Found::Torn;
    }
    Found::Stamped(Stamp {
        sector: words[1],
        sequence: words[2],
        time_ns: words[3],
    })
}

fn checksum(words: &[u64; SECTOR / 8]) -> u64 {
    words[..SECTOR / 8 - 1]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            (hash ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(29)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_says_what_was_put_in_and_a_torn_one_is_seen() {
        let stamp = Stamp {
            sector: 77,
            sequence: 5,
            time_ns: 123_456,
        };
        let mut bytes = [0u8; SECTOR];
        assert_eq!(read(&bytes), Found::Zero);
        write(&mut bytes, stamp);
        assert_eq!(read(&bytes), Found::Stamped(stamp));
        bytes[300] ^= 1;
        assert_eq!(read(&bytes), Found::Torn);
        bytes[0] = 0;
        assert_eq!(read(&bytes), Found::Foreign);
    }
}
