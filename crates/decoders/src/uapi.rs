// SPDX-License-Identifier: GPL-2.0-only
//! Arguments of ioctls as bytes, of any size a caller may name, for every struct that grows.

use blksnap_uapi::control::{EventCorrupted, EventNoSpace, SnapshotCollect, SnapshotCreate};
use blksnap_uapi::ctl::{CbtDirty, CbtInfo, CbtMap};
use blksnap_uapi::extended::{
    Add, AttachOptions, CbtExtents, CbtState, Consumer, Devices, EventLowSpace, Features, Free,
    ImageStat, Members, SnapshotOpen, SnapshotStat, StoreAdd,
};
use blksnap_uapi::filter::{BlkfilterAttach, BlkfilterCtl};
use blksnap_uapi::{Abi, Versioned};

/// A struct of a fixed size is its bytes, there and back.
fn fixed<T: Abi>(bytes: &[u8]) {
    if bytes.len() >= T::SIZE {
        let mut back = vec![0; T::SIZE];
        T::read_from(bytes).write_to(&mut back);
        assert_eq!(back, bytes[..T::SIZE]);
    }
}

/// A struct that grows: what is known is kept, what is not known must be zero, what is not given is zero.
fn grows<T: Versioned>(bytes: &[u8]) {
    let Ok(read) = T::from_versioned(bytes) else {
        let unknown = bytes.get(T::SIZE..).unwrap_or_default();
        assert!(bytes.len() < T::SIZE || unknown.iter().any(|byte| *byte != 0));
        return;
    };
    let mut back = vec![0; T::SIZE];
    read.write_to(&mut back);
    let known = bytes.len().min(T::SIZE);
    assert_eq!(back[..known], bytes[..known]);
    assert!(
        back[known..]
            .iter()
            .chain(&bytes[known..])
            .all(|byte| *byte == 0)
    );
}

/// The check: panics when something of the above does not hold.
pub fn check(bytes: &[u8]) {
    fixed::<BlkfilterAttach>(bytes);
    fixed::<BlkfilterCtl>(bytes);
    fixed::<CbtInfo>(bytes);
    fixed::<CbtMap>(bytes);
    fixed::<CbtDirty>(bytes);
    fixed::<SnapshotCreate>(bytes);
    fixed::<SnapshotCollect>(bytes);
    fixed::<EventCorrupted>(bytes);
    fixed::<EventNoSpace>(bytes);
    fixed::<EventLowSpace>(bytes);
    grows::<Features>(bytes);
    grows::<SnapshotOpen>(bytes);
    grows::<StoreAdd>(bytes);
    grows::<SnapshotStat>(bytes);
    grows::<Members>(bytes);
    grows::<Devices>(bytes);
    grows::<CbtState>(bytes);
    grows::<CbtExtents>(bytes);
    grows::<ImageStat>(bytes);
    grows::<Add>(bytes);
    grows::<AttachOptions>(bytes);
    grows::<Free>(bytes);
    grows::<Consumer>(bytes);
}
