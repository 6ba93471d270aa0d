// SPDX-License-Identifier: GPL-2.0-only
//! A file that claims to be the qcow2 image of a backup: it is read or refused, and never makes us fail.
#![no_main]

use std::fs;

use blksnap_backup::layer::LayerReader;
use libfuzzer_sys::fuzz_target;

/// A device larger than this is not walked through: it would only take long.
const MOST_BYTES: u64 = 1 << 26;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("blksnap-fuzz-{}.qcow2", std::process::id()));
    fs::write(&path, bytes).expect("write a temporary file");
    if let Ok(image) = LayerReader::open(&path, 65536)
        && image.size_bytes() <= MOST_BYTES
    {
        let mut at = 0;
        let _ = image.walk(&mut |offset, _| {
            assert!(offset >= at, "in ascending order");
            at = offset;
            Ok(())
        });
    }
    fs::remove_file(&path).expect("remove a temporary file");
});
