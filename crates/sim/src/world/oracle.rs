// SPDX-License-Identifier: GPL-2.0-only
//! What an image has to be: the plain copy made at the take, and what was written to the image since.

use std::collections::BTreeMap;

use super::{BLOCK, ZERO};
use crate::disk::Content;

/// A value that a sector of the image may have.
#[derive(Clone)]
struct Value {
    data: Content,
    submitted: u64,
    completed: Option<u64>,
}

/// The plain copy made at the take, and for the sectors that were written since the values they may have.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) copy: Vec<Content>,
    written: BTreeMap<usize, Vec<Value>>,
    /// Blocks that were written: the image has them for itself.
    own: Vec<bool>,
}

impl Oracle {
    pub(super) fn new(copy: Vec<Content>) -> Self {
        Self {
            own: vec![false; copy.len().div_ceil(BLOCK)],
            written: BTreeMap::new(),
            copy,
        }
    }

    pub(super) fn allowed(&self, sector: usize) -> Vec<Content> {
        match self.written.get(&sector) {
            Some(values) => values.iter().map(|value| value.data).collect(),
            None => vec![self.copy[sector]],
        }
    }

    /// Whether `data` is among them.
    pub(super) fn allows(&self, sector: usize, data: Content) -> bool {
        match self.written.get(&sector) {
            Some(values) => values.iter().any(|value| value.data == data),
            None => self.copy[sector] == data,
        }
    }

    pub(super) fn submitted(&mut self, sector: usize, data: Content, now: u64) {
        let first = Value {
            data: self.copy[sector],
            submitted: 0,
            completed: Some(0),
        };
        let values = self.written.entry(sector).or_insert_with(|| vec![first]);
        values.push(Value {
            data,
            submitted: now,
            completed: None,
        });
    }

    /// The write that was submitted at `since` is complete. If it went well, values that were there before it was submitted are gone.
    pub(super) fn completed(&mut self, sector: usize, since: u64, now: u64, well: bool) {
        let Some(values) = self.written.get_mut(&sector) else {
            return;
        };
        for value in values.iter_mut().filter(|value| value.submitted == since) {
            value.completed = Some(now);
        }
        if well {
            values.retain(|value| value.completed.is_none_or(|end| end >= since));
        }
    }

    /// The image has the block for itself.
    pub(super) fn owns(&mut self, block: usize) {
        self.own[block] = true;
    }

    /// The block was free at the take, or is excluded: unless it was written in the image, it reads as zeros. Whether it does so only from now on.
    pub(super) fn freed(&mut self, block: usize) -> bool {
        if std::mem::replace(&mut self.own[block], true) {
            return false;
        }
        let end = ((block + 1) * BLOCK).min(self.copy.len());
        for sector in block * BLOCK..end {
            self.written.remove(&sector);
            self.copy[sector] = ZERO;
        }
        true
    }
}
