// SPDX-License-Identifier: GPL-2.0-only

//! Whether the hooks on bios work on this kernel, tried at load on a disk of our own.
//!
//! A compiler may inline a hooked function into its caller, another tool may have changed it: then bios would go unseen, and
//! tracking would lie. A module that cannot prove itself is not loaded.
//!
//! 1. `submit_bio_noacct_nocheck` alone is hooked: all writes must be shown there, on their way from `submit_bio_noacct`.
//! 2. `submit_bio_noacct` is, too: all must be shown there, and not again in the second one.
//!
//! What comes to the second from blk-throttle, which is another object file, is proved with it, unless the kernel was linked by a
//! compiler that inlines across files (LTO).

use kern::hook::dev::Caller;
use kern::hook::selftest::{Counts, TestDisk};
use kern::hook::On;
use kern::{pr_err, Errno, Result};

use crate::registry;

/// Tries every answer a filter can give, at one hook and then at both, and leaves both on. Sleeps.
pub(crate) fn run(hooks: &mut On) -> Result {
    let disk = TestDisk::new()?;
    let ops = disk.ops();
    registry::register(ops)?;
    let result = registry::attach(disk.device(), ops.name(), &Caller::none(), 0, 0).and_then(|()| steps(&disk, hooks));
    registry::unregister(ops);
    result.and_then(|()| {
        disk.send(true, 0)?;
        expect(&disk, "submit_bio_noacct", "a write after detach", Counts { shown: 8, early: 4, seen: 9 })
    })
}

fn steps(disk: &TestDisk, hooks: &mut On) -> Result {
    answers(disk, "submit_bio_noacct_nocheck", false)?;
    hooks.early()?;
    answers(disk, "submit_bio_noacct", true)
}

/// A read and three writes, one of which is held. `early`: they must be shown in `submit_bio_noacct`.
fn answers(disk: &TestDisk, at: &str, early: bool) -> Result {
    let before = disk.counts();
    let after = |shown, seen| Counts {
        shown: before.shown + shown,
        early: before.early + if early { shown } else { 0 },
        seen: before.seen + seen,
    };
    disk.send(false, 0)?;
    expect(disk, at, "a read", after(0, 1))?;
    disk.send(true, 8)?;
    expect(disk, at, "a write that passes", after(1, 2))?;
    disk.hold(true);
    disk.send(true, 16)?;
    expect(disk, at, "a write that is held and sent on", after(3, 3))?;
    disk.hold(false);
    disk.send(true, 24)?;
    expect(disk, at, "a second write that passes", after(4, 4))
}

fn expect(disk: &TestDisk, at: &str, what: &str, wanted: Counts) -> Result {
    let counts = disk.counts();
    if counts == wanted {
        return Ok(());
    }
    pr_err!("self-test of {at} failed at {what}: wanted {wanted:?}, got {counts:?}; bios cannot be seen reliably on this kernel");
    Err(Errno::EOPNOTSUPP)
}
