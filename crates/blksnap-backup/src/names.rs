// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of files in DIR.

use std::fmt;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everything.
    Full,
    /// What changed since the newest backup before it.
    Incremental,
    /// What changed since the newest full backup.
    Differential,
}

impl Kind {
    /// The kind as it is in a file's name.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incr",
            Self::Differential => "diff",
        }
    }

    /// The kind as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Begins the name of every file that is not finished.
pub const TEMPORARY: &str = ".blksnap-tmp.";

/// Begins the name of the manifest of a backup that is being removed.
pub const REMOVED: &str = ".blksnap-tmp.removed.";

/// The name of a backup: device, number, kind. Its two files differ by extension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackupName {
    /// The device's name, only letters, digits, `-` and `_`.
    pub device: String,
    /// Counts the device's backups in DIR, from 1.
    pub sequence: u64,
    /// What it holds.
    pub kind: Kind,
}

impl BackupName {
    /// The name of its image.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{self}.qcow2")
    }

    /// The name of its manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{self}.json")
    }

    /// Reads a file's name; the extension comes second.
    #[must_use]
    pub fn parse(file: &str) -> Option<(Self, &str)> {
        let mut parts = file.split('.');
        let (device, sequence, kind, extension) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let kind = match kind {
            "full" => Kind::Full,
            "incr" => Kind::Incremental,
            "diff" => Kind::Differential,
            _ => return None,
        };
        let digits = sequence.len() >= 6 && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let sequence = digits.then(|| sequence.parse().ok()).flatten()?;
        let known = parts.next().is_none()
            && is_device_name(device)
            && matches!(extension, "qcow2" | "json");
        known.then(|| {
            (
                Self {
                    device: device.to_owned(),
                    sequence,
                    kind,
                },
                extension,
            )
        })
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}.{}",
            self.device,
            self.sequence,
            self.kind.short()
        )
    }
}

fn is_device_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The name files get from a device's identity: `serial:QM 1` is `serial-QM_1`, `kernel:vdb` is `vdb`.
#[must_use]
pub fn device_name(identity: &str) -> String {
    let identity = identity.strip_prefix("kernel:").unwrap_or(identity);
    let clean = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => character,
        ':' => '-',
        _ => '_',
    };
    let mut name: String = identity.chars().map(clean).collect();
    name.truncate(100);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let name = BackupName {
            device: "serial-QM_1".into(),
            sequence: 12,
            kind: Kind::Incremental,
        };
        assert_eq!(name.image(), "serial-QM_1.000012.incr.qcow2");
        assert_eq!(
            BackupName::parse(&name.image()),
            Some((name.clone(), "qcow2"))
        );
        assert_eq!(BackupName::parse(&name.manifest()), Some((name, "json")));
        let million = BackupName {
            device: "vdb".into(),
            sequence: 1_000_000,
            kind: Kind::Full,
        };
        assert_eq!(
            BackupName::parse(&million.image()),
            Some((million, "qcow2"))
        );
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "notes.txt",
            "vdb.1.full.qcow2",
            "vdb.000001.full.raw",
            "vdb.000001.half.qcow2",
            ".000001.full.qcow2",
            "a b.000001.full.json",
            "vdb.000001.full.qcow2.bak",
            "vdb.+00001.full.json",
        ] {
            assert_eq!(BackupName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn devices_names() {
        assert_eq!(device_name("kernel:vdb"), "vdb");
        assert_eq!(device_name("serial:WD 12/3.4"), "serial-WD_12_3_4");
        assert_eq!(device_name("dm:vg-root"), "dm-vg-root");
    }
}
