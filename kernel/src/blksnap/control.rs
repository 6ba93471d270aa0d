// SPDX-License-Identifier: GPL-2.0-only

//! Commands to `/dev/blksnap-control`. An open file is a session: the snapshots bound to it end with it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::cow::Policy;
use blksnap_uapi::control::{self, EventCorrupted, EventNoSpace, SnapshotCollect, SnapshotCreate, SnapshotEvent, Version};
use blksnap_uapi::extended::{self, Devices, EventLowSpace, Extent, Features, Members, SnapshotOpen, SnapshotStat, StoreAdd};
use blksnap_uapi::{ioc, Abi};
use kern::control::Session;
use kern::errno::{Errno, Result};
use kern::misc::is_admin;
use kern::sync::{Class, Mutex};
use kern::user::UserPtr;
use kern::vec::TryPush;

use crate::ctl::{question, read_versioned, write_versioned};
use crate::events::{Events, What};
use crate::registry::{self, Registry};
use crate::snapshot::{self, Phase, Snapshot, Wishes};
use crate::store::Store;
use crate::take;

/// Nobody's writes are held at a gate for longer than this.
const GATE_MOST_MS: u32 = 60_000;

/// An open control file.
pub(crate) struct ControlSession {
    bound: Mutex<Vec<Bound>>,
}

/// A snapshot that ends with the file.
struct Bound {
    id: [u8; 16],
    events: Arc<Events>,
}

impl Session for ControlSession {
    type Shared = Registry;

    fn open(_: &Arc<Registry>) -> Result<Self> {
        if !is_admin() {
            return Err(Errno::EPERM);
        }
        Ok(ControlSession { bound: Mutex::new(Class::Session, Vec::new())? })
    }

    fn ioctl(&self, cmd: u32, arg: UserPtr) -> Result<u32> {
        let answer = match cmd {
            control::IOCTL_BLKSNAP_VERSION => version(arg),
            control::IOCTL_BLKSNAP_SNAPSHOT_CREATE => create(arg),
            control::IOCTL_BLKSNAP_SNAPSHOT_DESTROY => snapshot::destroy(&id_at(arg)?),
            control::IOCTL_BLKSNAP_SNAPSHOT_TAKE => take::take(&id_at(arg)?),
            control::IOCTL_BLKSNAP_SNAPSHOT_COLLECT => collect(arg),
            control::IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT => wait_event(arg),
            _ if ioc::type_of(cmd) != control::BLKSNAP_IOCTL_TYPE => Err(Errno::ENOTTY),
            _ => match ioc::nr_of(cmd) {
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_FEATURES) => features(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_SNAPSHOT_OPEN) => self.open_snapshot(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_SNAPSHOT_STAT) => stat(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_DEVICES) => devices(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_STORE_ADD) => add_store(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_MEMBERS) => members(arg),
                _ => Err(Errno::ENOTTY),
            },
        };
        answer.map(|()| 0)
    }

    fn ready(&self) -> bool {
        self.bound.lock().iter().any(|bound| bound.events.any())
    }
}

impl Drop for ControlSession {
    fn drop(&mut self) {
        for bound in core::mem::take(&mut *self.bound.lock()) {
            snapshot::abandon(&bound.id);
        }
    }
}

impl ControlSession {
    fn keep(&self, snapshot: &Snapshot) -> Result {
        let mut all = self.bound.lock();
        all.retain(|bound| !bound.events.closed());
        all.try_push(Bound { id: snapshot.id, events: snapshot.events.clone() }).map_err(|_| Errno::ENOMEM)
    }

