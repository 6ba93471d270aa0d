// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls `BLKFILTER_ATTACH`, `_DETACH`, `_CTL` on block devices.
//!
//! | error | when |
//! |---|---|
//! | `EPERM` | the caller has no `CAP_SYS_ADMIN` |
//! | `EFAULT` | the argument cannot be read or written |
//! | `ENODEV` | the disk is gone or going |
//! | `ENOENT` | attach: no such filter; detach, ctl: no filter is attached |
//! | `EALREADY` | attach: this filter is attached |
//! | `EINVAL` | detach, ctl: other filters are attached, but not this one |
//!
//! All others are the filter's own.

use kern::hook::dev::{Attach, Caller, Ctl, Detach, Device};
use kern::{Errno, Result};

use crate::registry;

/// Numbers within type 0x12.
const ATTACH: u32 = 142;
const DETACH: u32 = 143;
const CTL: u32 = 144;

/// A name up to its NUL.
fn name(bytes: &[u8; 32]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// One of the three; the hook lets no other through.
pub(crate) fn ioctl(device: &Device, cmd: u32, caller: &Caller) -> Result {
    if !caller.is_admin() {
        return Err(Errno::EPERM);
    }
    match cmd & 0xff {
        ATTACH => {
            let arg: Attach = caller.read()?;
            alive(device)?;
            registry::attach(device, name(&arg.name), caller, arg.opt, arg.optlen)
        }
        DETACH => {
            let arg: Detach = caller.read()?;
            alive(device)?;
            registry::detach(device, name(&arg.name))
        }
        CTL => {
            let mut arg: Ctl = caller.read()?;
            alive(device)?;
            let before = arg.optlen;
            let result = registry::ctl(device, name(&arg.name), arg.cmd, arg.opt, &mut arg.optlen);
            if arg.optlen != before {
                caller.write(&arg)?;
            }
            result
        }
        _ => Err(Errno::ENOTTY),
    }
}

fn alive(device: &Device) -> Result {
    if device.is_dying() {
        Err(Errno::ENODEV)
    } else {
        Ok(())
    }
}
