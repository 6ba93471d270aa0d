// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real door: ioctls on the control device and on block devices.
//!
//! The only module with `unsafe`, and in it only calls of ioctl.
#![allow(unsafe_code, reason = "this is the door to the kernel")]

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blksnap_uapi::Abi;
use blksnap_uapi::control::{
    self, SnapshotCollect, SnapshotCreate, SnapshotDestroy, SnapshotEvent, SnapshotTake, Version,
};
use blksnap_uapi::ctl::{self, CbtDirty, CbtInfo, CbtMap, SectorRange, SnapshotAdd, SnapshotInfo};
use blksnap_uapi::extended::{
    self, Add, AttachOptions, CbtExtents, CbtState, Consumer, Device as DeviceEntry, Devices,
    Extent, Features, Free, ImageStat, Member, Members, SnapshotOpen, SnapshotStat, StoreAdd,
};
use blksnap_uapi::filter::{self, BlkfilterAttach, BlkfilterCtl, BlkfilterDetach};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Updater};

use crate::door::{Control, Device, DeviceNumber, Door, Facts, OpenRequest, StorePlace};
use crate::mounts::{self, Mount};
use crate::{fsmap, sysfs};

/// The running kernel.
#[derive(Debug, Default)]
pub(crate) struct Kernel;

