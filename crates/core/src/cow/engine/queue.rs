// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Queues that need no memory: threaded through links in the entries of a slab.

/// The end of a queue; no entry has this number.
const NIL: u32 = u32::MAX;

/// An entry that can be in two queues at a time, one for each of its links.
pub(super) trait Linked {
    fn links(&mut self) -> &mut Links;
    fn link(&self, link: usize) -> u32;
}

/// The numbers of the entries that follow.
pub(super) type Links = [u32; 2];

/// Links to nowhere.
pub(super) const UNLINKED: Links = [NIL; 2];

/// First in, first out. `LINK` says which link its entries are threaded through; an entry is in at most one queue of a `LINK`.
pub(super) struct Queue<const LINK: usize> {
    head: u32,
    tail: u32,
}

impl<const LINK: usize> Queue<LINK> {
    pub(super) const fn new() -> Self {
        Self {
            head: NIL,
            tail: NIL,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The number of the first entry, or all bits if there is none: so that of several queues one comparison tells that all are empty.
    #[inline]
    pub(super) fn head(&self) -> u32 {
        self.head
    }

    /// Number of the first entry.
    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(super) fn push<T: Linked>(&mut self, slab: &mut [T], entry: u32) {
        slab[entry as usize].links()[LINK] = NIL;
        match self.first() {
            Some(_) => slab[self.tail as usize].links()[LINK] = entry,
            None => self.head = entry,
        }
        self.tail = entry;
    }

    pub(super) fn pop<T: Linked>(&mut self, slab: &mut [T]) -> Option<u32> {
        let entry = self.first()?;
        self.head = core::mem::replace(&mut slab[entry as usize].links()[LINK], NIL);
        Some(entry)
    }

    /// The numbers of all entries, first to last.
    pub(super) fn iter<'a, T: Linked>(&self, slab: &'a [T]) -> impl Iterator<Item = u32> + 'a {
        let next = |entry: &u32| {
            slab.get(*entry as usize)
                .map(|entry| entry.link(LINK))
                .filter(|next| *next != NIL)
        };
        core::iter::successors(self.first(), next)
    }
}

impl<const LINK: usize> Default for Queue<LINK> {
    fn default() -> Self {
        Self::new()
    }
}
