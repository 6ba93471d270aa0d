// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one door to the kernel.
//!
//! Everything this library wants of the system goes through these traits: one method an ioctl,
//! with typed arguments and errors as the system gives them. The real door is behind
//! [`Blksnap::new`](crate::Blksnap::new); tests put a simulated kernel behind
//! [`Blksnap::with_door`](crate::Blksnap::with_door).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blksnap_uapi::control::{SnapshotEvent, Version};
use blksnap_uapi::ctl::{CbtInfo, SectorRange, SnapshotInfo};
use blksnap_uapi::extended::{
    CbtState, Consumer, Device as DeviceEntry, Extent, Features, ImageStat, Member, SnapshotStat,
};

use crate::mounts::Mount;

/// The system.
pub trait Door: Send + Sync + fmt::Debug {
    /// Opens the control device.
    ///
    /// # Errors
    ///
    /// Those of `open`; `ENOENT` when the module is not loaded.
    fn control(&self) -> io::Result<Box<dyn Control>>;

    /// Opens a block device.
    ///
    /// # Errors
    ///
    /// Those of `open`; `ENOTBLK` when it is something else.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Device>>;

    /// Where a block device of this number is under `/dev`.
    fn path_of(&self, number: DeviceNumber) -> Option<PathBuf>;

    /// Where the image of this name is.
    fn image_path(&self, name: &str) -> PathBuf;

    /// The devices that the file system at `path`, or the block device there, is on: its own, the
    /// disk of that partition, and those it is stacked on (DM, MD, bcache, loop).
    fn devices_under(&self, path: &Path) -> Vec<DeviceNumber>;

    /// The file systems mounted in this process' view of the system.
    ///
    /// # Errors
    ///
    /// The list cannot be read.
    fn mounts(&self) -> io::Result<Vec<Mount>>;

    /// The free space of the file system of this kind on the block device at `path`, in ascending
    /// ranges of bytes of the device; read from the file system itself, mounted read-only where
    /// nobody else sees it, and not mounted any more afterwards, however this process ends.
    ///
    /// # Errors
    ///
    /// The kind is not known, or the file system cannot be mounted so; the error's text says why.
    fn free_space(&self, path: &Path, kind: &str) -> io::Result<Vec<Extent>>;

    /// The running kernel's release.
    fn kernel_release(&self) -> String;

    /// Whether a module of this name is loaded.
    fn module_loaded(&self, name: &str) -> bool;
}

/// The control device, open. What was made *bound* on it goes when it is dropped.
pub trait Control: Send + Sync + fmt::Debug {
    /// `VERSION`.
    ///
    /// # Errors
    ///
    /// As the module answers; so for all methods here.
    fn version(&self) -> io::Result<Version>;
    /// `FEATURES`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn features(&self) -> io::Result<Features>;
    /// `SNAPSHOT_CREATE`: differences go to this path, up to so many sectors.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_create(&self, store: &Path, limit_sectors: u64) -> io::Result<[u8; 16]>;
    /// `SNAPSHOT_OPEN`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_open(&self, request: &OpenRequest<'_>) -> io::Result<[u8; 16]>;
    /// `SNAPSHOT_TAKE`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_take(&self, id: [u8; 16]) -> io::Result<()>;
    /// `SNAPSHOT_DESTROY`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_destroy(&self, id: [u8; 16]) -> io::Result<()>;
    /// `SNAPSHOT_COLLECT`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_collect(&self) -> io::Result<Vec<[u8; 16]>>;
    /// `SNAPSHOT_STAT`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn snapshot_stat(&self, id: [u8; 16]) -> io::Result<SnapshotStat>;
    /// `STORE_ADD`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn store_add(&self, id: [u8; 16], place: StorePlace<'_>, limit: u64) -> io::Result<()>;
    /// `MEMBERS`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn members(&self, id: [u8; 16]) -> io::Result<Vec<Member>>;
    /// The open control file, for poll(2): readable when a snapshot bound to it has an event.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// `SNAPSHOT_WAIT_EVENT`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn wait_event(&self, id: [u8; 16], timeout: Duration) -> io::Result<SnapshotEvent>;
    /// `DEVICES`.
    ///
    /// # Errors
    ///
    /// See [`Control::version`].
    fn devices(&self) -> io::Result<Vec<DeviceEntry>>;
}

