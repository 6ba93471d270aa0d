// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! Conversion to bytes and back, and structs of other versions.

use blksnap_uapi::ctl::CbtInfo;
use blksnap_uapi::extended::Features;
use blksnap_uapi::{ioc, Abi, Mismatch, Versioned};

#[test]
fn bytes_are_those_of_memory() {
    let info = CbtInfo {
        device_capacity: 0x0102_0304_0506_0708,
        block_size: 0x1112_1314,
        block_count: 0x2122_2324,
        generation_id: *b"0123456789abcdef",
        changes_number: 0x31,
        ..CbtInfo::ZERO
    };
    let bytes = info.to_bytes();
    assert_eq!(&bytes[..8], &0x0102_0304_0506_0708u64.to_ne_bytes());
    assert_eq!(&bytes[8..12], &0x1112_1314u32.to_ne_bytes());
    assert_eq!(&bytes[12..16], &0x2122_2324u32.to_ne_bytes());
    assert_eq!(&bytes[16..32], b"0123456789abcdef");
    assert_eq!(&bytes[32..], &[0x31, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(CbtInfo::from_bytes(&bytes), info);
}

#[test]
fn every_byte_pattern_survives() {
    let bytes: [u8; 200] = std::array::from_fn(|at| u8::try_from(at + 50).unwrap());
    let stat = blksnap_uapi::extended::ImageStat::from_bytes(&bytes);
    assert_eq!(stat.to_bytes(), bytes);
    assert!(stat.error != 0 && stat.pool_wait_longest_ns != 0);
}

#[test]
fn short_buffers_are_zero_filled_and_cut() {
    let mut features = Features::ZERO;
    features.size = 24;
    features.features = u64::MAX;
    let mut short = [0xee; 12];
    features.write_to(&mut short);
    assert_eq!(&short[8..], &[0xff; 4]);
    let back = Features::read_from(&short);
    assert_eq!((back.size, back.block_size), (24, 0));
}

#[test]
fn versions() {
    let features = Features {
        size: 32,
        abi: 1,
        ..Features::ZERO
    };
    let mut newer = [0; 32];
    features.write_to(&mut newer);
    assert_eq!(Features::from_versioned(&newer), Ok(features));
    newer[31] = 1;
    assert_eq!(
        Features::from_versioned(&newer),
        Err(Mismatch::UnknownBytes)
    );
    assert_eq!(
        Features::from_versioned(&newer[..23]),
        Err(Mismatch::TooSmall)
    );
    assert_eq!(Features::from_versioned(&newer[..24]), Ok(features));
}

#[test]
fn parts_of_an_ioctl_number() {
    let cmd = blksnap_uapi::extended::IOCTL_BLKSNAP_SNAPSHOT_STAT;
    assert_eq!((ioc::type_of(cmd), ioc::nr_of(cmd)), (b'V', 66));
    assert_eq!(
        (ioc::size_in(cmd), ioc::dir_of(cmd)),
        (96, ioc::READ | ioc::WRITE)
    );
}
