// SPDX-License-Identifier: GPL-2.0-only

//! blksnap.ko: snapshots and changed block tracking of live block devices.
//!
//! A filter of blkfilter.ko. Where things are:
//!
//! | file | what |
//! |---|---|
//! | `device.rs` | a tracked device: the filter's callbacks |
//! | `tracking.rs` | its change tracking, one generation |
//! | `ctl/` | commands to a device (`BLKFILTER_CTL`) |
//! | `control/` | commands to `/dev/blksnap-control` |
//! | `registry.rs` | all devices and snapshots |
//! | `snapshot/`, `take/` | a snapshot's life; the instant |
//! | `chain/` | copy on write of one device, for all its snapshots |
//! | `image/` | a snapshot's image of a device |
//! | `store/` | difference storage |
//! | `state.rs` | what is seen of it below `/sys/module` |
//! | `events.rs` | what is told to those who wait |
//!
//! Decisions are not made here but in `blksnap_core`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chain;
mod control;
mod ctl;
mod device;
mod events;
mod image;
mod registry;
mod slab;
mod snapshot;
mod state;
mod store;
mod take;
mod tracking;

use kern::control::Control;
use kern::errno::Result;
use kern::filter::Registration;
use kern::misc::{param, Param};
use kern::pr_info;
use kern::worker::Queues;

use control::ControlSession;
use device::Device;
use registry::Registry;

/// The module. Its parts go in the order in which they stand here: no new sessions, no new attachments, then the rest.
struct Blksnap {
    control: Option<Control<ControlSession>>,
    filter: Option<Registration<Device>>,
    queues: Option<Queues>,
}

impl kern::Module for Blksnap {
    fn init() -> Result<Self> {
        if param(Param::Chunks) != 0 {
            pr_info!("chunk_* parameters have no effect: copy-on-write works in blocks of 4 KiB");
        }
        let mut module = Blksnap { control: None, filter: None, queues: Some(Queues::new()?) };
        Registry::start()?;
        module.filter = Some(Registration::new()?);
        module.control = Some(Control::new(&registry::get()?)?);
        Ok(module)
    }
}

impl Drop for Blksnap {
    fn drop(&mut self) {
        self.control.take();
        snapshot::destroy_all();
        self.filter.take();
        kern::disk::wait_for_all();
        Registry::end();
        self.queues.take();
    }
}

kern::state! {
    bsr_state_devices = state::devices;
    bsr_state_snapshots = state::snapshots;
}
kern::module!(Blksnap);
