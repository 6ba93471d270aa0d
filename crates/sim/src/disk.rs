// SPDX-License-Identifier: GPL-2.0-only
//! A disk, and I/O whose sectors move one by one.

/// The content of a sector: the number of the write that wrote it.
pub(crate) type Content = u32;

/// An I/O under way. `T` says what it is for.
pub(crate) struct Io<T> {
    pub(crate) write: bool,
    pub(crate) start: usize,
    /// What is written, or what was read so far.
    pub(crate) data: Vec<Content>,
    moved: Vec<bool>,
    /// It will end with an error.
    pub(crate) fails: bool,
    pub(crate) what: T,
}

impl<T> Io<T> {
    pub(crate) fn read(start: usize, sectors: usize, what: T) -> Self {
        Self {
            write: false,
            start,
            data: vec![0; sectors],
            moved: vec![false; sectors],
            fails: false,
            what,
        }
    }

    pub(crate) fn write(start: usize, data: Vec<Content>, what: T) -> Self {
        Self {
            write: true,
            start,
            moved: vec![false; data.len()],
            data,
            fails: false,
            what,
        }
    }

    /// Moves up to `count` sectors, beginning with the one at `from`, that did not move yet.
    pub(crate) fn tear(&mut self, disk: &mut [Content], from: usize, count: usize) {
        let len = self.data.len();
        for at in (0..count.min(len)).map(|i| (from + i) % len) {
            if !std::mem::replace(&mut self.moved[at], true) {
                let (sector, data) = (&mut disk[self.start + at], &mut self.data[at]);
                if self.write {
                    *sector = *data
                } else {
                    *data = *sector
                }
            }
        }
    }

    /// Moves the rest. One that fails leaves it.
    pub(crate) fn finish(&mut self, disk: &mut [Content]) {
        if !self.fails {
            self.tear(disk, 0, self.data.len());
        }
    }
}
