// SPDX-License-Identifier: GPL-2.0-only
//! Texts that come from outside: file names, identities, ids, the list of mounts.

use blksnap::{ChangeId, SnapshotId, mounts};
use blksnap_backup::names::{BackupName, device_name};

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    for mount in mounts::parse(bytes) {
        assert!(!mount.kind.contains(' '));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some((name, extension)) = BackupName::parse(text) {
        let back = match extension {
            "json" => name.manifest(),
            _ => name.image(),
        };
        // Only zeros in front of the number may differ.
        assert_eq!(BackupName::parse(&back), Some((name, extension)));
        assert!(!back.contains('/') && !back.starts_with('.'));
    }
    let name = device_name(text);
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    if let Ok(id) = text.parse::<ChangeId>() {
        assert_eq!(id.to_string().parse::<ChangeId>().ok(), Some(id));
    }
    if let Ok(id) = text.parse::<SnapshotId>() {
        assert_eq!(id.to_string().parse::<SnapshotId>().ok(), Some(id));
    }
}