    fn open_snapshot(&self, arg: UserPtr) -> Result {
        let mut asked = read_versioned::<SnapshotOpen>(arg, None)?;
        if asked.flags & !extended::BLKSNAP_OPEN_BOUND != 0 {
            return Err(Errno::EINVAL);
        }
        let policy = match asked.policy {
            extended::BLKSNAP_POLICY_HOLD => Policy::Hold,
            extended::BLKSNAP_POLICY_GIVE_UP => Policy::GiveUp,
            _ => return Err(Errno::EINVAL),
        };
        let bound = asked.flags & extended::BLKSNAP_OPEN_BOUND != 0;
        let store = Asked {
            kind: asked.store_kind,
            limit: asked.limit,
            path: asked.path,
            fd: asked.fd,
            extent_count: asked.extent_count,
            extents: asked.extents,
        };
        let store = store.open()?;
        let gate_timeout_ms = match asked.gate_timeout_ms {
            0 => extended::BLKSNAP_GATE_TIMEOUT_MS,
            ms => ms.min(GATE_MOST_MS),
        };
        let wishes = Wishes { gate_timeout_ms, policy, copy_memory_kib: asked.copy_memory_kib, warns: true };
        let snapshot = snapshot::create(store, wishes)?;
        asked.id = snapshot.id;
        let kept = if bound { self.keep(&snapshot) } else { Ok(()) };
        kept.and_then(|()| write_versioned(arg, asked.size, &asked)).inspect_err(|_| {
            // The caller does not know it: nobody would ever destroy it.
            let _ = snapshot::destroy(&snapshot.id);
        })
    }
}

/// A difference storage as the caller describes it.
struct Asked {
    kind: u32,
    limit: u64,
    path: u64,
    fd: i32,
    extent_count: u32,
    extents: u64,
}

/// Extents that a caller may name.
const EXTENTS_MOST: u32 = 1 << 20;

