// SPDX-License-Identifier: GPL-2.0-only

//! A tracked device: what blksnap keeps from attach to detach, and the filter's callbacks.
//!
//! # States
//!
//! 1. Tracked: writes are marked.
//! 2. In a snapshot, not taken: the same; the snapshot lists it.
//! 3. In a taken snapshot: `cow` holds the copy-on-write, which sees each write after the mark.
//! 4. Gone: detached. Its snapshot, if any, has failed; nothing of it is called any more.
//!
//! # Order in `submit`
//!
//! Mark first, then copy-on-write, then the write goes on. All of it happens inside blkfilter's accounting, so that a take which
//! waited for the drain sees either none of it or all.

use alloc::sync::Arc;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use blksnap_core::cbt::{History, Marks};
use kern::bdev::BlockDevice;
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::filter::{Attachment, Filter};
use kern::misc::{Param, param, uuid};
use kern::sync::{Class, Mutex, RcuArc};
use kern::user::UserPtr;

use crate::cow::{Cow, changes};
use crate::{ctl, registry, snapshot};

/// A tracked device.
pub(crate) struct Device {
    attachment: Attachment,
    block_device: BlockDevice,
    number: (u32, u32),
    start: u64,
    sectors: u64,
    pub(crate) marks: Marks,
    pub(crate) history: Mutex<History>,
    cow: RcuArc<Cow>,
    gone: AtomicBool,
    resized: AtomicBool,
}

impl Device {
    fn new(attachment: Attachment, block_device: BlockDevice) -> Result<Device> {
        let sectors = block_device.sectors();
        let marks = Marks::new(sectors, tracking_shift(sectors)).map_err(|_| Errno::ENOMEM)?;
        let history = History::new(&marks, uuid(), uuid()).map_err(|_| Errno::ENOMEM)?;
        Ok(Device {
            attachment,
            number: block_device.number(),
            start: block_device.start(),
            sectors,
            block_device,
            marks,
            history: Mutex::new(Class::History, history)?,
            cow: RcuArc::empty(),
            gone: AtomicBool::new(false),
            resized: AtomicBool::new(false),
        })
    }

    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Major and minor number.
    pub(crate) fn number(&self) -> (u32, u32) {
        self.number
    }

    /// First sector on the disk.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Size in sectors, at the attach.
    pub(crate) fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The number that the next take will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.history.lock().number() + 1
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether the device has another size than at the attach. Then neither its map nor an image of it mean anything.
    pub(crate) fn is_resized(&self) -> bool {
        // The block device itself is looked at only while it is surely there.
        self.resized.load(Ordering::Acquire)
    }

    /// Looks at the size again. Only while the device is attached: in a command to it, or in a take that holds it open.
    pub(crate) fn check_size(&self, now: u64) -> Result {
        if now != self.sectors {
            self.resized.store(true, Ordering::Release);
        }
        if self.is_resized() { Err(Errno::ESTALE) } else { Ok(()) }
    }

    pub(crate) fn block_device(&self) -> &BlockDevice {
        &self.block_device
    }

    /// Sets what each write is shown to, after the mark. Sleeps when it replaces.
    pub(crate) fn set_cow(&self, cow: Option<Arc<Cow>>) -> Option<Arc<Cow>> {
        self.cow.replace(cow)
    }

    /// Marks a range as changed, outside of a write. Sleeps.
    pub(crate) fn mark(&self, sector: u64, sectors: u64) {
        let _history = self.history.lock();
        self.marks.mark(sector, sectors);
    }
}

/// The tracking block, as a power of two of bytes: the parameter, larger only if a maximum count of blocks asks for it.
fn tracking_shift(sectors: u64) -> u32 {
    let least = param(Param::TrackingShift).clamp(12, 26);
    let most = param(Param::TrackingMaximumShift).clamp(least, 26);
    let count = u64::from(param(Param::TrackingMaximumCount));
    let mut shift = least;
    while count != 0 && shift < most && (sectors * 512).div_ceil(1 << shift) > count {
        shift += 1;
    }
    shift
}

impl Filter for Device {
    const NAME: &'static CStr = c"blksnap";

    fn attach(at: Attachment, device: BlockDevice, _opt: UserPtr, _optlen: u32) -> Result<Arc<Self>> {
        if device.sectors() == 0 {
            return Err(Errno::ENODEV);
        }
        let device = kern::alloc::try_arc(Device::new(at, device)?)?;
        registry::get()?.lock().add_device(device.clone())?;
        Ok(device)
    }

    fn may_detach(&self) -> Result {
        if snapshot::holds_taken(self) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    fn detach(self: Arc<Self>) {
        self.gone.store(true, Ordering::SeqCst);
        snapshot::forget_device(&self);
        if let Some(cow) = self.set_cow(None) {
            cow.fail(Errno::ENODEV);
            cow.flush_held();
        }
        if let Ok(registry) = registry::get() {
            registry.lock().remove_device(&self);
        }
    }

    fn ctl(&self, cmd: u32, opt: UserPtr, optlen: &mut u32) -> Result {
        ctl::command(self, cmd, opt, optlen)
    }

    fn submit(&self, bio: Bio, sector: u64, sectors: u64, _again: bool) -> Option<Bio> {
        let op = bio.op();
        if sectors == 0 || !changes(op) {
            return Some(bio);
        }
        self.cow.with(|cow| {
            let Some(cow) = cow else {
                self.marks.mark(sector, sectors);
                return Some(bio);
            };
            // A discard that will be dropped changes nothing.
            if op != Op::Discard || !cow.needs(sector, sectors) {
                self.marks.mark(sector, sectors);
            }
            cow.check(bio, sector, sectors)
        })
    }
}
