// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: [`Blksnap`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blksnap_uapi::control::{BLKSNAP_CONTROL_PATH, Version};
use blksnap_uapi::extended;
use rustix::io::Errno;

use crate::device::BlockDevice;
use crate::door::{Control, DeviceNumber, Door};
use crate::error::{Error, ErrorKind, Result, errno};
use crate::id::{ChangeId, SnapshotId};
use crate::snapshot::{self, Snapshot, SnapshotInfo, SnapshotOptions};
use crate::sys::Kernel;

/// The modules, as a program talks to them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blksnap {
    door: Arc<dyn Door>,
}

/// What the module can do.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// The version of the interface.
    pub abi: u32,
    /// Differences can be stored in memory.
    pub memory_store: bool,
    /// Changes can be told as extents.
    pub extents: bool,
    /// Snapshots can be bound to a descriptor.
    pub bound: bool,
    /// Images can be written.
    pub writable_images: bool,
    /// A device can be in several snapshots.
    pub shared: bool,
    /// Free space need not be saved.
    pub free: bool,
    /// Devices keep named bases.
    pub consumers: bool,
    /// What happens at the bound of the memory for copies can be chosen, and that bound.
    pub policy: bool,
    /// A snapshot can be given more storage.
    pub store_add: bool,
    /// Differences can be stored in a file on a device of the snapshot.
    pub store_extents: bool,
    /// The devices of a snapshot can be asked for.
    pub members: bool,
    /// It says when the storage will be full.
    pub prediction: bool,
    /// Events of a bound snapshot can be polled for.
    pub poll: bool,
    /// A part of an active device can be attached by force.
    pub attach_force: bool,
    /// Bytes of a copy-on-write block.
    pub block_size: u32,
}

/// An attached device.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its number.
    pub number: DeviceNumber,
    /// Where it is, when it still has a node.
    pub path: Option<PathBuf>,
    /// Its size.
    pub size_bytes: u64,
    /// Bytes of a tracking block.
    pub block_size: u32,
    /// The last take; changes are asked since such an id.
    pub change_id: ChangeId,
    /// The newest snapshot it is in.
    pub snapshot: Option<SnapshotId>,
    /// How many it is in.
    pub snapshots: u32,
}

impl Default for Blksnap {
    fn default() -> Self {
        Self::new()
    }
}

