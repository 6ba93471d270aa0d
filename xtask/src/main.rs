// SPDX-License-Identifier: GPL-2.0-only
//! Every automation of blk-snap.
fn main() {}
