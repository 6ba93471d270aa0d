// SPDX-License-Identifier: GPL-2.0-only

//! A device: what blksnap keeps from attach to detach, and the filter's callbacks.
//!
//! # States
//!
//! 1. Tracked: writes are marked.
//! 2. In a snapshot, not taken: the same; the snapshot lists it.
//! 3. In one or more taken snapshots: `live` is the newest layer of their chain, which is asked about each write after the mark.
//! 4. Gone: detached. Its snapshots, if any, have failed; nothing of it is called any more.
//!
//! # Order in `submit`
//!
//! Mark first, then copy-on-write, then the write goes on. All of it happens inside blkfilter's accounting, so that a take which
//! waited for the drain sees either none of it or all.

use alloc::sync::Arc;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use blksnap_uapi::extended::{self, AttachOptions};
use kern::bdev::BlockDevice;
use kern::bio::{Bio, Op};
use kern::errno::{Errno, Result};
use kern::filter::{Attachment, Filter};
use kern::sync::{Atomic, Class, Mutex, RcuArc, Retired};
use kern::user::UserPtr;
use kern::{pr_err, pr_info};

use crate::chain::{Chain, Layer};
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
    live: RcuArc<Layer>,
    /// Held while `live` is replaced.
    switching: Mutex<()>,
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
            live: RcuArc::empty(),
            switching: Mutex::new(Class::Device, ())?,
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
        if let Some(chain) = self.chain() {
            chain.fail(Errno::ESTALE);
        }
        let (major, minor) = self.number;
        pr_info!("device {major}:{minor} has another size or medium now: a new generation of change tracking begins");
        Ok(fresh)
    }

    #[inline(always)]
    fn mark(&self, at: &Atomic, sector: u64, sectors: u64) {
        if let Some(tracking) = self.tracking.read(at) {
            tracking.marks.mark_write(sector, sectors);
        }
    }

    #[inline(never)]
    fn copy_on_write(&self, at: &Atomic, layer: &Layer, bio: Bio, sector: u64, sectors: u64) -> Option<Bio> {
        // A discard that is held will be dropped, and changes nothing.
        let discard = bio.op() == Op::Discard;
        if !discard {
            self.mark(at, sector, sectors);
        }
        let bio = layer.check(at, bio, sector, sectors)?;
        if discard {
            self.mark(at, sector, sectors);
        }
        Some(bio)
    }

    /// Its snapshots' chain, which may have failed.
    pub(crate) fn chain(&self) -> Option<Arc<Chain>> {
        self.live.get().map(|layer| layer.chain.clone())
    }

    /// Sets what each write is shown to, after the mark. What was there is to be dropped later. Sleeps for a lock alone.
    pub(crate) fn set_live(&self, layer: &Arc<Layer>) -> Option<Retired<Layer>> {
        let _one = self.switching.lock();
        self.live.exchange(Some(layer.clone()))
    }

    /// Writes are not shown to this chain any more once the value is dropped, if they were; another one stays.
    pub(crate) fn forget_chain(&self, chain: &Chain) -> Option<Retired<Layer>> {
        let _one = self.switching.lock();
        let is_it = self.live.with(|layer| layer.is_some_and(|l| core::ptr::eq(l.chain.as_ref(), chain)));
        if is_it {
            self.live.exchange(None)
        } else {
            None
        }
    }
}

/// The flags of an attach. `EINVAL`: unknown ones. Sleeps.
fn options(opt: UserPtr, optlen: u32) -> Result<u32> {
    if optlen == 0 {
        return Ok(0);
    }
    let flags = ctl::read_versioned::<AttachOptions>(opt, Some(optlen))?.flags;
    if flags & !extended::BLKSNAP_ATTACH_FORCE == 0 {
        Ok(flags)
    } else {
        Err(Errno::EINVAL)
    }
}

impl Filter for Device {
    const NAME: &'static CStr = c"blksnap";

    fn attach(at: Attachment, device: BlockDevice, opt: UserPtr, optlen: u32) -> Result<Arc<Self>> {
        options(opt, optlen)?;
        if device.sectors() == 0 {
            return Err(Errno::ENODEV);
        }
        let device = kern::alloc::try_arc(Device::new(at, device)?)?;
        let registry = registry::get()?;
        // Dropped after the lock: the last reference to a storage closes it.
        let stores;
        let mut lists = registry.lock();
        stores = lists.stores()?;
        if stores.iter().any(|store| store.is_on(device.block_device())) {
            pr_err!("the device is the difference storage of a snapshot, whose writes are not tracked");
            return Err(Errno::EBUSY);
        }
        lists.add_device(device.clone())?;
        Ok(device)
    }

    fn insists(opt: UserPtr, optlen: u32) -> Result<bool> {
        Ok(options(opt, optlen)? & extended::BLKSNAP_ATTACH_FORCE != 0)
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
        self.live.with(|layer| {
            if let Some(layer) = layer {
                layer.blind(Errno::ENODEV);
            }
        });
    }

    fn detach(self: Arc<Self>) {
        self.gone.store(true, Ordering::SeqCst);
        snapshot::forget_device(&self);
        if let Some(chain) = self.chain() {
            chain.leave_device(Errno::ENODEV);
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
        match self.live.read(at) {
            None => {
                self.mark(at, sector, sectors);
                Some(bio)
            }
            Some(layer) => self.copy_on_write(at, layer, bio, sector, sectors),
        }
    }
}
