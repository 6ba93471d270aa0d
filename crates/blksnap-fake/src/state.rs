// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the simulated kernel remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Bytes of a tracking block.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;

/// The whole state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// By the device's name.
    pub(crate) attachments: BTreeMap<String, Attachment>,
    /// By id.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// Makes ids and image names.
    pub(crate) counter: u64,
    pub(crate) faults: Faults,
    /// What is mounted, by the device's name.
    #[serde(default)]
    pub(crate) mounted: BTreeMap<String, FileSystem>,
}

/// A tracked device.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) generation: u64,
    pub(crate) number: u64,
    /// For each block, the take as of which it last changed.
    pub(crate) changed: Vec<u64>,
    /// The size at attachment.
    pub(crate) size_bytes: u64,
    /// Named bases.
    #[serde(default)]
    pub(crate) consumers: BTreeMap<String, u64>,
    /// Blocks that the next take tells as changed, whatever is in them.
    #[serde(default)]
    pub(crate) dirty: BTreeSet<usize>,
}

/// A snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) bound: bool,
    pub(crate) taken: bool,
    pub(crate) error: i32,
    /// By the device's name.
    pub(crate) devices: BTreeMap<String, Member>,
    /// Where differences are stored.
    pub(crate) stores: Vec<String>,
    pub(crate) policy: u32,
    pub(crate) copy_memory_kib: u32,
}

/// A device in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Once taken.
    pub(crate) image: Option<String>,
    pub(crate) number: u64,
    /// What the file system on it did not use at the take.
    pub(crate) unused: Vec<(u64, u64)>,
    /// Bytes handed in as free.
    pub(crate) free: u64,
}

/// A file system on a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FileSystem {
    /// Such as `ext4`.
    pub kind: String,
    /// What it does not use now: offset and length.
    pub free: Vec<(u64, u64)>,
    /// It cannot be asked, for this reason.
    pub refuses: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Faults {
    /// The modules are not loaded.
    pub unloaded: bool,
    /// A snapshot fails with this errno right after its take, and its images end in the middle.
    pub fail_after_take: Option<i32>,
    /// The take answers this errno.
    pub fail_take: Option<i32>,
    /// Opening the control device answers this errno.
    pub fail_control: Option<i32>,
    /// A question for an image's figures waits, while `ROOT/hang` exists, from the n-th on.
    pub hang: Option<u32>,
    /// Devices of these names say they are held by another.
    pub held: BTreeMap<String, String>,
    /// Every path lies on the device of this name, below others.
    pub under: Option<String>,
    /// Devices of these names have this identity.
    pub identity: BTreeMap<String, String>,
    /// The module announces none of these `BLKSNAP_FEATURE_*`.
    pub without: u64,
    /// Every snapshot says that its storage will be full after so many milliseconds.
    pub full_in_ms: Option<u64>,
}

impl State {
    /// Runs one operation on the state, alone.
    pub(crate) fn with<T>(
        root: &Path,
        operation: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        fs::create_dir_all(root.join("dev"))?;
        fs::create_dir_all(root.join("last"))?;
        fs::create_dir_all(root.join("bound"))?;
        let lock = fs::File::create(root.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let path = root.join("state.json");
        let mut state: Self = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(_) => Self::default(),
        };
        state.reap(root)?;
        let result = operation(&mut state);
        // A process may end at any place, as its main thread does.
        let new = root.join("state.new");
        fs::write(&new, serde_json::to_vec_pretty(&state)?)?;
        fs::rename(&new, &path)?;
        result
    }

    /// Destroys bound snapshots whose process is gone.
    fn reap(&mut self, root: &Path) -> io::Result<()> {
        let bound: Vec<String> = self
            .snapshots
            .iter()
            .filter(|(_, snapshot)| snapshot.bound)
            .map(|(id, _)| id.clone())
            .collect();
        for id in bound {
            let owner = fs::File::open(root.join("bound").join(&id))?;
            if flock(&owner, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.destroy(root, &id)?;
            }
        }
        Ok(())
    }

    pub(crate) fn destroy(&mut self, root: &Path, id: &str) -> io::Result<bool> {
        let Some(snapshot) = self.snapshots.remove(id) else {
            return Ok(false);
        };
        for image in snapshot
            .devices
            .values()
            .filter_map(|member| member.image.as_ref())
        {
            fs::remove_file(root.join("dev").join(image))?;
        }
        let _ = fs::remove_file(root.join("bound").join(id));
        Ok(true)
    }

    /// The snapshots a device is in; ids ascend.
    pub(crate) fn snapshots_of(
        &self,
        device: &str,
    ) -> impl DoubleEndedIterator<Item = (&String, &Snapshot)> {
        self.snapshots
            .iter()
            .filter(move |(_, snapshot)| snapshot.devices.contains_key(device))
    }
}

impl Attachment {
    /// Marks what differs from the last take, and makes now the last take.
    pub(crate) fn take(&mut self, root: &Path, device: &str) -> io::Result<()> {
        let last = root.join("last").join(device);
        let (before, now) = (fs::read(&last)?, fs::read(root.join("dev").join(device))?);
        self.number += 1;
        let block = BLOCK_BYTES as usize;
        for (at, changed) in self.changed.iter_mut().enumerate() {
            let range = |data: &[u8]| {
                data.get(at * block..data.len().min((at + 1) * block))
                    .map(<[u8]>::to_vec)
            };
            if self.dirty.remove(&at) || range(&before) != range(&now) {
                *changed = self.number;
            }
        }
        fs::write(&last, &now)
    }
}
