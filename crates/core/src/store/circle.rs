// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Storages that lie on devices which are copied themselves.
//!
//! What is copied of one device is written to the file system of another one. When that one is in a snapshot as well, what is overwritten
//! there is copied in turn, to its storage. Where this leads back to a device it began with, each copy makes another one, until
//! the storages are full and all the snapshots fail.

use alloc::vec::Vec;

use crate::fallible::{place, reserve, NoMemory};

/// Whether copies of some device lead back to it. `devices` are numbered from 0; each pair is a device and one that its copies are written
/// to. A number that is none of a device leads nowhere.
pub fn leads_back(devices: usize, writes_to: &[(usize, usize)]) -> Result<bool, NoMemory> {
    // Whose copies come to an end: they are written to none but such devices.
    let mut ends = Vec::new();
    reserve(&mut ends, devices)?;
    (0..devices).for_each(|_| place(&mut ends, false));
    loop {
        let mut found = false;
        for device in 0..devices {
            let mut onto = writes_to
                .iter()
                .filter(|(from, _)| *from == device)
                .map(|(_, to)| *to);
            if ends.get(device) == Some(&false) && onto.all(|to| ends.get(to) != Some(&false)) {
                ends.get_mut(device).into_iter().for_each(|end| *end = true);
                found = true;
            }
        }
        if !found {
            return Ok(ends.contains(&false));
        }
    }
}
