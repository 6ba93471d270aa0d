// SPDX-License-Identifier: MIT OR Apache-2.0
//! A simulated kernel for tests of user space: block devices are files, change tracking is a
//! comparison with the last take, an image is a copy.
//!
//! Everything is kept in one folder, so that several processes see the same kernel:
//!
//! ```text
//! ROOT/state.json   attachments, snapshots, faults to come
//! ROOT/lock         one operation at a time
//! ROOT/dev/NAME     devices and images; write to a device as you like
//! ROOT/last/NAME    a device as it was at its last take (or attachment)
//! ROOT/bound/ID     locked by the process a bound snapshot belongs to: when it dies, the next
//!                   operation finds the lock free and destroys the snapshot, as the kernel would
//! ```
//!
//! The comparison makes it an oracle that shares nothing with the real change tracking: it is
//! exact, and slow. Errors are those that the interface promises.
#![forbid(unsafe_code)]

mod door;
mod state;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use door::FakeKernel;
pub use state::{Faults, FileSystem};

impl FakeKernel {
    /// Adds a device of zeros; gives its path.
    ///
    /// # Panics
    ///
    /// If the folder cannot be written, like everything in this crate.
    pub fn add_device(&self, name: &str, size_bytes: u64) -> PathBuf {
        let path = self.device(name);
        fs::create_dir_all(path.parent().expect("a device has a folder")).expect("make the folder");
        let file = fs::File::create(&path).expect("make the device");
        file.set_len(size_bytes).expect("size the device");
        path
    }

    /// The path of a device.
    pub fn device(&self, name: &str) -> PathBuf {
        self.root().join("dev").join(name)
    }

    /// Writes to a device.
    pub fn write(&self, name: &str, offset: u64, data: &[u8]) {
        let file = fs::File::options()
            .write(true)
            .open(self.device(name))
            .expect("open the device");
        file.write_all_at(data, offset).expect("write the device");
    }

    /// What is on a device now.
    pub fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.device(name)).expect("read the device")
    }

    /// Snapshots there are, and image devices.
    pub fn leftovers(&self) -> (usize, Vec<String>) {
        let snapshots = self
            .with_state(|state| Ok(state.snapshots.len()))
            .expect("read the state");
        let mut images: Vec<String> = fs::read_dir(self.root().join("dev"))
            .expect("read the folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name.starts_with("blksnap-image"))
            .collect();
        images.sort();
        (snapshots, images)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.with_state(|state| {
            state.faults = faults;
            Ok(())
        })
        .expect("write the state");
    }

    /// Mounts a file system from a device; the device's blocks are the test's business.
    pub fn mount(&self, name: &str, file_system: FileSystem) {
        self.with_state(|state| {
            state.mounted.insert(name.to_owned(), file_system);
            Ok(())
        })
        .expect("write the state");
    }

    /// Where each snapshot stores its differences, with its policy and its memory in KiB.
    pub fn stores(&self) -> Vec<(Vec<String>, u32, u32)> {
        self.with_state(|state| {
            let one = |snapshot: &state::Snapshot| {
                (
                    snapshot.stores.clone(),
                    snapshot.policy,
                    snapshot.copy_memory_kib,
                )
            };
            Ok(state.snapshots.values().map(one).collect())
        })
        .expect("read the state")
    }

    /// Waits until a process hangs where [`Faults::hang`] has it.
    pub fn wait_for_hang(&self) {
        while !self.root().join("hanging").exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The folder it is kept in.
    pub fn root(&self) -> &Path {
        self.folder()
    }
}
