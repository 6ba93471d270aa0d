// SPDX-License-Identifier: GPL-2.0-only
//! What is done with a device, as data.

use super::cells::{On, Work};

/// What is usual.
const USUAL: Work = Work {
    name: "",
    title: "",
    on: On::Origin,
    before: None,
    fio: "",
    once: "",
    long: "",
    agree: 0.01,
    like: "",
};

const SEQUENTIAL_READ: &str = "--ioengine=psync --rw=read --bs=1M";
const RANDOM: &str =
    "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --size=256M --norandommap";
/// Far from what was saved before.
const FAR: &str =
    "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --norandommap --offset=16G --size=32G";

/// All works, in the order of the report.
pub(crate) const WORKS: [Work; 35] = [
    Work {
        name: "random",
        title: "random 4 KiB write, QD 1",
        fio: RANDOM,
        once: "--io_size=160M",
        long: "--io_size=160M",
        ..USUAL
    },
    Work {
        name: "sparse",
        title: "first overwrite, sparse random 4 KiB, QD 1",
        fio: "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --size=768M",
        once: "--io_size=24M",
        long: "--io_size=96M",
        ..USUAL
    },
    Work {
        name: "sparse32",
        title: "first overwrite, sparse random 4 KiB, QD 32",
        fio: "--ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=768M",
        once: "--io_size=24M",
        long: "--io_size=96M",
        agree: 0.03,
        ..USUAL
    },
    Work {
        name: "sixteen",
        title: "first overwrite, sparse random 16 KiB, QD 1",
        fio: "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=16k --size=768M",
        once: "--io_size=64M",
        long: "--io_size=64M",
        ..USUAL
    },
    Work {
        name: "sixteen32",
        title: "first overwrite, sparse random 16 KiB, QD 32",
        fio: "--ioengine=libaio --iodepth=32 --rw=randwrite --bs=16k --size=768M",
        once: "--io_size=64M",
        long: "--io_size=64M",
        agree: 0.03,
        ..USUAL
    },
    Work {
        name: "dense32",
        title: "first overwrite, every 4 KiB block of a region at random, QD 32",
        fio: "--ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=64M --random_generator=lfsr",
        once: "--io_size=64M",
        long: "--io_size=64M",
        agree: 0.03,
        ..USUAL
    },
    Work {
        name: "seq",
        title: "first overwrite, sequential 1 MiB, QD 1",
        fio: "--ioengine=psync --rw=write --bs=1M --size=512M",
        once: "--io_size=512M",
        long: "--io_size=512M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "mix32",
        title: "random 4 KiB, 70 % reads, each block of a region once, QD 32",
        fio: "--ioengine=libaio --iodepth=32 --rw=randrw --rwmixread=70 --bs=4k --size=64M --random_generator=lfsr",
        once: "--io_size=64M",
        long: "--io_size=64M",
        agree: 0.03,
        ..USUAL
    },
    Work {
        name: "read",
        title: "random 4 KiB read of the origin, QD 1",
        fio: "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --size=256M --norandommap",
        once: "--io_size=96M",
        long: "--io_size=96M",
        ..USUAL
    },
    Work {
        name: "read-seq",
        title: "sequential 1 MiB read of the origin, QD 1",
        fio: SEQUENTIAL_READ,
        once: "--size=512M",
        long: "--size=512M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "second",
        title: "second overwrite, random 4 KiB, QD 1",
        before: Some("--ioengine=psync --rw=write --bs=1M --size=64M"),
        fio: "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --size=64M --norandommap",
        once: "--io_size=160M",
        long: "--io_size=160M",
        ..USUAL
    },
    Work {
        name: "image-clean",
        title: "image read, sequential 1 MiB, nothing saved",
        on: On::Image,
        fio: SEQUENTIAL_READ,
        once: "--size=512M",
        long: "--size=512M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "image-saved",
        title: "image read, sequential 1 MiB, all saved",
        on: On::Image,
        before: Some("--ioengine=psync --rw=write --bs=1M --size=256M"),
        fio: SEQUENTIAL_READ,
        once: "--size=256M --io_size=512M",
        long: "--size=256M --io_size=512M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "written",
        title: "image read, sequential 1 MiB, while the origin is written to",
        on: On::Written,
        fio: SEQUENTIAL_READ,
        once: "--size=256M",
        long: "--size=256M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "written-random",
        title: "image read, random 4 KiB, QD 1, while the origin is written to",
        on: On::Written,
        fio: "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --size=768M --norandommap",
        once: "--io_size=48M",
        long: "--io_size=48M",
        ..USUAL
    },
    Work {
        name: "file",
        title: "first overwrite of a file on ext4, random 4 KiB, QD 1",
        on: On::File("old"),
        fio: "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --size=256M",
        once: "--io_size=24M",
        long: "--io_size=24M",
        ..USUAL
    },
    Work {
        name: "fsync",
        title: "the same, each write followed by fsync",
        on: On::File("old"),
        fio: "--ioengine=psync --fsync=1 --rw=randwrite --bs=4k --size=256M",
        once: "--io_size=8M",
        long: "--io_size=8M",
        ..USUAL
    },
    Work {
        name: "sqlite",
        title: "SQLite on ext4, transactions of one changed row",
        on: On::Program,
        fio: "sqlite",
        ..USUAL
    },
    Work {
        name: "pgbench",
        title: "PostgreSQL on ext4: pgbench, one client, and a checkpoint",
        on: On::Program,
        fio: "pgbench",
        ..USUAL
    },
    Work {
        name: "new",
        title: "a new file on ext4, sequential 1 MiB: into free space",
        on: On::File("new"),
        fio: "--ioengine=psync --rw=write --bs=1M --size=256M",
        agree: 0.02,
        ..USUAL
    },
    Work {
        name: "backup",
        title: "full backup of 768 MiB with 128 MiB of data (raw: qemu-img convert of a device that nobody writes to)",
        on: On::Program,
        fio: "backup",
        // Programs read and write files, whose cache is not the same each time.
        agree: 0.05,
        ..USUAL
    },
    Work {
        name: "backup-again",
        title: "another backup when 16 MiB have changed (raw: qemu-img convert again)",
        on: On::Program,
        fio: "again",
        // Programs read and write files, whose cache is not the same each time.
        agree: 0.05,
        ..USUAL
    },
    Work {
        name: "take",
        title: "take of a snapshot of a device with an ext4 that is mounted, store in memory",
        on: On::Program,
        fio: "take",
        ..USUAL
    },
    Work {
        name: "takes",
        title: "takes under random 4 KiB writes, QD 32",
        on: On::Takes,
        fio: "--ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=256M --norandommap --time_based --runtime=600",
        ..USUAL
    },
    Work {
        name: "wide",
        title: "random 4 KiB write over all of the device, QD 1",
        fio: "--ioengine=libaio --iodepth=1 --rw=randwrite --bs=4k --norandommap",
        once: "--io_size=24M",
        long: "--io_size=96M",
        ..USUAL
    },
    Work {
        name: "look",
        title: "random 4 KiB read of the image, over all of the device, nothing saved, QD 1",
        on: On::Image,
        fio: "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --norandommap",
        once: "--io_size=24M",
        long: "--io_size=24M",
        ..USUAL
    },
    saved(
        "saved3",
        "first overwrite after 10³ blocks",
        "--ioengine=psync --rw=write --bs=1M --size=4M",
    ),
    saved(
        "saved4",
        "first overwrite after 10⁴ blocks",
        "--ioengine=psync --rw=write --bs=1M --size=40M",
    ),
    saved(
        "saved5",
        "first overwrite after 10⁵ blocks",
        "--ioengine=psync --rw=write --bs=1M --size=400M",
    ),
    saved(
        "saved6",
        "first overwrite after 10⁶ blocks",
        "--ioengine=psync --rw=write --bs=1M --size=4G",
    ),
    saved(
        "saved7",
        "first overwrite after 10⁷ blocks",
        "--ioengine=psync --rw=write --bs=1M --offset=64G --size=40G",
    ),
    look(
        "look3",
        "random 4 KiB read of the image, 10³ saved blocks of it, QD 1",
        "--ioengine=psync --rw=write --bs=1M --size=4M",
        "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --norandommap --size=4M",
    ),
    look(
        "look5",
        "random 4 KiB read of the image, 10⁵ saved blocks of it, QD 1",
        "--ioengine=psync --rw=write --bs=1M --size=400M",
        "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --norandommap --size=400M",
    ),
    look(
        "look6",
        "random 4 KiB read of the image, 10⁶ saved blocks of it, QD 1",
        "--ioengine=psync --rw=write --bs=1M --size=4G",
        "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --norandommap --size=4G",
    ),
    look(
        "look7",
        "random 4 KiB read of the image, 10⁷ saved blocks of it, QD 1",
        "--ioengine=psync --rw=write --bs=1M --size=40G",
        "--ioengine=libaio --iodepth=1 --rw=randread --bs=4k --norandommap --size=40G",
    ),
];

const fn saved(name: &'static str, title: &'static str, before: &'static str) -> Work {
    Work {
        name,
        title,
        before: Some(before),
        fio: FAR,
        once: "--io_size=24M",
        long: "--io_size=24M",
        like: "saved3",
        ..USUAL
    }
}

const fn look(
    name: &'static str,
    title: &'static str,
    before: &'static str,
    fio: &'static str,
) -> Work {
    Work {
        name,
        title,
        on: On::Image,
        before: Some(before),
        fio,
        once: "--io_size=24M",
        long: "--io_size=24M",
        like: "look",
        ..USUAL
    }
}
