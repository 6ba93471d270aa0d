// SPDX-License-Identifier: GPL-2.0-only
//! What origin and store are made of, as data.

use super::cells::Kind;

/// RAM disks: the time is that of the processor's instructions, and of nothing else.
pub(crate) const RAM: Kind = Kind {
    name: "ram",
    title: "RAM disk",
    cpus: 1,
    real: false,
};

/// Every request takes 100 µs, as many as there are at a time: what counts is how often one waits for another.
pub(crate) const NULL: Kind = Kind {
    name: "null",
    title: "null_blk, 100 µs",
    cpus: 1,
    real: false,
};

/// Nothing is kept and nothing takes time: for sizes that no memory holds.
pub(crate) const THIN: Kind = Kind {
    name: "thin",
    title: "sizes and numbers (dm-zero)",
    cpus: 1,
    real: false,
};

/// The same RAM disks, and two jobs on two processors, which the emulator lets run in turn: what the path costs more where there are
/// several, without waiting for locks.
pub(crate) const TWO: Kind = Kind {
    name: "two",
    title: "RAM disk, two processors",
    cpus: 2,
    real: false,
};

/// A SCSI disk whose requests take 100 µs, by way of the SCSI layer.
pub(crate) const SCSI: Kind = Kind {
    name: "scsi",
    title: "scsi_debug, 100 µs",
    cpus: 1,
    real: false,
};

/// The delayed ones on two processors: takes meet writes in flight there.
pub(crate) const NULLS: Kind = Kind {
    name: "nulls",
    title: "null_blk, 100 µs, two processors",
    cpus: 2,
    real: false,
};

/// Two disks by way of virtio, kept by the emulator in a file each: how many requests they get is the same in each run, their time is not.
pub(crate) const VIRTIO: Kind = Kind {
    name: "virtio",
    title: "virtio disks",
    cpus: 1,
    real: true,
};

/// All devices, in the order of the report.
pub(crate) const KINDS: [&Kind; 7] = [&RAM, &TWO, &NULL, &NULLS, &SCSI, &THIN, &VIRTIO];
