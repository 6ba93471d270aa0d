// SPDX-License-Identifier: GPL-2.0-only
//! The figures to reach: ratios to the raw device within one run.

use super::cells::Kind;
use super::kinds::{NULL, RAM};

/// One of them.
#[derive(Debug)]
pub(crate) struct Target {
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) kind: &'static Kind,
    pub(crate) work: &'static str,
    /// The state that is to reach it.
    pub(crate) state: &'static str,
    pub(crate) ratio: f64,
}

const fn target(
    title: &'static str,
    kind: &'static Kind,
    state: &'static str,
    work: &'static str,
    ratio: f64,
) -> Target {
    Target {
        title,
        kind,
        work,
        state,
        ratio,
    }
}

pub(crate) const TARGETS: [Target; 11] = [
    target(
        "another device tracked, random 4 KiB",
        &RAM,
        "other",
        "random",
        0.99,
    ),
    target(
        "tracked, no snapshot, random 4 KiB",
        &RAM,
        "tracked",
        "random",
        0.985,
    ),
    target(
        "first overwrite, sparse random 4 KiB, QD 1",
        &RAM,
        "device",
        "sparse",
        0.50,
    ),
    target("the same, QD 32", &RAM, "device", "sparse32", 0.55),
    target(
        "first overwrite, every 4 KiB block of a region at random, QD 32",
        &RAM,
        "device",
        "dense32",
        0.80,
    ),
    target(
        "first overwrite, sequential 1 MiB, QD 1",
        &RAM,
        "device",
        "seq",
        0.50,
    ),
    target(
        "second overwrite, random 4 KiB, QD 1",
        &RAM,
        "device",
        "second",
        0.95,
    ),
    target(
        "image read, sequential 1 MiB, nothing saved",
        &RAM,
        "device",
        "image-clean",
        0.97,
    ),
    target("image read, all saved", &RAM, "device", "image-saved", 0.95),
    target(
        "null_blk, 100 µs: first overwrite, sparse random 4 KiB, QD 1",
        &NULL,
        "device",
        "sparse",
        0.49,
    ),
    target("the same, QD 32", &NULL, "device", "sparse32", 0.55),
];
