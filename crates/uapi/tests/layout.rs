// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! Every size, offset and number of the interface, pinned by literals.
//!
//! A change of any line here breaks clients that exist: add beside, never in place.

use std::mem::{align_of, offset_of, size_of};

use blksnap_uapi::{control::*, ctl::*, extended::*, filter::*};

/// `pin!(Type: size, align { field: offset, … })`.
macro_rules! pin {
    ($ty:ident: $size:literal, $align:literal { $($field:ident: $offset:literal),* $(,)? }) => {
        assert_eq!(size_of::<$ty>(), $size, concat!("size of ", stringify!($ty)));
        assert_eq!(align_of::<$ty>(), $align, concat!("alignment of ", stringify!($ty)));
        $( assert_eq!(offset_of!($ty, $field), $offset,
            concat!("offset of ", stringify!($ty), ".", stringify!($field))); )*
        let named = [$(stringify!($field)),*];
        let all: Vec<_> = $ty::DESCRIPTION.fields.iter()
            .filter(|field| !field.is_padding()).map(|field| field.name).collect();
        assert_eq!(all, named, concat!("fields of ", stringify!($ty)));
    };
}

#[test]
fn filter_layout() {
    pin!(BlkfilterAttach: 48, 8 { name: 0, opt: 32, optlen: 40 });
    pin!(BlkfilterDetach: 32, 1 { name: 0 });
    pin!(BlkfilterCtl: 48, 8 { name: 0, cmd: 32, optlen: 36, opt: 40 });
}

#[test]
fn ctl_layout() {
    pin!(CbtInfo: 40, 8 {
        device_capacity: 0, block_size: 8, block_count: 12, generation_id: 16, changes_number: 32,
    });
    pin!(CbtMap: 16, 8 { offset: 0, length: 4, buffer: 8 });
    pin!(SectorRange: 16, 8 { offset: 0, count: 8 });
    pin!(CbtDirty: 16, 8 { count: 0, dirty_sectors: 8 });
    pin!(SnapshotAdd: 16, 1 { id: 0 });
    pin!(SnapshotInfo: 36, 4 { error_code: 0, image: 4 });
}

#[test]
fn control_layout() {
    pin!(Version: 8, 2 { major: 0, minor: 2, revision: 4, build: 6 });
    pin!(SnapshotCreate: 32, 8 { diff_storage_limit_sect: 0, diff_storage_filename: 8, id: 16 });
    pin!(SnapshotDestroy: 16, 1 { id: 0 });
    pin!(SnapshotTake: 16, 1 { id: 0 });
    pin!(SnapshotCollect: 16, 8 { count: 0, ids: 8 });
    pin!(SnapshotEvent: 4096, 8 { id: 0, timeout_ms: 16, code: 20, time_label: 24, data: 32 });
    pin!(EventCorrupted: 12, 4 { dev_id_mj: 0, dev_id_mn: 4, err_code: 8 });
    pin!(EventNoSpace: 8, 8 { requested_nr_sect: 0 });
}

#[test]
fn extended_layout() {
    pin!(Features: 24, 8 { size: 0, abi: 4, features: 8, block_size: 16, reserved: 20 });
    pin!(SnapshotOpen: 72, 8 {
        size: 0, flags: 4, store_kind: 8, gate_timeout_ms: 12, limit: 16, path: 24, id: 32,
        policy: 48, copy_memory_kib: 52, fd: 56, extent_count: 60, extents: 64,
    });
    pin!(StoreAdd: 56, 8 {
        size: 0, kind: 4, id: 8, limit: 24, path: 32, fd: 40, extent_count: 44, extents: 48,
    });
    pin!(SnapshotStat: 96, 8 {
        size: 0, state: 4, id: 8, error: 24, devices: 28, gate_ns: 32, taken_ns: 40,
        store_capacity: 48, store_used: 56, store_limit: 64, memory: 72, full_in_ms: 80,
        policy: 88, reserved: 92,
    });
    pin!(EventLowSpace: 24, 8 { used: 0, limit: 8, full_in_ms: 16 });
    pin!(Members: 32, 8 { size: 0, count: 4, id: 8, entries: 24 });
    pin!(Member: 56, 8 { major: 0, minor: 4, error: 8, flags: 12, image: 16, number: 48 });
    pin!(Devices: 16, 8 { size: 0, count: 4, entries: 8 });
    pin!(Device: 64, 8 {
        major: 0, minor: 4, capacity: 8, generation: 16, number: 32, snapshot: 40,
        block_size: 56, snapshots: 60,
    });
    pin!(CbtState: 56, 8 {
        size: 0, block_size: 4, capacity: 8, generation: 16, number: 32, block_count: 40,
        memory: 48,
    });
    pin!(Extent: 16, 8 { offset: 0, length: 8 });
    pin!(CbtExtents: 56, 8 {
        size: 0, count: 4, generation: 8, base: 24, offset: 32, next: 40, extents: 48,
    });
    pin!(ImageStat: 200, 8 {
        size: 0, error: 4, image: 8, snapshot: 40, number: 56, copy_reads: 64,
        copy_read_bytes: 72, stores: 80, store_bytes: 88, held: 96, image_reads: 104,
        image_writes: 112, saved_blocks: 120, memory: 128, spec_blocks: 136, spec_used: 144,
        free_bytes: 152, pool_bytes: 160, pool_limit: 168, pool_waits: 176, pool_wait_ns: 184,
        pool_wait_longest_ns: 192,
    });
    pin!(AttachOptions: 8, 4 { size: 0, flags: 4 });
    pin!(Add: 24, 4 { size: 0, flags: 4, id: 8 });
    pin!(Free: 40, 8 { size: 0, count: 4, id: 8, extents: 24, accepted: 32 });
    pin!(Consumer: 104, 8 {
        size: 0, op: 4, name: 8, generation: 72, number: 88, index: 96, reserved: 100,
    });
}

