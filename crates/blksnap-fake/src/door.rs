// SPDX-License-Identifier: MIT OR Apache-2.0
//! The door to the simulated kernel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use blksnap::door::{Control, Device, DeviceNumber, Door, Facts, OpenRequest};
use blksnap::uapi::control::{SnapshotEvent, Version};
use blksnap::uapi::ctl::{CbtInfo, SectorRange, SnapshotInfo};
use blksnap::uapi::extended::{
    BLKSNAP_ABI, BLKSNAP_STATE_CREATED, BLKSNAP_STATE_FAILED, BLKSNAP_STATE_TAKEN, CbtState,
    Device as DeviceEntry, Extent, Features, ImageStat, SnapshotStat,
};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::state::{Attachment, BLOCK_BYTES, Snapshot, State};

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
        Vec::new()
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
        Ok(Features {
            size: 24,
            abi: BLKSNAP_ABI,
            features: 0xf,
            block_size: 4096,
            reserved: 0,
        })
    }

    fn snapshot_open(&self, request: &OpenRequest<'_>) -> io::Result<[u8; 16]> {
        if request.store.is_some_and(|path| !path.exists()) {
            return Err(Errno::NOENT.into());
        }
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
            for (device, image) in &mut snapshot.devices {
                attachments
                    .get_mut(device)
                    .ok_or(Errno::NODEV)?
                    .take(root, device)?;
                *counter += 1;
                let name = format!("blksnap-image{counter}");
                fs::copy(root.join("dev").join(device), root.join("dev").join(&name))?;
                if faults.fail_after_take.is_some() {
                    let file = File::options()
                        .write(true)
                        .open(root.join("dev").join(&name))?;
                    file.set_len(file.metadata()?.len() / 2)?;
                }
                *image = Some(name);
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
                full_in_ms: u64::MAX,
                ..SnapshotStat::ZERO
            })
        })
    }

    fn wait_event(&self, id: [u8; 16], _timeout: Duration) -> io::Result<SnapshotEvent> {
        self.snapshot_stat(id)?;
        Err(Errno::NOENT.into())
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
                        .snapshot_of(name)
                        .map_or([0; 16], |(id, _)| id_bytes(id)),
                    block_size: BLOCK_BYTES as u32,
                    snapshots: u32::from(state.snapshot_of(name).is_some()),
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
}

impl Device for FakeDevice {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn attach(&self) -> io::Result<()> {
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
            if !self.facts.holders.is_empty() || self.facts.relatives.iter().any(attached) {
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
            };
            state.attachments.insert(name.clone(), attachment);
            Ok(())
        })
    }

    fn detach(&self) -> io::Result<()> {
        self.kernel.with_state(|state| {
            if state.snapshot_of(&self.facts.name).is_some() {
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

    fn cbt_dirty(&self, _ranges: &[SectorRange]) -> io::Result<()> {
        Err(Errno::OPNOTSUPP.into())
    }

    fn snapshot_add(&self, id: [u8; 16]) -> io::Result<()> {
        let name = &self.facts.name;
        self.kernel.with_state(|state| {
            if !state.attachments.contains_key(name) {
                return Err(Errno::NOENT.into());
            }
            if let Some((other, _)) = state.snapshot_of(name) {
                return Err(if *other == id_text(id) {
                    Errno::ALREADY
                } else {
                    Errno::BUSY
                }
                .into());
            }
            let snapshot = state.snapshots.get_mut(&id_text(id)).ok_or(Errno::SRCH)?;
            snapshot.devices.insert(name.clone(), None);
            Ok(())
        })
    }

    fn snapshot_info(&self) -> io::Result<SnapshotInfo> {
        let stat = self.image_stat()?;
        Ok(SnapshotInfo {
            error_code: stat.error,
            image: stat.image,
        })
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

    fn image_stat(&self) -> io::Result<ImageStat> {
        let asked = QUESTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        let root = &self.kernel.root;
        let hang = self
            .kernel
            .with_state(|state| Ok(state.faults.hang.is_some_and(|from| asked >= from)))?;
        while hang && root.join("hang").exists() {
            fs::write(root.join("hanging"), "")?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let number = self.attached(|attachment| Ok(attachment.number))?;
        self.kernel.with_state(|state| {
            let (id, snapshot) = state.snapshot_of(&self.facts.name).ok_or(Errno::NOENT)?;
            let name = snapshot
                .devices
                .get(&self.facts.name)
                .and_then(Option::as_ref);
            let mut image = [0; 32];
            if let Some(name) = name {
                image[..name.len()].copy_from_slice(name.as_bytes());
            }
            // A fault shows only once the image is read: the device's own question says all is well.
            Ok(ImageStat {
                size: 136,
                image,
                snapshot: id_bytes(id),
                number,
                copy_reads: 3,
                copy_read_bytes: 12288,
                stores: 1,
                store_bytes: 8192,
                held: 2,
                saved_blocks: 3,
                memory: 4096,
                ..ImageStat::ZERO
            })
        })
    }
}
