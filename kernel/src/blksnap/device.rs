// SPDX-License-Identifier: GPL-2.0-only

//! A device: what blksnap keeps from attach to detach, and the filter's callbacks.
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

use kern::bdev::BlockDevice;
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::filter::{Attachment, Filter};
use kern::sync::{Atomic, Class, Mutex, RcuArc};
use kern::user::UserPtr;
use kern::{pr_err, pr_info};

use crate::cow::Cow;
use crate::tracking::Tracking;
use crate::{ctl, registry, snapshot};

/// A tracked device.
pub(crate) struct Device {
    attachment: Attachment,
    block_device: BlockDevice,
    number: (u32, u32),
    start: u64,
    tracking: RcuArc<Tracking>,
    /// Held while `tracking` is replaced.
    replacing: Mutex<()>,
    cow: RcuArc<Cow>,
    gone: AtomicBool,
}

impl Device {
    fn new(attachment: Attachment, block_device: BlockDevice) -> Result<Device> {
        let device = Device {
            attachment,
            number: block_device.number(),
            start: block_device.start(),
            tracking: RcuArc::empty(),
            replacing: Mutex::new(Class::Device, ())?,
            cow: RcuArc::empty(),
            gone: AtomicBool::new(false),
            block_device,
        };
        device.tracking.replace(Some(Tracking::new(&device.block_device)?));
        Ok(device)
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

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The block device. Only while the device is attached: in a command to it.
    pub(crate) fn block_device(&self) -> &BlockDevice {
        &self.block_device
    }

    /// The change tracking.
    pub(crate) fn tracking(&self) -> Result<Arc<Tracking>> {
        self.tracking.get().ok_or(Errno::ENODEV)
    }

    /// The change tracking for the device as it is now. When it has another size or medium than before, neither the map nor an image mean
    /// anything any more: a new generation begins, and a snapshot that is held fails. Sleeps.
    pub(crate) fn tracking_for(&self, device: &BlockDevice) -> Result<Arc<Tracking>> {
        let _one = self.replacing.lock();
        let now = self.tracking()?;
        if now.fits(device) {
            return Ok(now);
        }
        let fresh = Tracking::new(device)?;
        self.tracking.replace(Some(fresh.clone()));
        if let Some(cow) = self.cow.get() {
            cow.fail(Errno::ESTALE);
        }
        let (major, minor) = self.number;
        pr_info!("device {major}:{minor} has another size or medium now: a new generation of change tracking begins");
        Ok(fresh)
    }

    #[inline(always)]
    fn mark(&self, at: &Atomic, sector: u64, sectors: u64) {
        if let Some(tracking) = self.tracking.read(at) {
            tracking.marks.mark(sector, sectors);
        }
    }

    #[inline(never)]
    fn copy_on_write(&self, at: &Atomic, cow: &Cow, bio: Bio, sector: u64, sectors: u64) -> Option<Bio> {
        if bio.op() != Op::Discard {
            self.mark(at, sector, sectors);
            return cow.check(bio, sector, sectors);
        }
        // A discard that is held will be dropped, and changes nothing.
        cow.check(bio, sector, sectors).inspect(|_| self.mark(at, sector, sectors))
    }

    /// Sets what each write is shown to, after the mark. Sleeps when it replaces.
    pub(crate) fn set_cow(&self, cow: Option<Arc<Cow>>) -> Option<Arc<Cow>> {
        self.cow.replace(cow)
    }
}

impl Filter for Device {
    const NAME: &'static CStr = c"blksnap";

    fn attach(at: Attachment, device: BlockDevice, _opt: UserPtr, _optlen: u32) -> Result<Arc<Self>> {
        if device.sectors() == 0 {
            return Err(Errno::ENODEV);
        }
        let device = kern::alloc::try_arc(Device::new(at, device)?)?;
        let registry = registry::get()?;
        let mut lists = registry.lock();
        if lists.snapshots.iter().any(|s| s.store.is_on(device.block_device())) {
            pr_err!("the device is the difference storage of a snapshot, whose writes are not tracked");
            return Err(Errno::EBUSY);
        }
        lists.add_device(device.clone())?;
        Ok(device)
    }

    fn may_detach(&self) -> Result {
        if snapshot::holds_taken(self) {
            Err(Errno::EBUSY)
        } else {
            Ok(())
        }
    }

    fn leaving(&self) {
        self.gone.store(true, Ordering::SeqCst);
        // The image must not answer any more when the first write passes unseen.
        self.cow.with(|cow| {
            if let Some(cow) = cow {
                cow.blind(Errno::ENODEV);
            }
        });
    }

    fn detach(self: Arc<Self>) {
        self.gone.store(true, Ordering::SeqCst);
        snapshot::forget_device(&self);
        if let Some(cow) = self.cow.get() {
            cow.fail(Errno::ENODEV);
            self.set_cow(None);
            cow.flush_held();
        }
        if let Ok(registry) = registry::get() {
            registry.lock().remove_device(&self);
        }
    }

    fn ctl(&self, cmd: u32, opt: UserPtr, optlen: &mut u32) -> Result {
        ctl::command(self, cmd, opt, optlen)
    }

    #[inline(always)]
    fn submit(&self, at: &Atomic, bio: Bio, sector: u64, sectors: u64, _again: bool) -> Option<Bio> {
        match self.cow.read(at) {
            None => {
                self.mark(at, sector, sectors);
                Some(bio)
            }
            Some(cow) => self.copy_on_write(at, cow, bio, sector, sectors),
        }
    }
}