impl Door for Kernel {
    fn control(&self) -> io::Result<Box<dyn Control>> {
        Ok(Box::new(ControlFile(File::open(
            control::BLKSNAP_CONTROL_PATH,
        )?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Device>> {
        let file = File::open(path)?;
        let facts = sysfs::facts(path, &file)?;
        Ok(Box::new(DeviceFile { file, facts }))
    }

    fn path_of(&self, number: DeviceNumber) -> Option<PathBuf> {
        sysfs::path_of(number)
    }

    fn image_path(&self, name: &str) -> PathBuf {
        Path::new("/dev").join(name)
    }

    fn devices_under(&self, path: &Path) -> Vec<DeviceNumber> {
        sysfs::devices_under(path)
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(mounts::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    fn free_space(&self, path: &Path, kind: &str) -> io::Result<Vec<Extent>> {
        fsmap::free_space(path, kind)
    }

    fn kernel_release(&self) -> String {
        rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned()
    }

    fn module_loaded(&self, name: &str) -> bool {
        Path::new("/sys/module").join(name).exists()
    }
}

/// One ioctl whose argument the kernel may read and write.
///
/// Memory that the argument points to is given by the caller as live slices, whose address it
/// put there; the kernel writes at most the length it was told.
fn ioctl<const CMD: u32, T: Abi>(fd: impl AsFd, argument: &mut T) -> io::Result<()> {
    // SAFETY: `CMD` is a number of `blksnap_uapi`, whose argument `T` is the `repr(C)` struct the
    // module expects, of the size it expects, with no padding and no invalid value. The
    // pointers inside are to live memory of the length beside them.
    let request = unsafe { Updater::<CMD, T>::new(argument) };
    // SAFETY: as above.
    unsafe { rustix::ioctl::ioctl(fd, request) }?;
    Ok(())
}

/// An ioctl of a file system, whose argument is a head and, behind it, room for what it tells.
struct WithRoom<'a, const CMD: u32>(&'a mut [u64]);

// SAFETY: the pointer is to live memory that nobody else has meanwhile, and no result is made
// of it.
unsafe impl<const CMD: u32> Ioctl for WithRoom<'_, CMD> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        CMD
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// `FS_IOC_GETFSMAP`: a head of 192 bytes, which says for how many records of 64 bytes there
/// is room behind it.
///
/// # Panics
///
/// When there is not as much room as the head says.
pub(crate) fn getfsmap(fd: impl AsFd, words: &mut [u64]) -> io::Result<()> {
    let [a, b, c, d, ..] = words[1].to_ne_bytes();
    let count = u32::from_ne_bytes([a, b, c, d]) as usize;
    assert!(words.len() >= 24 + count * 8, "room for the records");
    // SAFETY: the kernel writes the head and as many records as the head says, which is room
    // that was just checked.
    Ok(unsafe { rustix::ioctl::ioctl(fd, WithRoom::<0xc0c0_583b>(words)) }?)
}

/// Makes a block device read-only, or no longer: `BLKROSET`. Says what it was: `BLKROGET`.
pub(crate) fn set_read_only(fd: impl AsFd, read_only: bool) -> io::Result<bool> {
    let (mut was, mut wanted) = (0i32, i32::from(read_only));
    // SAFETY: the kernel writes an int.
    let get = unsafe { Updater::<0x125e, i32>::new(&mut was) };
    // SAFETY: as above.
    unsafe { rustix::ioctl::ioctl(fd.as_fd(), get) }?;
    // SAFETY: the kernel reads an int.
    let set = unsafe { Updater::<0x125d, i32>::new(&mut wanted) };
    // SAFETY: as above.
    unsafe { rustix::ioctl::ioctl(fd.as_fd(), set) }?;
    Ok(was != 0)
}

/// The address of memory, for the field of an argument.
fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// The size of a struct, for its own first field.
fn size_field<T: Abi>() -> u32 {
    u32::try_from(T::SIZE).expect("structs are under 16 KiB")
}

/// A [`StorePlace`] as the fields of an argument.
struct Place {
    kind: u32,
    path: Option<CString>,
    fd: i32,
}

impl Place {
    fn new(place: StorePlace<'_>) -> io::Result<Self> {
        let (kind, path, fd) = match place {
            StorePlace::Memory => (extended::BLKSNAP_STORE_MEMORY, None, 0),
            StorePlace::Path(path) => {
                let path = CString::new(path.as_os_str().as_bytes())?;
                (extended::BLKSNAP_STORE_PATH, Some(path), 0)
            }
            // Without a list of extents it is all of the file.
            StorePlace::Extents(file) => (extended::BLKSNAP_STORE_EXTENTS, None, file.as_raw_fd()),
        };
        Ok(Self { kind, path, fd })
    }

    fn path(&self) -> u64 {
        self.path.as_ref().map_or(0, |path| address(path.as_ptr()))
    }
}

#[derive(Debug)]
struct ControlFile(File);

impl Control for ControlFile {
    fn version(&self) -> io::Result<Version> {
        let mut version = Version::ZERO;
        ioctl::<{ control::IOCTL_BLKSNAP_VERSION }, _>(&self.0, &mut version)?;
        Ok(version)
    }

    fn features(&self) -> io::Result<Features> {
        let mut features = Features {
            size: size_field::<Features>(),
            ..Features::ZERO
        };
        ioctl::<{ extended::IOCTL_BLKSNAP_FEATURES }, _>(&self.0, &mut features)?;
        Ok(features)
    }

    fn snapshot_create(&self, store: &Path, limit_sectors: u64) -> io::Result<[u8; 16]> {
        let path = CString::new(store.as_os_str().as_bytes())?;
        let mut argument = SnapshotCreate {
            diff_storage_limit_sect: limit_sectors,
            diff_storage_filename: address(path.as_ptr()),
            ..SnapshotCreate::ZERO
        };
        ioctl::<{ control::IOCTL_BLKSNAP_SNAPSHOT_CREATE }, _>(&self.0, &mut argument)?;
        Ok(argument.id)
    }

    fn snapshot_open(&self, request: &OpenRequest<'_>) -> io::Result<[u8; 16]> {
        let place = Place::new(request.store)?;
        let mut argument = SnapshotOpen {
            size: size_field::<SnapshotOpen>(),
            flags: if request.bound {
                extended::BLKSNAP_OPEN_BOUND
            } else {
                0
            },
            store_kind: place.kind,
            gate_timeout_ms: request.gate_timeout_ms,
            limit: request.limit,
            path: place.path(),
            policy: request.policy,
            copy_memory_kib: request.copy_memory_kib,
            fd: place.fd,
            ..SnapshotOpen::ZERO
        };
        ioctl::<{ extended::IOCTL_BLKSNAP_SNAPSHOT_OPEN }, _>(&self.0, &mut argument)?;
        Ok(argument.id)
    }

    fn store_add(&self, id: [u8; 16], place: StorePlace<'_>, limit: u64) -> io::Result<()> {
        let place = Place::new(place)?;
        let mut argument = StoreAdd {
            size: size_field::<StoreAdd>(),
            kind: place.kind,
            id,
            limit,
            path: place.path(),
            fd: place.fd,
            ..StoreAdd::ZERO
        };
        ioctl::<{ extended::IOCTL_BLKSNAP_STORE_ADD }, _>(&self.0, &mut argument)
    }

    fn members(&self, id: [u8; 16]) -> io::Result<Vec<Member>> {
        collect(|entries: &mut [Member]| {
            let mut argument = Members {
                size: size_field::<Members>(),
                count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
                id,
                entries: address(entries.as_mut_ptr()),
            };
            let result = ioctl::<{ extended::IOCTL_BLKSNAP_MEMBERS }, _>(&self.0, &mut argument);
            (result, argument.count)
        })
    }

    fn snapshot_take(&self, id: [u8; 16]) -> io::Result<()> {
        ioctl::<{ control::IOCTL_BLKSNAP_SNAPSHOT_TAKE }, _>(&self.0, &mut SnapshotTake { id })
    }

    fn snapshot_destroy(&self, id: [u8; 16]) -> io::Result<()> {
        ioctl::<{ control::IOCTL_BLKSNAP_SNAPSHOT_DESTROY }, _>(
            &self.0,
            &mut SnapshotDestroy { id },
        )
    }

    fn snapshot_collect(&self) -> io::Result<Vec<[u8; 16]>> {
        collect(|ids: &mut [[u8; 16]]| {
            let mut argument = SnapshotCollect {
                count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
                ids: if ids.is_empty() {
                    0
                } else {
                    address(ids.as_mut_ptr())
                },
                ..SnapshotCollect::ZERO
            };
            let result =
                ioctl::<{ control::IOCTL_BLKSNAP_SNAPSHOT_COLLECT }, _>(&self.0, &mut argument);
            (result, argument.count)
        })
    }

    fn snapshot_stat(&self, id: [u8; 16]) -> io::Result<SnapshotStat> {
        let mut stat = SnapshotStat {
            size: size_field::<SnapshotStat>(),
            id,
            ..SnapshotStat::ZERO
        };
        ioctl::<{ extended::IOCTL_BLKSNAP_SNAPSHOT_STAT }, _>(&self.0, &mut stat)?;
        Ok(stat)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn wait_event(&self, id: [u8; 16], timeout: Duration) -> io::Result<SnapshotEvent> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut event = SnapshotEvent {
            id,
            timeout_ms,
            ..SnapshotEvent::ZERO
        };
        ioctl::<{ control::IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT }, _>(&self.0, &mut event)?;
        Ok(event)
    }

    fn devices(&self) -> io::Result<Vec<DeviceEntry>> {
        collect(|entries: &mut [DeviceEntry]| {
            let mut argument = Devices {
                size: size_field::<Devices>(),
                count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
                entries: if entries.is_empty() {
                    0
                } else {
                    address(entries.as_mut_ptr())
                },
            };
            let result = ioctl::<{ extended::IOCTL_BLKSNAP_DEVICES }, _>(&self.0, &mut argument);
            (result, argument.count)
        })
    }
}

/// Asks with ever more room until everything fits: a call with too little room answers `ENODATA`
/// and the count needed.
fn collect<T: Copy + Default>(
    mut ask: impl FnMut(&mut [T]) -> (io::Result<()>, u32),
) -> io::Result<Vec<T>> {
    let mut entries = vec![T::default(); 16];
    loop {
        let (result, count) = ask(&mut entries);
        let count = count as usize;
        match result {
            Ok(()) => {
                entries.truncate(count);
                return Ok(entries);
            }
            Err(error)
                if error.raw_os_error() == Some(Errno::NODATA.raw_os_error())
                    && count > entries.len() =>
            {
                entries.resize(count + 8, T::default());
            }
            Err(error) => return Err(error),
        }
    }
}

#[derive(Debug)]
struct DeviceFile {
    file: File,
    facts: Facts,
}

impl DeviceFile {
    /// One command of the filter, whose argument is `option`.
    fn ctl<T: Abi>(&self, cmd: u32, option: &mut T) -> io::Result<()> {
        let mut argument = BlkfilterCtl {
            name: ctl::BLKSNAP_FILTER,
            cmd,
            optlen: size_field::<T>(),
            opt: address(std::ptr::from_mut(option)),
        };
        ioctl::<{ filter::BLKFILTER_CTL }, _>(&self.file, &mut argument)
    }
}

impl Device for DeviceFile {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn attach(&self, force: bool) -> io::Result<()> {
        let mut options = AttachOptions {
            size: size_field::<AttachOptions>(),
            flags: extended::BLKSNAP_ATTACH_FORCE,
        };
        let mut argument = BlkfilterAttach {
            name: ctl::BLKSNAP_FILTER,
            ..BlkfilterAttach::ZERO
        };
        if force {
            argument.opt = address(std::ptr::from_mut(&mut options));
            argument.optlen = options.size;
        }
        ioctl::<{ filter::BLKFILTER_ATTACH }, _>(&self.file, &mut argument)
    }

    fn detach(&self) -> io::Result<()> {
        let mut argument = BlkfilterDetach {
            name: ctl::BLKSNAP_FILTER,
        };
        ioctl::<{ filter::BLKFILTER_DETACH }, _>(&self.file, &mut argument)
    }

    fn cbt_info(&self) -> io::Result<CbtInfo> {
        let mut info = CbtInfo::ZERO;
        self.ctl(ctl::BLKFILTER_CTL_BLKSNAP_CBTINFO, &mut info)?;
        Ok(info)
    }

    fn cbt_map(&self, offset: u32, map: &mut [u8]) -> io::Result<()> {
        let length = u32::try_from(map.len()).map_err(|_| Errno::INVAL)?;
        let mut argument = CbtMap {
            offset,
            length,
            buffer: address(map.as_mut_ptr()),
        };
        self.ctl(ctl::BLKFILTER_CTL_BLKSNAP_CBTMAP, &mut argument)
    }

    fn cbt_dirty(&self, ranges: &[SectorRange]) -> io::Result<()> {
        let count = u32::try_from(ranges.len()).map_err(|_| Errno::INVAL)?;
        let mut argument = CbtDirty {
            count,
            dirty_sectors: address(ranges.as_ptr()),
            ..CbtDirty::ZERO
        };
        self.ctl(ctl::BLKFILTER_CTL_BLKSNAP_CBTDIRTY, &mut argument)
    }

    fn snapshot_add(&self, id: [u8; 16], shared: bool) -> io::Result<()> {
        if !shared {
            return self.ctl(
                ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD,
                &mut SnapshotAdd { id },
            );
        }
        let mut argument = Add {
            size: size_field::<Add>(),
            flags: extended::BLKSNAP_ADD_SHARED,
            id,
        };
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD, &mut argument)
    }

    fn free(&self, id: [u8; 16], extents: &[Extent]) -> io::Result<u64> {
        let mut argument = Free {
            size: size_field::<Free>(),
            count: u32::try_from(extents.len()).map_err(|_| Errno::TOOBIG)?,
            id,
            extents: address(extents.as_ptr()),
            ..Free::ZERO
        };
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_FREE, &mut argument)?;
        Ok(argument.accepted)
    }

    fn consumer(&self, argument: &mut Consumer) -> io::Result<()> {
        argument.size = size_field::<Consumer>();
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_CONSUMER, argument)
    }

    fn snapshot_info(&self) -> io::Result<SnapshotInfo> {
        let mut info = SnapshotInfo::ZERO;
        self.ctl(ctl::BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO, &mut info)?;
        Ok(info)
    }

    fn cbt_state(&self) -> io::Result<CbtState> {
        let mut state = CbtState {
            size: size_field::<CbtState>(),
            ..CbtState::ZERO
        };
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_CBT_STATE, &mut state)?;
        Ok(state)
    }

    fn cbt_extents(
        &self,
        generation: [u8; 16],
        base: u64,
        offset: u64,
        room: u32,
    ) -> io::Result<(Vec<Extent>, u64)> {
        let mut extents = vec![Extent::ZERO; room as usize];
        let mut argument = CbtExtents {
            size: size_field::<CbtExtents>(),
            count: room,
            generation,
            base,
            offset,
            extents: address(extents.as_mut_ptr()),
            ..CbtExtents::ZERO
        };
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, &mut argument)?;
        extents.truncate(argument.count as usize);
        Ok((extents, argument.next))
    }

    fn image_stat(&self, snapshot: [u8; 16]) -> io::Result<ImageStat> {
        let mut stat = ImageStat {
            size: size_field::<ImageStat>(),
            snapshot,
            ..ImageStat::ZERO
        };
        self.ctl(extended::BLKFILTER_CTL_BLKSNAP_IMAGE_STAT, &mut stat)?;
        Ok(stat)
    }
}
