// SPDX-License-Identifier: GPL-2.0-only

//! Whether the hook works on this kernel, tried at load on a disk of our own.
//!
//! A compiler may inline the hooked function into its caller, another tool may have changed it: then bios would go unseen, and
//! tracking would lie. A module that cannot prove itself is not loaded.

use kern::hook::dev::Caller;
use kern::hook::selftest::{Counts, TestDisk};
use kern::{pr_err, Errno, Result};

use crate::registry;

/// Tries every answer a filter can give. Sleeps.
pub(crate) fn run() -> Result {
    let disk = TestDisk::new()?;
    let ops = disk.ops();
    registry::register(ops)?;
    let result = registry::attach(disk.device(), ops.name(), &Caller::none(), 0, 0).and_then(|()| steps(&disk));
    registry::unregister(ops);
    result.and_then(|()| {
        disk.send(true, 0)?;
        expect(&disk, "a write after detach", 4, 5)
    })
}

fn steps(disk: &TestDisk) -> Result {
    disk.send(false, 0)?;
    expect(disk, "a read", 0, 1)?;
    disk.send(true, 8)?;
    expect(disk, "a write that passes", 1, 2)?;
    disk.hold(true);
    disk.send(true, 16)?;
    expect(disk, "a write that is held and sent on", 3, 3)?;
    disk.hold(false);
    disk.send(true, 24)?;
    expect(disk, "a second write that passes", 4, 4)
}

fn expect(disk: &TestDisk, what: &str, shown: u32, seen: u32) -> Result {
    let wanted = Counts { shown, seen };
    let counts = disk.counts();
    if counts == wanted {
        return Ok(());
    }
    pr_err!("self-test failed at {what}: wanted {wanted:?}, got {counts:?}; bios cannot be seen reliably on this kernel");
    Err(Errno::EOPNOTSUPP)
}
