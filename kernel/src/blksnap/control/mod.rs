// SPDX-License-Identifier: GPL-2.0-only

//! Commands to `/dev/blksnap-control`. An open file is a session: the snapshots bound to it end with it.

mod event;
mod query;

use alloc::sync::Arc;
use alloc::vec::Vec;

use blksnap_core::cow::Policy;
use blksnap_uapi::compat::{self, SnapshotCollect32};
use blksnap_uapi::control::{self, SnapshotCreate};
use blksnap_uapi::extended::{self, Extent, SnapshotOpen, StoreAdd};
use blksnap_uapi::{ioc, Abi};
use kern::control::Session;
use kern::errno::{Errno, Result};
use kern::misc::{is_admin, is_compat};
use kern::sync::{Class, Mutex};
use kern::user::UserPtr;
use kern::vec::TryPush;

use crate::ctl::{question, read_versioned, write_versioned};
use crate::events::Events;
use crate::registry::{self, Registry};
use crate::snapshot::{self, Snapshot, Wishes};
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
            control::IOCTL_BLKSNAP_VERSION => query::version(arg),
            control::IOCTL_BLKSNAP_SNAPSHOT_CREATE => create(arg),
            control::IOCTL_BLKSNAP_SNAPSHOT_DESTROY => snapshot::destroy(&id_at(arg)?),
            control::IOCTL_BLKSNAP_SNAPSHOT_TAKE => take::take(&id_at(arg)?),
            control::IOCTL_BLKSNAP_SNAPSHOT_COLLECT => query::collect(arg, fixed(arg)?),
            compat::SNAPSHOT_COLLECT if is_compat() => query::collect(arg, fixed::<SnapshotCollect32>(arg)?.into()),
            control::IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT => event::wait(arg),
            _ if ioc::type_of(cmd) != control::BLKSNAP_IOCTL_TYPE => Err(Errno::ENOTTY),
            _ => match ioc::nr_of(cmd) {
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_FEATURES) => query::features(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_SNAPSHOT_OPEN) => self.open_snapshot(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_SNAPSHOT_STAT) => query::stat(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_DEVICES) => query::devices(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_STORE_ADD) => add_store(arg),
                n if n == ioc::nr_of(extended::IOCTL_BLKSNAP_MEMBERS) => query::members(arg),
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

/// Reads a struct whose size is in the ioctl's number.
fn fixed<T: Abi>(arg: UserPtr) -> Result<T> {
    question(arg, T::SIZE as u32)
}

fn write<T: Abi>(arg: UserPtr, value: &T) -> Result {
    let mut bytes = [0; 64];
    let bytes = bytes.get_mut(..T::SIZE).ok_or(Errno::EINVAL)?;
    value.write_to(bytes);
    arg.write(bytes)
}

fn create(arg: UserPtr) -> Result {
    let mut asked: SnapshotCreate = fixed(arg)?;
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
