// SPDX-License-Identifier: GPL-2.0-only
//! Manifests: what is read can be written and read again, and names no file elsewhere.

use blksnap_backup::Manifest;

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    assert!(!manifest.file.contains('/'));
    let _ = manifest.change();
    let mut end = 0;
    for extent in manifest.unused() {
        assert!(extent.length > 0 && extent.offset >= end);
        end = extent.end();
    }
    assert!(end <= manifest.device.size_bytes);
    let back = Manifest::parse(manifest.text().as_bytes()).expect("what was written can be read");
    // A time that is no number is not the same as itself.
    assert_eq!(back.text(), manifest.text());
}
