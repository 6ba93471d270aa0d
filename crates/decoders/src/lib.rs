// SPDX-License-Identifier: GPL-2.0-only
//! What every decoder has to keep to, whatever bytes it is given: each module has one `check`, which panics when it does not.
//!
//! `fuzz/targets` hands them to libFuzzer; `tests/corpus.rs` gives them the files of `fuzz/corpus`, as they are and with
//! changes, in every run of the tests.

#![forbid(unsafe_code)]

pub mod extents;
pub mod image;
pub mod manifest;
pub mod records;
pub mod texts;
pub mod uapi;
