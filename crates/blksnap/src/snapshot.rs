// SPDX-License-Identifier: MIT OR Apache-2.0
//! A snapshot of several devices at one instant.
//!
//! States: 1. created, devices are added; 2. taken, images are there; 3. failed, images give
//! I/O errors; 4. destroyed. A failure goes from 1 or 2 to 3, never back.
//!
//! # Lifetime
//!
//! A *bound* snapshot belongs to the descriptor it was made on: the kernel destroys it when the
//! process ends, however it ends, and dropping the handle destroys it at once. One that is not
//! bound lives until [`Snapshot::destroy`].

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use blksnap_uapi::extended::{
    BLKSNAP_FULL_NEVER, BLKSNAP_POLICY_GIVE_UP, BLKSNAP_POLICY_HOLD, BLKSNAP_STATE_CREATED,
    BLKSNAP_STATE_TAKEN, SnapshotStat,
};
use rustix::io::Errno;

use crate::client::{Blksnap, Features, plain};
use crate::device::{BlockDevice, text};
use crate::door::{Control, DeviceNumber, OpenRequest};
use crate::error::{Error, ErrorKind, Result, errno, snapshot_failure};
use crate::event::Event;
use crate::id::SnapshotId;
use crate::store::{Storage, Store};

/// What happens when copies that are not yet stored fill their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Writes wait until there is room.
    #[default]
    Hold,
    /// The snapshot is given up.
    GiveUp,
}

impl Policy {
    /// The policy as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::GiveUp => "give-up",
        }
    }
}

/// How a snapshot is made.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// Whether it ends with the handle.
    pub bound: bool,
    /// Where differences are stored; the second when the first is full, and so on. None is memory.
    pub stores: Vec<Storage>,
    /// How long writes may be held at the take; `None` is the module's default of 10 s.
    pub gate_timeout: Option<Duration>,
    /// What happens at the bound of the memory for copies.
    pub policy: Policy,
    /// That bound in bytes, rounded up to KiB; `None` is the module's parameter `copy_memory_kib`.
    pub copy_memory_bytes: Option<u64>,
}

/// What to do where storages lie on each other's devices.
const CIRCLE: &str = "another snapshot stores on this device what it copies from where this one stores; use --store memory or a folder elsewhere";

impl SnapshotOptions {
    /// A bound snapshot that stores in memory.
    #[must_use]
    pub fn bound() -> Self {
        Self {
            bound: true,
            ..Self::default()
        }
    }
}

/// The state of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Devices can be added.
    Created,
    /// Its images are there.
    Taken,
    /// Its images give I/O errors.
    Failed,
}

impl State {
    /// The state as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Taken => "taken",
            Self::Failed => "failed",
        }
    }
}

/// What is known of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotInfo {
    /// Its name.
    pub id: SnapshotId,
    /// Its state.
    pub state: State,
    /// The negative errno it failed with.
    pub error: i32,
    /// Devices in it.
    pub devices: u32,
    /// How long the take held writes.
    pub gate: Duration,
    /// When it was taken.
    pub taken: Option<SystemTime>,
    /// Bytes the difference storage has room for now.
    pub store_capacity: u64,
    /// Bytes of it in use.
    pub store_used: u64,
    /// Bytes it may grow to; 0 is no limit.
    pub store_limit: u64,
    /// Bytes of kernel memory it takes.
    pub memory_bytes: u64,
    /// When the storage will be full, as it fills now; `None` when no end is in sight.
    pub full_in: Option<Duration>,
    /// What happens at the bound of the memory for copies.
    pub policy: Policy,
}

/// A device in a snapshot.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its number.
    pub number: DeviceNumber,
    /// Where it is, when it still has a node.
    pub path: Option<PathBuf>,
    /// The negative errno its part of the snapshot failed with.
    pub error: i32,
    /// The block device to read, once the snapshot is taken.
    pub image: Option<PathBuf>,
    /// The take the image is of, within the device's generation.
    pub take: Option<u64>,
}

impl Member {
    /// The path, or the number when there is none.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        self.path
            .clone()
            .unwrap_or_else(|| PathBuf::from(self.number.to_string()))
    }
}

