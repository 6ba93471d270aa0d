// SPDX-License-Identifier: GPL-2.0-only
//! A file that claims to be the qcow2 image of a backup: it is read or refused, and never makes us fail.

use std::fs;

use blksnap_backup::layer::LayerReader;

/// A device larger than this is not walked through: it would only take long.
const MOST_BYTES: u64 = 1 << 26;

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    let name = format!(
        "blksnap-fuzz-{}-{:?}.qcow2",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
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
}