impl Asked {
    /// Sleeps, with I/O.
    fn open(&self) -> Result<Arc<Store>> {
        match self.kind {
            extended::BLKSNAP_STORE_MEMORY => Store::in_memory(self.limit),
            extended::BLKSNAP_STORE_PATH => store_at(UserPtr::new(self.path), self.limit),
            extended::BLKSNAP_STORE_EXTENTS => {
                if self.extent_count > EXTENTS_MOST {
                    return Err(Errno::EINVAL);
                }
                let mut wanted = Vec::new();
                let from = UserPtr::new(self.extents);
                for i in 0..u64::from(self.extent_count) {
                    let mut bytes = [0; Extent::SIZE];
                    from.add(i * Extent::SIZE as u64).read(&mut bytes)?;
                    let extent = Extent::from_bytes(&bytes);
                    wanted.try_push((extent.offset, extent.length)).map_err(|_| Errno::ENOMEM)?;
                }
                Store::in_extents(self.fd, &wanted, self.limit)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

fn add_store(arg: UserPtr) -> Result {
    let asked = read_versioned::<StoreAdd>(arg, None)?;
    let store = Asked {
        kind: asked.kind,
        limit: asked.limit,
        path: asked.path,
        fd: asked.fd,
        extent_count: asked.extent_count,
        extents: asked.extents,
    };
    // Not opened, and pinned, for nobody.
    registry::get()?.snapshot(&asked.id).ok_or(Errno::ESRCH)?;
    snapshot::add_store(&asked.id, store.open()?)
}

fn store_at(path: UserPtr, limit: u64) -> Result<Arc<Store>> {
    let mut text = kern::alloc::try_vec(4096, 0_u8)?;
    let n = path.read_str(&mut text)?;
    Store::at_path(text.get(..=n).ok_or(Errno::ENAMETOOLONG)?, limit)
}

fn id_at(arg: UserPtr) -> Result<[u8; 16]> {
    let mut id = [0; 16];
    arg.read(&mut id)?;
    Ok(id)
}

fn write<T: Abi>(arg: UserPtr, value: &T) -> Result {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..T::SIZE).ok_or(Errno::EINVAL)?;
    value.write_to(bytes);
    arg.write(bytes)
}

fn version(arg: UserPtr) -> Result {
    write(arg, &Version { major: 0, minor: 1, revision: 0, build: 0 })
}

fn create(arg: UserPtr) -> Result {
    let mut asked: SnapshotCreate = question(arg, SnapshotCreate::SIZE as u32)?;
    let limit = asked.diff_storage_limit_sect.checked_mul(512).ok_or(Errno::EINVAL)?;
    let store = store_at(UserPtr::new(asked.diff_storage_filename), limit)?;
    let wishes =
        Wishes { gate_timeout_ms: extended::BLKSNAP_GATE_TIMEOUT_MS, policy: Policy::Hold, copy_memory_kib: 0, warns: false };
    let snapshot = snapshot::create(store, wishes)?;
    asked.id = snapshot.id;
    write(arg, &asked).inspect_err(|_| {
        let _ = snapshot::destroy(&snapshot.id);
    })
}

fn collect(arg: UserPtr) -> Result {
    let mut asked: SnapshotCollect = question(arg, SnapshotCollect::SIZE as u32)?;
    let mut ids = Vec::new();
    for snapshot in &registry::get()?.lock().snapshots {
        ids.try_push(snapshot.id).map_err(|_| Errno::ENOMEM)?;
    }
    let room = asked.count as usize;
    asked.count = ids.len() as u32;
    let to = UserPtr::new(asked.ids);
    if to.is_null() {
        return write(arg, &asked);
    }
    if room < ids.len() {
        write(arg, &asked)?;
        return Err(Errno::ENODATA);
    }
    for (i, id) in ids.iter().enumerate() {
        to.add(i as u64 * 16).write(id)?;
    }
    write(arg, &asked)
}

fn wait_event(arg: UserPtr) -> Result {
    // The head of the struct; its data follows, and is written as far as the event has any.
    const HEAD: usize = 32;
    let mut head = [0; HEAD];
    arg.read(&mut head)?;
    let mut id = [0; 16];
    id.copy_from_slice(head.get(..16).ok_or(Errno::EINVAL)?);
    let mut ms = [0; 4];
    ms.copy_from_slice(head.get(16..20).ok_or(Errno::EINVAL)?);
    let snapshot = registry::get()?.snapshot(&id).ok_or(Errno::ESRCH)?;
    let event = snapshot.events.wait(u32::from_ne_bytes(ms))?;
    let (code, mut data) = (
        match event.what {
            What::Corrupted { .. } => control::BLKSNAP_EVENT_CODE_CORRUPTED,
            What::NoSpace { .. } => control::BLKSNAP_EVENT_CODE_NO_SPACE,
            What::LowSpace { .. } => extended::BLKSNAP_EVENT_CODE_LOW_SPACE,
        },
        [0; EventLowSpace::SIZE],
    );
    match event.what {
        What::Corrupted { device: (major, minor), error } => {
            let event = EventCorrupted { dev_id_mj: major, dev_id_mn: minor, err_code: error.to_c() };
            event.write_to(data.get_mut(..EventCorrupted::SIZE).ok_or(Errno::EINVAL)?);
        }
        What::NoSpace { sectors } => {
            let event = EventNoSpace { requested_nr_sect: sectors };
            event.write_to(data.get_mut(..EventNoSpace::SIZE).ok_or(Errno::EINVAL)?);
        }
        What::LowSpace { used, limit, full_in_ms } => EventLowSpace { used, limit, full_in_ms }.write_to(&mut data),
    }
    // code and time_label stand behind id and timeout_ms.
    let mut out = [0; 12];
    out.get_mut(..4).ok_or(Errno::EINVAL)?.copy_from_slice(&code.to_ne_bytes());
    out.get_mut(4..).ok_or(Errno::EINVAL)?.copy_from_slice(&(event.time_ns as i64).to_ne_bytes());
    arg.add(20).write(&out)?;
    debug_assert!(SnapshotEvent::SIZE == 4096, "the head is what is read here");
    arg.add(HEAD as u64).write(&data)
}

fn features(arg: UserPtr) -> Result {
    let asked = read_versioned::<Features>(arg, None)?;
    let answer = Features {
        size: asked.size,
        abi: extended::BLKSNAP_ABI,
        features: extended::BLKSNAP_FEATURE_MEMORY_STORE
            | extended::BLKSNAP_FEATURE_EXTENTS
            | extended::BLKSNAP_FEATURE_BOUND
            | extended::BLKSNAP_FEATURE_WRITABLE_IMAGE
            | extended::BLKSNAP_FEATURE_SHARED
            | extended::BLKSNAP_FEATURE_FREE
            | extended::BLKSNAP_FEATURE_CONSUMERS
            | extended::BLKSNAP_FEATURE_POLICY
            | extended::BLKSNAP_FEATURE_STORE_ADD
            | extended::BLKSNAP_FEATURE_STORE_EXTENTS
            | extended::BLKSNAP_FEATURE_MEMBERS
            | extended::BLKSNAP_FEATURE_PREDICTION
            | extended::BLKSNAP_FEATURE_POLL,
        block_size: 4096,
        ..Features::ZERO
    };
    write_versioned(arg, asked.size, &answer)
}

fn stat(arg: UserPtr) -> Result {
    let asked = read_versioned::<SnapshotStat>(arg, None)?;
    let snapshot = registry::get()?.snapshot(&asked.id).ok_or(Errno::ESRCH)?;
    let stores = snapshot.stores()?;
    let sizes = stores.sizes();
    let inner = snapshot.inner.lock();
    let images = || inner.members.iter().filter_map(|m| m.image.as_ref());
    let failure = images().find_map(|image| image.failure());
    let state = match (inner.phase, failure) {
        (_, Some(_)) => extended::BLKSNAP_STATE_FAILED,
        (Phase::Taken, None) => extended::BLKSNAP_STATE_TAKEN,
        _ => extended::BLKSNAP_STATE_CREATED,
    };
    let memory = images().map(|image| image.memory() + image.chain.figures().memory).sum::<u64>();
    let answer = SnapshotStat {
        size: asked.size,
        state,
        id: asked.id,
        error: failure.map_or(0, Errno::to_c),
        devices: inner.members.len() as u32,
        gate_ns: inner.gate_ns,
        taken_ns: inner.taken_ns,
        store_capacity: sizes.capacity,
        store_used: sizes.used,
        store_limit: sizes.limit,
        memory: memory + stores.memory(),
        full_in_ms: sizes.full_in_ms,
        policy: match snapshot.wishes.policy {
            Policy::Hold => extended::BLKSNAP_POLICY_HOLD,
            Policy::GiveUp => extended::BLKSNAP_POLICY_GIVE_UP,
        },
        ..SnapshotStat::ZERO
    };
    drop(inner);
    write_versioned(arg, asked.size, &answer)
}

fn devices(arg: UserPtr) -> Result {
    let mut asked = read_versioned::<Devices>(arg, None)?;
    let mut all = Vec::new();
    {
        let registry = registry::get()?;
        let lists = registry.lock();
        for device in &lists.devices {
            let tracking = device.tracking()?;
            let history = tracking.history.lock();
            let (major, minor) = device.number();
            let entry = extended::Device {
                major,
                minor,
                capacity: tracking.capacity(),
                generation: history.generation(),
                number: history.number(),
                snapshot: [0; 16],
                block_size: tracking.block_size(),
                snapshots: 0,
            };
            drop(history);
            all.try_push((device.clone(), entry)).map_err(|_| Errno::ENOMEM)?;
        }
        for snapshot in &lists.snapshots {
            let inner = snapshot.inner.lock();
            for (device, entry) in &mut all {
                if inner.members.iter().any(|m| Arc::ptr_eq(&m.device, device)) {
                    entry.snapshot = snapshot.id;
                    entry.snapshots += 1;
                }
            }
        }
    }
    let room = asked.count as usize;
    asked.count = all.len() as u32;
    if room < all.len() {
        write_versioned(arg, asked.size, &asked)?;
        return Err(Errno::ENODATA);
    }
    let to = UserPtr::new(asked.entries);
    for (i, (_, entry)) in all.iter().enumerate() {
        write(to.add((i * extended::Device::SIZE) as u64), entry)?;
    }
    write_versioned(arg, asked.size, &asked)
}

fn members(arg: UserPtr) -> Result {
    let mut asked = read_versioned::<Members>(arg, None)?;
    let snapshot = registry::get()?.snapshot(&asked.id).ok_or(Errno::ESRCH)?;
    let mut all = Vec::new();
    for member in &snapshot.inner.lock().members {
        let (major, minor) = member.device.number();
        let entry = extended::Member {
            major,
            minor,
            error: member.image.as_ref().and_then(|image| image.failure()).map_or(0, Errno::to_c),
            flags: 0,
            image: member.disk.as_ref().map_or([0; 32], |disk| disk.name()),
            number: member.image.as_ref().map_or(0, |image| image.number),
        };
        all.try_push(entry).map_err(|_| Errno::ENOMEM)?;
    }
    let room = asked.count as usize;
    asked.count = all.len() as u32;
    if room < all.len() {
        write_versioned(arg, asked.size, &asked)?;
        return Err(Errno::ENODATA);
    }
    let to = UserPtr::new(asked.entries);
    for (i, entry) in all.iter().enumerate() {
        write(to.add((i * extended::Member::SIZE) as u64), entry)?;
    }
    write_versioned(arg, asked.size, &asked)
}
