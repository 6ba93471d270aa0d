// SPDX-License-Identifier: GPL-2.0-only

//! Values under small numbers that are used again.

use alloc::vec::Vec;

use kern::vec::TryPush;

enum Entry<T> {
    Used(T),
    Free(Option<u32>),
}

/// Values, each under a number of its own.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Option<u32>,
    used: u32,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { entries: Vec::new(), free: None, used: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.used
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry<T>>()) as u64
    }

    /// Puts a value in and says its number, or gives it back when there is no memory. May sleep.
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, T> {
        if let Some(id) = self.free {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                if let Entry::Free(next) = entry {
                    self.free = *next;
                    *entry = Entry::Used(value);
                    self.used += 1;
                    return Ok(id);
                }
            }
        }
        let id = self.entries.len() as u32;
        match self.entries.try_push(Entry::Used(value)) {
            Ok(()) => {
                self.used += 1;
                Ok(id)
            }
            Err(Entry::Used(value)) => Err(value),
            Err(Entry::Free(_)) => Ok(id), // not what was pushed
        }
    }

    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        match self.entries.get(id as usize) {
            Some(Entry::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.entries.get_mut(id as usize) {
            Some(Entry::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let entry = self.entries.get_mut(id as usize)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let old = core::mem::replace(entry, Entry::Free(self.free));
        self.free = Some(id);
        self.used -= 1;
        match old {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }
}
