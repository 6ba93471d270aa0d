// SPDX-License-Identifier: GPL-2.0-only
//! A load of stamped sectors, and the proof of an image against it.
fn main() {}
