// SPDX-License-Identifier: MIT OR Apache-2.0
//! The door to the simulated kernel.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use blksnap::door::{Control, Device, DeviceNumber, Door, Facts, OpenRequest, StorePlace};
use blksnap::mounts::Mount;
use blksnap::uapi::Abi;
use blksnap::uapi::control::{SnapshotEvent, Version};
use blksnap::uapi::ctl::{CbtInfo, SectorRange, SnapshotInfo};
use blksnap::uapi::extended::{
    BLKSNAP_ABI, BLKSNAP_CONSUMER_GET, BLKSNAP_CONSUMER_LIST, BLKSNAP_CONSUMER_REMOVE,
    BLKSNAP_CONSUMER_SET, BLKSNAP_EVENT_CODE_LOW_SPACE, BLKSNAP_FULL_NEVER, BLKSNAP_STATE_CREATED,
    BLKSNAP_STATE_FAILED, BLKSNAP_STATE_TAKEN, CbtState, Consumer, Device as DeviceEntry,
    EventLowSpace, Extent, Features, ImageStat, Member as MemberEntry, SnapshotStat,
};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::state::{Attachment, BLOCK_BYTES, Member, Snapshot, State};

/// Images asked for their figures by this process, for [`Faults::hang`](crate::Faults::hang).
static QUESTIONS: AtomicU32 = AtomicU32::new(0);

/// A simulated kernel.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    root: PathBuf,
}

impl FakeKernel {
    /// The kernel kept in a folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.root
    }

    pub(crate) fn with_state<T>(
        &self,
        operation: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        State::with(&self.root, operation)
    }
}

