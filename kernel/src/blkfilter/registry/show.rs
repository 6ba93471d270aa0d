// SPDX-License-Identifier: GPL-2.0-only

//! What is attached, as text: a line for each attachment. `docs/abi.md` has the format.

use kern::state::{Lines, Name};

use super::{Phase, REGISTRY};

/// Under the one lock of the control plane, which is held for moments only. Sleeps for that alone.
pub(crate) fn show(lines: &mut Lines<'_>) {
    for entry in &REGISTRY.lock().entries {
        let attachment = &entry.attachment;
        let device = attachment.device();
        let (major, minor, sectors) = device.facts();
        let (first, filter) = (device.first(), attachment.filter().ops());
        let state = match entry.phase {
            Phase::New => "attaching",
            Phase::Live => "live",
            Phase::Leaving => "leaving",
        };
        lines.line(|to| {
            write!(
                to,
                "{major}:{minor} name={} filter={} first={first} sectors={sectors} state={state}",
                Name(&device.name()),
                Name(filter.name())
            )
        });
    }
}