/// A block device, open for reading.
pub trait Device: Send + Sync + fmt::Debug {
    /// What the system knows of it.
    fn facts(&self) -> &Facts;
    /// `BLKFILTER_ATTACH`; `force`: with `BLKSNAP_ATTACH_FORCE`.
    ///
    /// # Errors
    ///
    /// As the module answers; so for all methods here.
    fn attach(&self, force: bool) -> io::Result<()>;
    /// `BLKFILTER_DETACH`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn detach(&self) -> io::Result<()>;
    /// `CBTINFO`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn cbt_info(&self) -> io::Result<CbtInfo>;
    /// `CBTMAP`: fills `map` from block `offset`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn cbt_map(&self, offset: u32, map: &mut [u8]) -> io::Result<()>;
    /// `CBTDIRTY`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn cbt_dirty(&self, ranges: &[SectorRange]) -> io::Result<()>;
    /// `SNAPSHOTADD`, or `SNAPSHOT_ADD` with `BLKSNAP_ADD_SHARED`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn snapshot_add(&self, id: [u8; 16], shared: bool) -> io::Result<()>;
    /// `FREE`: bytes taken as free.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn free(&self, id: [u8; 16], extents: &[Extent]) -> io::Result<u64>;
    /// `CONSUMER`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn consumer(&self, argument: &mut Consumer) -> io::Result<()>;
    /// `SNAPSHOTINFO`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn snapshot_info(&self) -> io::Result<SnapshotInfo>;
    /// `CBT_STATE`.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn cbt_state(&self) -> io::Result<CbtState>;
    /// `CBT_EXTENTS`: at most `room` extents, and where to resume.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn cbt_extents(
        &self,
        generation: [u8; 16],
        base: u64,
        offset: u64,
        room: u32,
    ) -> io::Result<(Vec<Extent>, u64)>;
    /// `IMAGE_STAT` of the image in this snapshot; zero is the newest.
    ///
    /// # Errors
    ///
    /// See [`Device::attach`].
    fn image_stat(&self, snapshot: [u8; 16]) -> io::Result<ImageStat>;
}

/// Where differences are stored.
#[derive(Clone, Copy, Debug)]
pub enum StorePlace<'a> {
    /// Kernel memory.
    Memory,
    /// A file, a folder or a block device.
    Path(&'a Path),
    /// A preallocated file that may be on a device of the snapshot, open for writing: by the
    /// blocks it has on that device.
    Extents(&'a File),
}

/// What `SNAPSHOT_OPEN` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest<'a> {
    /// Whether it is destroyed when the control device is closed.
    pub bound: bool,
    /// Where differences are stored.
    pub store: StorePlace<'a>,
    /// The most bytes to store; 0 leaves it to the module.
    pub limit: u64,
    /// How long writes may be held; 0 is the module's default.
    pub gate_timeout_ms: u32,
    /// `BLKSNAP_POLICY_*`.
    pub policy: u32,
    /// KiB of memory for copies not yet stored; 0 is the module's parameter.
    pub copy_memory_kib: u32,
}

/// A device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What the system knows of a block device.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The path it was opened by.
    pub path: PathBuf,
    /// The kernel's name for it, such as `sda1`.
    pub name: String,
    /// Its number.
    pub number: DeviceNumber,
    /// Its size.
    pub size_bytes: u64,
    /// A name that stays the same over reboots where there is one, such as `serial:QM0001`,
    /// `partuuid:…`, `dm:vg-root`; else `kernel:vdb`.
    pub identity: String,
    /// Devices made of it, of its disk, or of its partitions, such as `dm-0`.
    pub holders: Vec<String>,
    /// The disk it is a partition of, or the partitions it has.
    pub relatives: Vec<DeviceNumber>,
}