fn id_text(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_bytes(text: &str) -> [u8; 16] {
    u128::from_str_radix(text, 16)
        .expect("ids are hexadecimal")
        .to_be_bytes()
}

fn generation_bytes(counter: u64) -> [u8; 16] {
    (0x6e65_0000_0000_4000_8000_0000_0000_0000_u128 | u128::from(counter)).to_be_bytes()
}

/// Minor numbers follow the names.
fn number(name: &str) -> DeviceNumber {
    DeviceNumber {
        major: 7,
        minor: name
            .bytes()
            .fold(0, |sum, byte| sum * 31 % 65536 + u32::from(byte)),
    }
}

/// A NUL-padded name.
fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// What a place is called; `ENOENT` when there is nothing.
fn place(place: StorePlace<'_>) -> io::Result<String> {
    Ok(match place {
        StorePlace::Memory => "memory".to_owned(),
        StorePlace::Path(path) if !path.exists() => return Err(Errno::NOENT.into()),
        StorePlace::Path(path) => path.display().to_string(),
        StorePlace::Extents(file) => format!("own {}", file.metadata()?.len()),
    })
}

impl Door for FakeKernel {
    fn control(&self) -> io::Result<Box<dyn Control>> {
        self.with_state(|state| match state.faults {
            crate::Faults { unloaded: true, .. } => Err(Errno::NOENT.into()),
            crate::Faults {
                fail_control: Some(errno),
                ..
            } => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        })?;
        Ok(Box::new(FakeControl {
            kernel: self.clone(),
            owned: Mutex::default(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Device>> {
        let metadata = fs::metadata(path)?;
        if path.parent() != Some(&self.root.join("dev")) {
            return Err(Errno::NOTBLK.into());
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (identity, held) = self.with_state(|state| {
            Ok((
                state.faults.identity.get(&name).cloned(),
                state.faults.held.get(&name).cloned(),
            ))
        })?;
        let holders: Vec<String> = held.into_iter().collect();
        // `vdb1` and `vdb` overlap.
        let disk = name
            .trim_end_matches(|last: char| last.is_ascii_digit())
            .to_owned();
        let relatives = (disk != name).then_some(disk);
        let facts = Facts {
            path: path.to_owned(),
            number: number(&name),
            size_bytes: metadata.len(),
            identity: identity.unwrap_or_else(|| format!("kernel:{name}")),
            holders,
            relatives: relatives.into_iter().map(|name| number(&name)).collect(),
            name,
        };
        Ok(Box::new(FakeDevice {
            kernel: self.clone(),
            facts,
        }))
    }

    fn path_of(&self, wanted: DeviceNumber) -> Option<PathBuf> {
        let entries = fs::read_dir(self.root.join("dev")).ok()?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| number(&name.to_string_lossy()) == wanted)
        })
    }

    fn image_path(&self, name: &str) -> PathBuf {
        self.root.join("dev").join(name)
    }

    fn devices_under(&self, _path: &Path) -> Vec<DeviceNumber> {
        let under = self.with_state(|state| Ok(state.faults.under.clone()));
        under
            .ok()
            .flatten()
            .iter()
            .map(|name| number(name))
            .collect()
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        self.with_state(|state| {
            let mounts = state.mounted.iter().map(|(name, mounted)| Mount {
                number: number(name),
                point: Path::new("/mnt").join(name),
                kind: mounted.kind.clone(),
                source: self.root.join("dev").join(name),
            });
            Ok(mounts.collect())
        })
    }

    fn free_space(&self, path: &Path, kind: &str) -> io::Result<Vec<Extent>> {
        self.with_state(|state| {
            let mut members = state
                .snapshots
                .values()
                .flat_map(|snapshot| &snapshot.devices);
            let (name, member) = members
                .find(|(_, member)| {
                    member
                        .image
                        .as_ref()
                        .is_some_and(|image| path.ends_with(image))
                })
                .ok_or(Errno::NXIO)?;
            let mounted = state.mounted.get(name).ok_or(Errno::INVAL)?;
            assert_eq!(mounted.kind, kind);
            if let Some(why) = &mounted.refuses {
                return Err(io::Error::other(why.clone()));
            }
            let extent = |&(offset, length): &(u64, u64)| Extent { offset, length };
            Ok(member.unused.iter().map(extent).collect())
        })
    }

    fn kernel_release(&self) -> String {
        "6.12.0-fake".to_owned()
    }

    fn module_loaded(&self, _name: &str) -> bool {
        self.with_state(|state| Ok(!state.faults.unloaded))
            .unwrap_or(false)
    }
}

#[derive(Debug)]
struct FakeControl {
    kernel: FakeKernel,
    /// Locks of the snapshots bound to this descriptor.
    owned: Mutex<Vec<File>>,
}

impl Control for FakeControl {
    fn version(&self) -> io::Result<Version> {
        Ok(Version {
            major: 1,
            minor: 2,
            revision: 3,
            build: 4,
        })
    }

    fn features(&self) -> io::Result<Features> {
        let without = self.kernel.with_state(|state| Ok(state.faults.without))?;
        Ok(Features {
            size: 24,
            abi: BLKSNAP_ABI,
            features: 0xfff & !without,
            block_size: 4096,
            reserved: 0,
        })
    }

    fn snapshot_create(&self, store: &Path, _limit_sectors: u64) -> io::Result<[u8; 16]> {
        self.snapshot_open(&OpenRequest {
            bound: false,
            store: StorePlace::Path(store),
            limit: 0,
            gate_timeout_ms: 0,
            policy: 0,
            copy_memory_kib: 0,
        })
    }

    fn snapshot_open(&self, request: &OpenRequest<'_>) -> io::Result<[u8; 16]> {
        let store = place(request.store)?;
        self.kernel.with_state(|state| {
            state.counter += 1;
            let id = generation_bytes(state.counter);
            if request.bound {
                let lock = File::create(self.kernel.root.join("bound").join(id_text(id)))?;
                flock(&lock, FlockOperation::LockExclusive)?;
                self.owned.lock().expect("no panic").push(lock);
            }
            let snapshot = Snapshot {
                bound: request.bound,
                taken: false,
                error: 0,
                devices: Default::default(),
                stores: vec![store],
                policy: request.policy,
                copy_memory_kib: request.copy_memory_kib,
            };
            state.snapshots.insert(id_text(id), snapshot);
            Ok(id)
        })
    }

    fn snapshot_take(&self, id: [u8; 16]) -> io::Result<()> {
        let root = &self.kernel.root;
        self.kernel.with_state(|state| {
            let State {
                attachments,
                snapshots,
                counter,
                faults,
                mounted,
            } = state;
            let snapshot = snapshots.get_mut(&id_text(id)).ok_or(Errno::SRCH)?;
            if snapshot.taken {
                return Err(Errno::ALREADY.into());
            }
            if snapshot.devices.is_empty() {
                return Err(Errno::NODEV.into());
            }
            if let Some(errno) = faults.fail_take {
                return Err(io::Error::from_raw_os_error(errno));
            }
            for (device, member) in &mut snapshot.devices {
                let attachment = attachments.get_mut(device).ok_or(Errno::NODEV)?;
                attachment.take(root, device)?;
                member.number = attachment.number;
                member.unused = mounted
                    .get(device)
                    .map_or(Vec::new(), |mounted| mounted.free.clone());
                *counter += 1;
                let name = format!("blksnap-image{counter}");
                fs::copy(root.join("dev").join(device), root.join("dev").join(&name))?;
                if faults.fail_after_take.is_some() {
                    let file = File::options()
                        .write(true)
                        .open(root.join("dev").join(&name))?;
                    file.set_len(file.metadata()?.len() / 2)?;
                }
                member.image = Some(name);
            }
            snapshot.taken = true;
            snapshot.error = faults.fail_after_take.map_or(0, |errno| -errno);
            Ok(())
        })
    }

    fn snapshot_destroy(&self, id: [u8; 16]) -> io::Result<()> {
        let root = &self.kernel.root;
        self.kernel.with_state(|state| {
            if state.destroy(root, &id_text(id))? {
                Ok(())
            } else {
                Err(Errno::NODEV.into())
            }
        })
    }

    fn snapshot_collect(&self) -> io::Result<Vec<[u8; 16]>> {
        self.kernel
            .with_state(|state| Ok(state.snapshots.keys().map(|id| id_bytes(id)).collect()))
    }

    fn snapshot_stat(&self, id: [u8; 16]) -> io::Result<SnapshotStat> {
        self.kernel.with_state(|state| {
            let snapshot = state.snapshots.get(&id_text(id)).ok_or(Errno::SRCH)?;
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            Ok(SnapshotStat {
                size: SnapshotStat::SIZE as u32,
                state: match snapshot {
                    Snapshot {
                        error: 1.. | ..=-1, ..
                    } => BLKSNAP_STATE_FAILED,
                    Snapshot { taken: true, .. } => BLKSNAP_STATE_TAKEN,
                    _ => BLKSNAP_STATE_CREATED,
                },
                id,
                error: snapshot.error,
                devices: snapshot.devices.len() as u32,
                gate_ns: if snapshot.taken { 250_000 } else { 0 },
                taken_ns: if snapshot.taken {
                    now.as_nanos() as u64
                } else {
                    0
                },
                store_capacity: 1 << 20,
                store_used: 8192,
                store_limit: 1 << 30,
                memory: 4096,
                full_in_ms: state.faults.full_in_ms.unwrap_or(BLKSNAP_FULL_NEVER),
                policy: snapshot.policy,
                reserved: 0,
            })
        })
    }

    fn store_add(&self, id: [u8; 16], at: StorePlace<'_>, _limit: u64) -> io::Result<()> {
        let store = place(at)?;
        self.kernel.with_state(|state| {
            let snapshot = state.snapshots.get_mut(&id_text(id)).ok_or(Errno::SRCH)?;
            snapshot.stores.push(store);
            Ok(())
        })
    }

    fn members(&self, id: [u8; 16]) -> io::Result<Vec<MemberEntry>> {
        self.kernel.with_state(|state| {
            let snapshot = state.snapshots.get(&id_text(id)).ok_or(Errno::SRCH)?;
            let members = snapshot.devices.iter().map(|(name, member)| MemberEntry {
                major: number(name).major,
                minor: number(name).minor,
                error: snapshot.error,
                flags: 0,
                image: padded(member.image.as_deref().unwrap_or_default()),
                number: member.number,
            });
            Ok(members.collect())
        })
    }

    fn wait_event(&self, id: [u8; 16], timeout: Duration) -> io::Result<SnapshotEvent> {
        let begun = Instant::now();
        let (stat, full_in_ms) = loop {
            let stat = self.snapshot_stat(id)?;
            let soon = self
                .kernel
                .with_state(|state| Ok(state.faults.full_in_ms.take()))?;
            match soon {
                Some(full_in_ms) => break (stat, full_in_ms),
                None if begun.elapsed() >= timeout => return Err(Errno::NOENT.into()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut event = SnapshotEvent {
            id,
            code: BLKSNAP_EVENT_CODE_LOW_SPACE,
            ..SnapshotEvent::ZERO
        };
        let data = EventLowSpace {
            used: stat.store_used,
            limit: stat.store_limit,
            full_in_ms,
        };
        data.write_to(&mut event.data);
        Ok(event)
    }

    fn devices(&self) -> io::Result<Vec<DeviceEntry>> {
        self.kernel.with_state(|state| {
            let entries = state
                .attachments
                .iter()
                .map(|(name, attachment)| DeviceEntry {
                    major: number(name).major,
                    minor: number(name).minor,
                    capacity: attachment.size_bytes,
                    generation: generation_bytes(attachment.generation),
                    number: attachment.number,
                    snapshot: state
                        .snapshots_of(name)
                        .next_back()
                        .map_or([0; 16], |(id, _)| id_bytes(id)),
                    block_size: BLOCK_BYTES as u32,
                    snapshots: state.snapshots_of(name).count() as u32,
                });
            Ok(entries.collect())
        })
    }
}

#[derive(Debug)]
struct FakeDevice {
    kernel: FakeKernel,
    facts: Facts,
}

impl FakeDevice {
    fn attached<T>(
        &self,
        operation: impl FnOnce(&mut Attachment) -> io::Result<T>,
    ) -> io::Result<T> {
        self.kernel.with_state(|state| {
            if state.faults.unloaded {
                return Err(Errno::NOTTY.into());
            }
            operation(
                state
                    .attachments
                    .get_mut(&self.facts.name)
                    .ok_or(Errno::NOENT)?,
            )
        })
    }

    fn member<'a>(&self, state: &'a mut State, id: [u8; 16]) -> io::Result<&'a mut Member> {
        let snapshot = state.snapshots.get_mut(&id_text(id)).ok_or(Errno::SRCH)?;
        Ok(snapshot
            .devices
            .get_mut(&self.facts.name)
            .ok_or(Errno::NOENT)?)
    }
}

impl Device for FakeDevice {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn attach(&self, force: bool) -> io::Result<()> {
        let (root, name) = (&self.kernel.root, &self.facts.name);
        self.kernel.with_state(|state| {
            if state.faults.unloaded {
                return Err(Errno::NOTTY.into());
            }
            if state.attachments.contains_key(name) {
                return Err(Errno::ALREADY.into());
            }
            let attached =
                |other: &DeviceNumber| state.attachments.keys().any(|name| number(name) == *other);
            if !force && !self.facts.holders.is_empty() || self.facts.relatives.iter().any(attached)
            {
                return Err(Errno::BUSY.into());
            }
            fs::copy(&self.facts.path, root.join("last").join(name))?;
            state.counter += 1;
            let size_bytes = self.facts.size_bytes;
            let changed = vec![0; size_bytes.div_ceil(BLOCK_BYTES) as usize];
            let attachment = Attachment {
                generation: state.counter,
                number: 0,
                changed,
                size_bytes,
                consumers: Default::default(),
                dirty: Default::default(),
            };
            state.attachments.insert(name.clone(), attachment);
            Ok(())
        })
    }

    fn detach(&self) -> io::Result<()> {
        self.kernel.with_state(|state| {
            if state.snapshots_of(&self.facts.name).next().is_some() {
                return Err(Errno::BUSY.into());
            }
            state
                .attachments
                .remove(&self.facts.name)
                .map(drop)
                .ok_or(Errno::NOENT.into())
        })
    }

    fn cbt_info(&self) -> io::Result<CbtInfo> {
        self.attached(|attachment| {
            Ok(CbtInfo {
                device_capacity: attachment.size_bytes,
                block_size: BLOCK_BYTES as u32,
                block_count: attachment.changed.len() as u32,
                generation_id: generation_bytes(attachment.generation),
                changes_number: attachment.number as u8,
                ..CbtInfo::ZERO
            })
        })
    }

    fn cbt_map(&self, offset: u32, map: &mut [u8]) -> io::Result<()> {
        self.attached(|attachment| {
            let range = attachment
                .changed
                .get(offset as usize..offset as usize + map.len())
                .ok_or(Errno::NODATA)?;
            map.iter_mut()
                .zip(range)
                .for_each(|(to, from)| *to = *from as u8);
            Ok(())
        })
    }

    fn cbt_dirty(&self, ranges: &[SectorRange]) -> io::Result<()> {
        self.attached(|attachment| {
            let sectors = attachment.size_bytes.div_ceil(512);
            for range in ranges.iter().filter(|range| range.count > 0) {
                let end = range.offset.checked_add(range.count).ok_or(Errno::INVAL)?;
                if end > sectors {
                    return Err(Errno::INVAL.into());
                }
                let blocks = range.offset * 512 / BLOCK_BYTES..(end * 512).div_ceil(BLOCK_BYTES);
                attachment.dirty.extend(blocks.map(|block| block as usize));
            }
            Ok(())
        })
    }

    fn snapshot_add(&self, id: [u8; 16], shared: bool) -> io::Result<()> {
        let name = &self.facts.name;
        self.kernel.with_state(|state| {
            if !state.attachments.contains_key(name) {
                return Err(Errno::NOENT.into());
            }
            let here = id_text(id);
            if state.snapshots_of(name).any(|(id, _)| *id == here) {
                return Err(Errno::ALREADY.into());
            }
            if !shared && state.snapshots_of(name).next().is_some() {
                return Err(Errno::BUSY.into());
            }
            let snapshot = state.snapshots.get_mut(&here).ok_or(Errno::SRCH)?;
            snapshot.devices.insert(name.clone(), Member::default());
            Ok(())
        })
    }

    fn free(&self, id: [u8; 16], extents: &[Extent]) -> io::Result<u64> {
        let dev = self.kernel.root.join("dev");
        self.kernel.with_state(|state| {
            let member = self.member(state, id)?;
            let image = File::options()
                .write(true)
                .open(dev.join(member.image.as_ref().ok_or(Errno::SRCH)?))?;
            for extent in extents {
                image.write_all_at(&vec![0; extent.length as usize], extent.offset)?;
                member.free += extent.length;
            }
            Ok(extents.iter().map(|extent| extent.length).sum())
        })
    }

    fn consumer(&self, argument: &mut Consumer) -> io::Result<()> {
        self.attached(|attachment| {
            let name = argument
                .name
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            let found = match argument.op {
                BLKSNAP_CONSUMER_GET => attachment.consumers.get_key_value(&name),
                BLKSNAP_CONSUMER_LIST => attachment.consumers.iter().nth(argument.index as usize),
                BLKSNAP_CONSUMER_REMOVE => {
                    return attachment
                        .consumers
                        .remove(&name)
                        .map(drop)
                        .ok_or(Errno::NOENT.into());
                }
                BLKSNAP_CONSUMER_SET
                    if argument.generation != generation_bytes(attachment.generation) =>
                {
                    return Err(Errno::STALE.into());
                }
                BLKSNAP_CONSUMER_SET if argument.number > attachment.number => {
                    return Err(Errno::RANGE.into());
                }
                BLKSNAP_CONSUMER_SET => {
                    attachment.consumers.insert(name, argument.number);
                    return Ok(());
                }
                _ => return Err(Errno::INVAL.into()),
            };
            let (name, number) = found.ok_or(Errno::NOENT)?;
            argument.name = padded(name);
            argument.generation = generation_bytes(attachment.generation);
            argument.number = *number;
            Ok(())
        })
    }

    fn snapshot_info(&self) -> io::Result<SnapshotInfo> {
        self.attached(|_| Ok(()))?;
        match self.image_stat([0; 16]) {
            Ok(stat) => Ok(SnapshotInfo {
                error_code: stat.error,
                image: stat.image,
            }),
            // In no snapshot.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                Ok(SnapshotInfo::ZERO)
            }
            Err(error) => Err(error),
        }
    }

    fn cbt_state(&self) -> io::Result<CbtState> {
        self.attached(|attachment| {
            Ok(CbtState {
                size: 56,
                block_size: BLOCK_BYTES as u32,
                capacity: attachment.size_bytes,
                generation: generation_bytes(attachment.generation),
                number: attachment.number,
                block_count: attachment.changed.len() as u64,
                memory: 1024,
            })
        })
    }

    fn cbt_extents(
        &self,
        generation: [u8; 16],
        base: u64,
        offset: u64,
        room: u32,
    ) -> io::Result<(Vec<Extent>, u64)> {
        self.attached(|attachment| {
            if generation != generation_bytes(attachment.generation) {
                return Err(Errno::STALE.into());
            }
            if base > attachment.number {
                return Err(Errno::RANGE.into());
            }
            let mut extents: Vec<Extent> = Vec::new();
            for (at, _) in attachment
                .changed
                .iter()
                .enumerate()
                .filter(|(_, number)| **number > base)
            {
                let from = at as u64 * BLOCK_BYTES;
                let end = (from + BLOCK_BYTES).min(attachment.size_bytes);
                if from < offset {
                    continue;
                }
                let full = extents.len() == room as usize;
                match extents.last_mut() {
                    Some(last) if last.offset + last.length == from => last.length += end - from,
                    _ if full => return Ok((extents, from)),
                    _ => extents.push(Extent {
                        offset: from,
                        length: end - from,
                    }),
                }
            }
            Ok((extents, attachment.size_bytes))
        })
    }

    fn image_stat(&self, snapshot: [u8; 16]) -> io::Result<ImageStat> {
        let asked = QUESTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        let root = &self.kernel.root;
        let hang = self
            .kernel
            .with_state(|state| Ok(state.faults.hang.is_some_and(|from| asked >= from)))?;
        while hang && root.join("hang").exists() {
            fs::write(root.join("hanging"), "")?;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.attached(|_| Ok(()))?;
        self.kernel.with_state(|state| {
            let newest = state.snapshots_of(&self.facts.name).next_back();
            let id = match snapshot {
                [0, ..] => id_bytes(newest.ok_or(Errno::NOENT)?.0),
                id => id,
            };
            let member = self.member(state, id)?;
            // A fault shows only once the image is read: the device's own question says all is well.
            Ok(ImageStat {
                size: ImageStat::SIZE as u32,
                image: padded(member.image.as_deref().unwrap_or_default()),
                snapshot: id,
                number: member.number,
                copy_reads: 3,
                copy_read_bytes: 12288,
                stores: 1,
                store_bytes: 8192,
                held: 2,
                saved_blocks: 3,
                memory: 4096,
                free_bytes: member.free,
                pool_limit: 64 << 20,
                pool_waits: 2,
                pool_wait_ns: 1_500_000,
                pool_wait_longest_ns: 1_000_000,
                ..ImageStat::ZERO
            })
        })
    }
}