impl Blksnap {
    /// The modules of the running kernel. Nothing is opened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_door(Arc::new(Kernel))
    }

    /// Whatever is behind another door: tests.
    #[must_use]
    pub fn with_door(door: Arc<dyn Door>) -> Self {
        Self { door }
    }

    /// The door itself.
    #[must_use]
    pub fn door(&self) -> &dyn Door {
        &*self.door
    }

    /// Opens the control device.
    pub(crate) fn control(&self) -> Result<Box<dyn Control>> {
        self.door.control().map_err(|error| match errno(&error) {
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => self.module_missing(),
            Some(Errno::ACCESS | Errno::PERM) => Error::new(
                ErrorKind::NotPermitted,
                format!("cannot open {BLKSNAP_CONTROL_PATH}"),
            )
            .caused_by(error),
            _ => Error::io(format!("cannot open {BLKSNAP_CONTROL_PATH}"), error),
        })
    }

    /// Which module is missing, and how to get it.
    pub(crate) fn module_missing(&self) -> Error {
        let missing = if self.door.module_loaded("blkfilter") {
            "blksnap"
        } else {
            "blkfilter"
        };
        Error::new(ErrorKind::ModuleMissing, format!("the kernel module {missing} is not loaded")).with_help(format!(
            "load it: modprobe blksnap; if it is not installed for kernel {}: make modules && make install, in the source folder",
            self.door.kernel_release()
        ))
    }

    /// Whether the module `blksnap` is loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.door.module_loaded("blksnap")
    }

    /// The module's version, as `major.minor.revision.build`.
    ///
    /// # Errors
    ///
    /// The module is missing, or root is needed.
    pub fn module_version(&self) -> Result<String> {
        let Version {
            major,
            minor,
            revision,
            build,
        } = self
            .control()?
            .version()
            .map_err(|error| plain("cannot ask the module for its version", error))?;
        Ok(format!("{major}.{minor}.{revision}.{build}"))
    }

    /// What the module can do.
    ///
    /// # Errors
    ///
    /// The module is missing, root is needed, or the module knows only the older interface.
    pub fn features(&self) -> Result<Features> {
        let features = self
            .control()?
            .features()
            .map_err(|error| match errno(&error) {
                Some(Errno::NOTTY | Errno::INVAL) => Error::new(
                    ErrorKind::Unsupported,
                    "the loaded module blksnap lacks the interface this program needs",
                )
                .caused_by(error)
                .with_help(
                    "load the module that belongs to this program: rmmod blksnap; modprobe blksnap",
                ),
                _ => plain("cannot ask the module for its features", error),
            })?;
        let has = |bit| features.features & bit != 0;
        Ok(Features {
            abi: features.abi,
            memory_store: has(extended::BLKSNAP_FEATURE_MEMORY_STORE),
            extents: has(extended::BLKSNAP_FEATURE_EXTENTS),
            bound: has(extended::BLKSNAP_FEATURE_BOUND),
            writable_images: has(extended::BLKSNAP_FEATURE_WRITABLE_IMAGE),
            shared: has(extended::BLKSNAP_FEATURE_SHARED),
            free: has(extended::BLKSNAP_FEATURE_FREE),
            consumers: has(extended::BLKSNAP_FEATURE_CONSUMERS),
            policy: has(extended::BLKSNAP_FEATURE_POLICY),
            store_add: has(extended::BLKSNAP_FEATURE_STORE_ADD),
            store_extents: has(extended::BLKSNAP_FEATURE_STORE_EXTENTS),
            members: has(extended::BLKSNAP_FEATURE_MEMBERS),
            prediction: has(extended::BLKSNAP_FEATURE_PREDICTION),
            poll: has(extended::BLKSNAP_FEATURE_POLL),
            attach_force: has(extended::BLKSNAP_FEATURE_ATTACH_FORCE),
            block_size: features.block_size,
        })
    }

    /// Opens a block device.
    ///
    /// # Errors
    ///
    /// There is no such device, it is not a block device, or root is needed.
    pub fn device(&self, path: impl AsRef<Path>) -> Result<BlockDevice> {
        BlockDevice::open(self.clone(), path.as_ref())
    }

    /// All attached devices.
    ///
    /// # Errors
    ///
    /// The module is missing, or root is needed.
    pub fn attached(&self) -> Result<Vec<Attached>> {
        let entries = self
            .control()?
            .devices()
            .map_err(|error| plain("cannot list attached devices", error))?;
        let mut devices: Vec<_> = entries
            .iter()
            .map(|entry| {
                let number = DeviceNumber {
                    major: entry.major,
                    minor: entry.minor,
                };
                Attached {
                    number,
                    path: self.door.path_of(number),
                    size_bytes: entry.capacity,
                    block_size: entry.block_size,
                    change_id: ChangeId {
                        generation: entry.generation,
                        number: entry.number,
                    },
                    snapshot: SnapshotId::some(entry.snapshot),
                    snapshots: entry.snapshots,
                }
            })
            .collect();
        devices.sort_by_key(|device| device.number);
        Ok(devices)
    }

    /// Creates a snapshot, still without devices.
    ///
    /// # Errors
    ///
    /// The module is missing, root is needed, or the difference storage cannot be used.
    pub fn create(&self, options: &SnapshotOptions) -> Result<Snapshot> {
        Snapshot::create(self, options)
    }

    /// Takes up a snapshot that exists. It is not destroyed when the handle is dropped.
    ///
    /// # Errors
    ///
    /// There is no such snapshot, the module is missing, or root is needed.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        Snapshot::existing(self, id)
    }

    /// All snapshots.
    ///
    /// # Errors
    ///
    /// The module is missing, or root is needed.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let features = self.features()?;
        let control = self.control()?;
        let ids = control
            .snapshot_collect()
            .map_err(|error| plain("cannot list snapshots", error))?;
        let mut infos = Vec::with_capacity(ids.len());
        for id in ids {
            match control.snapshot_stat(id) {
                Ok(stat) => infos.push(snapshot::info(&stat, features)),
                // It went while we asked.
                Err(error) if errno(&error) == Some(Errno::SRCH) => {}
                Err(error) => {
                    return Err(plain(
                        &format!("cannot ask for snapshot {}", SnapshotId(id)),
                        error,
                    ));
                }
            }
        }
        infos.sort_by_key(|info| info.id);
        Ok(infos)
    }
}

/// An answer that needs no more than the kind the system's error implies.
pub(crate) fn plain(context: &str, error: io::Error) -> Error {
    match errno(&error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            Error::new(ErrorKind::NotPermitted, context).caused_by(error)
        }
        Some(Errno::NODEV | Errno::NXIO) => {
            Error::new(ErrorKind::NoDevice, context).caused_by(error)
        }
        Some(Errno::SRCH) => Error::new(ErrorKind::NoSnapshot, context).caused_by(error),
        Some(Errno::NOTTY) => Error::new(ErrorKind::Unsupported, context).caused_by(error),
        Some(Errno::BUSY) => Error::new(ErrorKind::Busy, context).caused_by(error),
        Some(Errno::INTR) => Error::new(ErrorKind::Interrupted, context).caused_by(error),
        _ => Error::new(ErrorKind::Io, context).caused_by(error),
    }
}
