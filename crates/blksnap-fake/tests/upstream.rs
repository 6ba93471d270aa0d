// SPDX-License-Identifier: MIT OR Apache-2.0
//! The older interface of the library, on the simulated kernel.

mod common;

use std::time::Duration;

use blksnap::upstream::{Control, Sectors, Tracked};
use blksnap::{ErrorKind, Event, Extent, SnapshotId};
use common::{BLOCK, Lab};

#[test]
fn a_client_of_the_older_interface() {
    let lab = Lab::with_vdb(1 << 20);
    let blksnap = lab.library();
    let disk = blksnap.device(lab.device("vdb")).unwrap();
    let tracked = Tracked::new(&disk);
    assert_eq!(tracked.info().unwrap_err().kind(), ErrorKind::NotAttached);
    disk.attach().unwrap();
    let first = tracked.info().unwrap();
    assert_eq!(
        (first.size_bytes, first.block_count, first.number),
        (1 << 20, 16, 0)
    );
    assert_eq!(tracked.image().unwrap(), None);

    let control = Control::open(&blksnap).unwrap();
    let missing = control.create(lab.path("nothing"), None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NoDevice);
    let id = control.create(lab.device("vdb"), Some(1 << 30)).unwrap();
    assert_eq!(control.take(id).unwrap_err().kind(), ErrorKind::WrongState);
    tracked.add(id).unwrap();
    assert_eq!(tracked.add(id).unwrap_err().kind(), ErrorKind::WrongState);
    let other = control.create(lab.device("vdb"), None).unwrap();
    assert_eq!(tracked.add(other).unwrap_err().kind(), ErrorKind::Busy);
    control.take(id).unwrap();
    assert_eq!(control.take(id).unwrap_err().kind(), ErrorKind::WrongState);
    assert!(tracked.image().unwrap().unwrap().exists());
    assert_eq!(control.snapshots().unwrap(), [id, other]);
    control.destroy(id).unwrap();

    // From sector 1 of block 2 to sector 0 of block 4: three blocks, at the next take.
    let sectors = Sectors {
        first: 2 * BLOCK / 512 + 1,
        count: 2 * BLOCK / 512,
    };
    tracked.mark(&[sectors]).unwrap();
    let behind = [Sectors {
        first: 2047,
        count: 2,
    }];
    assert_eq!(
        tracked.mark(&behind).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(tracked.map().unwrap().info().number, 1);
    tracked.add(other).unwrap();
    control.take(other).unwrap();
    let map = tracked.map().unwrap();
    assert_eq!(map.bytes()[..6], [0, 0, 2, 2, 2, 0]);
    let changed = Extent {
        offset: 2 * BLOCK,
        length: 3 * BLOCK,
    };
    assert_eq!(map.changed_since(first.generation, 1).unwrap(), [changed]);
    let mut part = [0; 2];
    tracked.read(4, &mut part).unwrap();
    assert_eq!(part, [2, 0]);
    assert_eq!(
        tracked.read(15, &mut part).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    control.destroy(other).unwrap();
}

#[test]
fn events_and_snapshots_that_are_gone() {
    let lab = Lab::with_vdb(1 << 20);
    let blksnap = lab.library();
    let control = Control::open(&blksnap).unwrap();
    let id = control.create(lab.device("vdb"), None).unwrap();
    assert_eq!(control.wait_event(id, Duration::ZERO).unwrap(), None);
    lab.faults(|faults| faults.full_in_ms = Some(5));
    let happened = control
        .wait_event(id, Duration::from_secs(10))
        .unwrap()
        .unwrap();
    assert!(
        matches!(happened.event, Event::LowSpace { .. }),
        "{happened:?}"
    );
    control.destroy(id).unwrap();
    let gone = [
        control.destroy(id).unwrap_err(),
        control.take(id).unwrap_err(),
        control.wait_event(id, Duration::ZERO).unwrap_err(),
    ];
    assert_eq!(gone.map(|error| error.kind()), [ErrorKind::NoSnapshot; 3]);
    assert!(control.snapshots().unwrap().is_empty());
    let disk = blksnap.device(lab.device("vdb")).unwrap();
    disk.attach().unwrap();
    assert_eq!(
        Tracked::new(&disk)
            .add(SnapshotId([9; 16]))
            .unwrap_err()
            .kind(),
        ErrorKind::NoSnapshot
    );
}