impl SnapshotInfo {
    /// Why the snapshot failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        match self.state {
            State::Failed => Some(snapshot_failure(self.error).unwrap_or_else(|| {
                Error::new(
                    ErrorKind::SnapshotFailed,
                    "the snapshot failed (the device itself is unharmed)",
                )
            })),
            _ => snapshot_failure(self.error),
        }
    }
}

pub(crate) fn info(stat: &SnapshotStat, features: Features) -> SnapshotInfo {
    SnapshotInfo {
        id: SnapshotId(stat.id),
        state: match stat.state {
            BLKSNAP_STATE_CREATED => State::Created,
            BLKSNAP_STATE_TAKEN => State::Taken,
            _ => State::Failed,
        },
        error: stat.error,
        devices: stat.devices,
        gate: Duration::from_nanos(stat.gate_ns),
        taken: (stat.taken_ns != 0)
            .then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(stat.taken_ns)),
        store_capacity: stat.store_capacity,
        store_used: stat.store_used,
        store_limit: stat.store_limit,
        memory_bytes: stat.memory,
        full_in: (features.prediction && stat.full_in_ms != BLKSNAP_FULL_NEVER)
            .then(|| Duration::from_millis(stat.full_in_ms)),
        policy: if stat.policy == BLKSNAP_POLICY_GIVE_UP {
            Policy::GiveUp
        } else {
            Policy::Hold
        },
    }
}

/// A snapshot, and the descriptor it is bound to if it is.
#[derive(Debug)]
pub struct Snapshot {
    blksnap: Blksnap,
    control: Box<dyn Control>,
    features: Features,
    id: SnapshotId,
    /// Destroy on drop.
    bound: bool,
    /// What the storages that it was made with are on.
    below: Vec<DeviceNumber>,
}

impl Snapshot {
    pub(crate) fn create(blksnap: &Blksnap, options: &SnapshotOptions) -> Result<Self> {
        let features = blksnap.features()?;
        let control = blksnap.control()?;
        let memory = Storage::default();
        let (first, more) = options.stores.split_first().unwrap_or((&memory, &[]));
        let own = options.policy != Policy::Hold || options.copy_memory_bytes.is_some();
        can(
            features.policy || !own,
            "let a snapshot choose its policy or its memory",
        )?;
        can_store(features, &first.store)?;
        let request = OpenRequest {
            bound: options.bound,
            store: first.store.place(),
            limit: first.limit_bytes.unwrap_or(0),
            gate_timeout_ms: options.gate_timeout.map_or(0, |timeout| {
                u32::try_from(timeout.as_millis())
                    .unwrap_or(u32::MAX)
                    .max(1)
            }),
            policy: match options.policy {
                Policy::Hold => BLKSNAP_POLICY_HOLD,
                Policy::GiveUp => BLKSNAP_POLICY_GIVE_UP,
            },
            copy_memory_kib: options.copy_memory_bytes.map_or(0, |bytes| {
                u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
            }),
        };
        let id = control
            .snapshot_open(&request)
            .map_err(|error| store_error("cannot create a snapshot", &first.store, error))?;
        let mut snapshot = Self {
            blksnap: blksnap.clone(),
            control,
            features,
            id: SnapshotId(id),
            // Until all of it is there.
            bound: true,
            below: Vec::new(),
        };
        snapshot.below = below(blksnap, options.stores.iter().map(|storage| &storage.store));
        more.iter()
            .try_for_each(|storage| snapshot.add_store(storage))?;
        snapshot.bound = options.bound;
        Ok(snapshot)
    }

    pub(crate) fn existing(blksnap: &Blksnap, id: SnapshotId) -> Result<Self> {
        let snapshot = Self {
            blksnap: blksnap.clone(),
            control: blksnap.control()?,
            features: blksnap.features()?,
            id,
            bound: false,
            below: Vec::new(),
        };
        snapshot.info()?;
        Ok(snapshot)
    }

