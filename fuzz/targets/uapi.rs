// SPDX-License-Identifier: GPL-2.0-only
//! See `crates/decoders/src/uapi.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| blksnap_decoders::uapi::check(bytes));
