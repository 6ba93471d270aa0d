// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Named readers of changes, and the take each has read up to.

use alloc::vec::Vec;
use core::fmt;

use crate::fallible::{bytes, push};
use crate::NoMemory;

/// Consumers of a device at a time.
const MOST: usize = 16;

/// Why a consumer's base cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerError {
    /// There are 16 others.
    Full,
    /// There was no take with this number yet.
    Number,
    /// No memory.
    Memory,
}

impl From<NoMemory> for ConsumerError {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there are 16 consumers",
            Self::Number => "there was no such take",
            Self::Memory => "out of memory",
        })
    }
}

impl core::error::Error for ConsumerError {}

/// All consumers of a device, in the order in which they came.
pub(super) struct Consumers(Vec<([u8; 64], u64)>);

impl Consumers {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn set(&mut self, name: &[u8; 64], base: u64) -> Result<(), ConsumerError> {
        if let Some((_, old)) = self.0.iter_mut().find(|(other, _)| other == name) {
            *old = base;
        } else if self.0.len() >= MOST {
            return Err(ConsumerError::Full);
        } else {
            push(&mut self.0, (*name, base))?;
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &[u8; 64]) -> Option<u64> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, base)| *base)
    }

    pub(super) fn at(&self, index: usize) -> Option<(&[u8; 64], u64)> {
        self.0.get(index).map(|(name, base)| (name, *base))
    }

    pub(super) fn remove(&mut self, name: &[u8; 64]) -> bool {
        let found = self.0.iter().position(|(other, _)| other == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    /// Whether a delta from some base has changes of `newer`, and not those of `older`.
    pub(super) fn between(&self, older: u64, newer: u64) -> bool {
        let mut bases = self.0.iter().map(|(_, base)| *base);
        bases.any(|base| older <= base && base < newer)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        bytes(&self.0)
    }
}