#[test]
fn numbers() {
    assert_eq!(BLKFILTER_NAME_LENGTH, 32);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CBTINFO, 0);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CBTMAP, 1);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CBTDIRTY, 2);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_SNAPSHOTADD, 3);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_SNAPSHOTINFO, 4);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CBT_STATE, 64);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CBT_EXTENTS, 65);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_IMAGE_STAT, 66);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_SNAPSHOT_ADD, 67);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_FREE, 68);
    assert_eq!(BLKFILTER_CTL_BLKSNAP_CONSUMER, 69);
    assert_eq!(BLKSNAP_IMAGE_NAME_LENGTH, 32);
    assert_eq!(BLKSNAP_CHANGES_NUMBER_MAX, 255);
    assert_eq!(BLKSNAP_EVENT_CODE_CORRUPTED, 0);
    assert_eq!(BLKSNAP_EVENT_CODE_NO_SPACE, 1);
    assert_eq!(BLKSNAP_ABI, 1);
    assert_eq!(BLKSNAP_EXTENDED_FIRST, 64);
    assert_eq!(BLKSNAP_OPEN_BOUND, 1);
    assert_eq!(BLKSNAP_STORE_MEMORY, 0);
    assert_eq!(BLKSNAP_STORE_PATH, 1);
    assert_eq!(BLKSNAP_STORE_EXTENTS, 2);
    assert_eq!(BLKSNAP_POLICY_HOLD, 0);
    assert_eq!(BLKSNAP_POLICY_GIVE_UP, 1);
    assert_eq!(BLKSNAP_ADD_SHARED, 1);
    assert_eq!(BLKSNAP_CONSUMER_GET, 0);
    assert_eq!(BLKSNAP_CONSUMER_SET, 1);
    assert_eq!(BLKSNAP_CONSUMER_REMOVE, 2);
    assert_eq!(BLKSNAP_CONSUMER_LIST, 3);
    assert_eq!(BLKSNAP_EVENT_CODE_LOW_SPACE, 64);
    assert_eq!(BLKSNAP_FULL_NEVER, u64::MAX);
    assert_eq!(BLKSNAP_GATE_TIMEOUT_MS, 10_000);
    assert_eq!(BLKSNAP_STATE_CREATED, 0);
    assert_eq!(BLKSNAP_STATE_TAKEN, 1);
    assert_eq!(BLKSNAP_STATE_FAILED, 2);
    assert_eq!(BLKSNAP_FEATURE_MEMORY_STORE, 1);
    assert_eq!(BLKSNAP_FEATURE_EXTENTS, 2);
    assert_eq!(BLKSNAP_FEATURE_BOUND, 4);
    assert_eq!(BLKSNAP_FEATURE_WRITABLE_IMAGE, 8);
    assert_eq!(BLKSNAP_FEATURE_SHARED, 16);
    assert_eq!(BLKSNAP_FEATURE_FREE, 32);
    assert_eq!(BLKSNAP_FEATURE_CONSUMERS, 64);
    assert_eq!(BLKSNAP_FEATURE_POLICY, 128);
    assert_eq!(BLKSNAP_FEATURE_STORE_ADD, 256);
    assert_eq!(BLKSNAP_FEATURE_STORE_EXTENTS, 512);
    assert_eq!(BLKSNAP_FEATURE_MEMBERS, 1024);
    assert_eq!(BLKSNAP_FEATURE_PREDICTION, 2048);
    assert_eq!(BLKSNAP_FEATURE_POLL, 4096);
    assert_eq!(BLKSNAP_FEATURE_ATTACH_FORCE, 8192);
    assert_eq!(BLKSNAP_ATTACH_FORCE, 1);
    assert_eq!(
        &BLKSNAP_FILTER,
        b"blksnap\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    assert_eq!(BLKSNAP_CONTROL_PATH, "/dev/blksnap-control");
}

#[test]
fn ioctl_numbers() {
    assert_eq!(BLKFILTER_ATTACH, 0xc030_128e);
    assert_eq!(BLKFILTER_DETACH, 0xc020_128f);
    assert_eq!(BLKFILTER_CTL, 0xc030_1290);
    assert_eq!(IOCTL_BLKSNAP_VERSION, 0x8008_5600);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_CREATE, 0xc020_5601);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_DESTROY, 0x4010_5602);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_TAKE, 0x4010_5603);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_COLLECT, 0x8010_5604);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_WAIT_EVENT, 0x9000_5605);
    assert_eq!(IOCTL_BLKSNAP_FEATURES, 0xc018_5640);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_OPEN, 0xc048_5641);
    assert_eq!(IOCTL_BLKSNAP_SNAPSHOT_STAT, 0xc060_5642);
    assert_eq!(IOCTL_BLKSNAP_DEVICES, 0xc010_5643);
    assert_eq!(IOCTL_BLKSNAP_STORE_ADD, 0xc038_5644);
    assert_eq!(IOCTL_BLKSNAP_MEMBERS, 0xc020_5645);
}