    /// Gives it one more difference storage; also after the take.
    ///
    /// # Errors
    ///
    /// The storage cannot be used, the snapshot is gone or has failed.
    pub fn add_store(&self, storage: &Storage) -> Result<()> {
        let Storage { store, limit_bytes } = storage;
        can(self.features.store_add, "give a snapshot more storage")?;
        can_store(self.features, store)?;
        let below = below(&self.blksnap, [store]);
        if self.features.members && !below.is_empty() {
            let members = self.members()?;
            let own = members.iter().find(|member| below.contains(&member.number));
            own.map_or(Ok(()), |member| Err(itself(&member.shown())))?;
        }
        self.control
            .store_add(self.id.0, store.place(), limit_bytes.unwrap_or(0))
            .map_err(|error| match errno(&error) {
                Some(Errno::SRCH) => self.error("give storage to", error),
                Some(Errno::LOOP) => Error::new(
                    ErrorKind::Busy,
                    "copies that are stored there would be copied themselves, without end",
                )
                .with_help(CIRCLE),
                _ => store_error(
                    &format!("cannot give storage to snapshot {}", self.id),
                    store,
                    error,
                ),
            })
    }

    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    fn error(&self, verb: &str, error: std::io::Error) -> Error {
        match errno(&error) {
            Some(Errno::SRCH) => Error::new(
                ErrorKind::NoSnapshot,
                format!("there is no snapshot {}", self.id),
            )
            .with_help("`blksnap snapshot list` shows those that exist"),
            _ => plain(&format!("cannot {verb} snapshot {}", self.id), error),
        }
    }

    /// Adds an attached device. It may be in other snapshots, too.
    ///
    /// # Errors
    ///
    /// It is not attached, it is in this snapshot already, this one is taken already; a storage that
    /// this snapshot was made with lies on it, if need be through LVM, DM, MD or loop devices.
    pub fn add(&mut self, device: &BlockDevice) -> Result<()> {
        if self.below.contains(&device.facts().number) {
            return Err(itself(device.path()));
        }
        let shared = self.features.shared;
        device.door().snapshot_add(self.id.0, shared).map_err(|error| {
            let shown = device.shown();
            match errno(&error) {
                Some(Errno::SRCH) => self.error("add to", error),
                Some(Errno::ALREADY) => {
                    Error::new(ErrorKind::WrongState, format!("{shown} is in snapshot {} already", self.id))
                }
                Some(Errno::BUSY) => Error::new(ErrorKind::Busy, format!("{shown} is in another snapshot"))
                    .with_help("wait for the other to end, or destroy it: blksnap snapshot list; blksnap snapshot destroy ID"),
                Some(Errno::LOOP) => Error::new(
                    ErrorKind::Busy,
                    format!("copies of {shown} would be copied themselves, without end"),
                )
                .with_help(CIRCLE),
                _ => device.filter_error("add to a snapshot", error),
            }
        })
    }

    /// Takes the snapshot: all its devices at one instant.
    ///
    /// # Errors
    ///
    /// It is taken already, it has no devices, writes in flight did not finish in time.
    pub fn take(&mut self) -> Result<SnapshotInfo> {
        self.control
            .snapshot_take(self.id.0)
            .map_err(|error| match errno(&error) {
                Some(Errno::ALREADY) => Error::new(
                    ErrorKind::WrongState,
                    format!("snapshot {} is taken already", self.id),
                ),
                Some(Errno::NODEV) => Error::new(
                    ErrorKind::WrongState,
                    format!("snapshot {} has no devices", self.id),
                )
                .caused_by(error)
                .with_help("name devices when it is created: blksnap snapshot create DEVICE"),
                Some(Errno::TIMEDOUT) => Error::new(
                    ErrorKind::GateTimeout,
                    format!(
                        "writes in flight did not finish in time, so snapshot {} was not taken",
                        self.id
                    ),
                ),
                _ => self.error("take", error),
            })?;
        self.info()
    }

