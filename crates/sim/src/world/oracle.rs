// SPDX-License-Identifier: GPL-2.0-only
//! What an image has to be: the plain copy made at the take, and what was written to the image since.

use std::collections::BTreeMap;

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
}

impl Oracle {
    pub(super) fn new(copy: Vec<Content>) -> Self {
        Self {
            copy,
            written: BTreeMap::new(),
        }
    }

    pub(super) fn allowed(&self, sector: usize) -> Vec<Content> {
        match self.written.get(&sector) {
            Some(values) => values.iter().map(|value| value.data).collect(),
            None => vec![self.copy[sector]],
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

    /// From now on, values that were there before `data` was submitted are gone.
    pub(super) fn completed(&mut self, sector: usize, data: Content, now: u64) {
        let Some(values) = self.written.get_mut(&sector) else {
            return;
        };
        let mut since = 0;
        for value in values.iter_mut().filter(|value| value.data == data) {
            (value.completed, since) = (Some(now), value.submitted);
        }
        values.retain(|value| value.completed.is_none_or(|end| end >= since));
    }
}
