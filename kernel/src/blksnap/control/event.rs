// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for a snapshot's events.

use blksnap_uapi::control::{self, EventCorrupted, EventNoSpace, SnapshotEvent};
use blksnap_uapi::extended::{self, EventLowSpace};
use blksnap_uapi::Abi;
use kern::errno::{Errno, Result};
use kern::user::UserPtr;

use crate::events::What;
use crate::registry;

/// The oldest event of a snapshot. Sleeps.
pub(super) fn wait(arg: UserPtr) -> Result {
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