    /// What is known of it now.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn info(&self) -> Result<SnapshotInfo> {
        let stat = self
            .control
            .snapshot_stat(self.id.0)
            .map_err(|error| self.error("ask for", error))?;
        Ok(info(&stat, self.features))
    }

    /// Its devices, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn members(&self) -> Result<Vec<Member>> {
        can(self.features.members, "list the devices of a snapshot")?;
        let members = self
            .control
            .members(self.id.0)
            .map_err(|error| self.error("ask for", error))?;
        let door = self.blksnap.door();
        let mut members: Vec<_> = members
            .iter()
            .map(|member| {
                let number = DeviceNumber {
                    major: member.major,
                    minor: member.minor,
                };
                Member {
                    number,
                    path: door.path_of(number),
                    error: member.error,
                    image: text(&member.image).map(|name| door.image_path(&name)),
                    take: (member.number != 0).then_some(member.number),
                }
            })
            .collect();
        members.sort_by_key(|member| member.number);
        Ok(members)
    }

    /// Waits for an event; `None` when nothing happened in time.
    ///
    /// # Errors
    ///
    /// It is gone, or a signal came.
    pub fn wait_event(&self, timeout: Duration) -> Result<Option<Event>> {
        match self.control.wait_event(self.id.0, timeout) {
            Ok(event) => Ok(Some(Event::new(&event))),
            Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("wait for an event of", error)),
        }
    }

    /// For programs that wait for several things: readable (poll, epoll) when this snapshot has an event, which
    /// [`wait_event`](Self::wait_event) then returns at once. Only of a snapshot that was made here with
    /// [`SnapshotOptions::bound`], by a module with [`Features::poll`](crate::Features::poll).
    pub fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.control
            .as_fd()
            .filter(|_| self.bound && self.features.poll)
    }

    /// Destroys it.
    ///
    /// # Errors
    ///
    /// It is gone, or an image is still open ([`ErrorKind::Busy`]).
    pub fn destroy(mut self) -> Result<()> {
        self.control
            .snapshot_destroy(self.id.0)
            .map_err(|error| match errno(&error) {
                Some(Errno::NODEV) => Error::new(
                    ErrorKind::NoSnapshot,
                    format!("there is no snapshot {}", self.id),
                )
                .with_help("`blksnap snapshot list` shows those that exist"),
                Some(Errno::BUSY) => Error::new(
                    ErrorKind::Busy,
                    format!("an image of snapshot {} is in use", self.id),
                )
                .caused_by(error)
                .with_help("unmount it and end what reads it"),
                _ => self.error("destroy", error),
            })?;
        self.bound = false;
        Ok(())
    }
}

/// The devices that storages by a path are on. The module sees only the first of each: it does not look through stacked ones.
fn below<'a>(blksnap: &Blksnap, stores: impl IntoIterator<Item = &'a Store>) -> Vec<DeviceNumber> {
    let paths = stores.into_iter().filter_map(|store| match store {
        Store::Path(path) => Some(path),
        Store::Memory | Store::Own(_) => None,
    });
    paths
        .flat_map(|path| blksnap.door().devices_under(path))
        .collect()
}

/// A device whose copies would be written to itself.
fn itself(device: &Path) -> Error {
    let device = device.display();
    Error::new(
        ErrorKind::Busy,
        format!("what is copied of {device} would be stored on {device} itself, and copied again"),
    )
    .with_help("use --store memory, or a folder on another disk")
}

/// An error unless the module can do it.
fn can(feature: bool, what: &str) -> Result<()> {
    if feature {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the loaded module blksnap cannot {what}"),
    )
    .with_help("load the module that belongs to this program: rmmod blksnap; modprobe blksnap"))
}

fn can_store(features: Features, store: &Store) -> Result<()> {
    let own = matches!(store, Store::Own(_));
    can(
        features.store_extents || !own,
        "store differences on a device of the snapshot",
    )
}

fn store_error(context: &str, store: &Store, error: std::io::Error) -> Error {
    let Some(path) = store.path() else {
        return plain(context, error);
    };
    let place = format!("cannot store differences at {}", path.display());
    match errno(&error) {
        Some(Errno::NOTTY) => return plain(context, error),
        Some(Errno::NOENT) => Error::new(ErrorKind::NoDevice, place).caused_by(error),
        Some(Errno::OPNOTSUPP | Errno::INVAL) if matches!(store, Store::Own(_)) => {
            return Error::new(ErrorKind::Unsupported, place)
                .caused_by(error)
                .with_help("on a file system that is in the snapshot, ext4 and XFS can hold its differences; use --store memory or a folder elsewhere");
        }
        Some(Errno::BUSY) => Error::new(ErrorKind::Busy, place)
            .caused_by(error)
            .with_help(
                "a block device for the difference storage must not be mounted or used otherwise",
            ),
        _ => plain(&place, error),
    }
    .with_help("--store takes `memory`, a file, a folder, or an unused block device")
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.bound {
            // Closing the descriptor, which follows, destroys it in any case.
            let _ = self.control.snapshot_destroy(self.id.0);
        }
    }
}
