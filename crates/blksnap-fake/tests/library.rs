// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library on the simulated kernel: states, errors, lifetimes.

mod common;

use blksnap::{ChangeId, ErrorKind, SnapshotId, SnapshotOptions, State, Storage, Store};
use common::Lab;

#[test]
fn states_of_a_snapshot() {
    let lab = Lab::with_vdb(2 << 20);
    let blksnap = lab.library();
    let disk = blksnap.device(lab.device("vdb")).unwrap();
    let mut snapshot = blksnap.create(&SnapshotOptions::bound()).unwrap();
    assert_eq!(snapshot.info().unwrap().state, State::Created);
    assert_eq!(snapshot.take().unwrap_err().kind(), ErrorKind::WrongState);
    assert_eq!(
        snapshot.add(&disk).unwrap_err().kind(),
        ErrorKind::NotAttached
    );
    assert!(disk.ensure_attached().unwrap());
    assert!(!disk.ensure_attached().unwrap());
    assert_eq!(disk.attach().unwrap_err().kind(), ErrorKind::WrongState);
    snapshot.add(&disk).unwrap();
    assert_eq!(
        snapshot.add(&disk).unwrap_err().kind(),
        ErrorKind::WrongState
    );
    let mut other = blksnap.create(&SnapshotOptions::bound()).unwrap();
    assert!(disk.image().unwrap().is_none());
    let info = snapshot.take().unwrap();
    assert_eq!((info.state, info.devices), (State::Taken, 1));
    assert_eq!(disk.image().unwrap().unwrap().number, 1);
    other.add(&disk).unwrap();
    other.take().unwrap();
    let images = [snapshot.id(), other.id()].map(|id| disk.image_in(id).unwrap().unwrap());
    assert_eq!(images.each_ref().map(|image| image.number), [1, 2]);
    assert_ne!(images[0].path, images[1].path);
    assert_eq!(disk.image().unwrap().unwrap().path, images[1].path);
    let members = other.members().unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].image.as_ref(), Some(&images[1].path));
    assert_eq!(blksnap.attached().unwrap()[0].snapshots, 2);
    assert_eq!(disk.detach().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(
        snapshot.wait_event(std::time::Duration::ZERO).unwrap(),
        None
    );
    assert_eq!(blksnap.snapshots().unwrap().len(), 2);
    let id = snapshot.id();
    drop((snapshot, other));
    assert_eq!(blksnap.snapshots().unwrap().len(), 0);
    assert_eq!(
        blksnap.snapshot(id).unwrap_err().kind(),
        ErrorKind::NoSnapshot
    );
    assert_eq!(
        blksnap.snapshot(SnapshotId([1; 16])).unwrap_err().kind(),
        ErrorKind::NoSnapshot
    );
    disk.detach().unwrap();
    assert!(disk.tracking().unwrap().is_none());
}

#[test]
fn what_is_not_bound_outlives_its_handle() {
    let lab = Lab::with_vdb(2 << 20);
    let blksnap = lab.library();
    let snapshot = blksnap.create(&SnapshotOptions::default()).unwrap();
    let id = snapshot.id();
    drop(snapshot);
    blksnap.snapshot(id).unwrap().destroy().unwrap();
    assert_eq!(blksnap.snapshots().unwrap().len(), 0);
}

/// More changes than one question brings: every other block of 10,000.
#[test]
fn many_changes() {
    let lab = Lab::new();
    let blocks = 20_000u64;
    lab.kernel.add_device("vdb", 65536);
    let blksnap = lab.library();
    blksnap.device(lab.device("vdb")).unwrap().attach().unwrap();
    lab.kernel.add_device("vdb", blocks * 65536);
    let disk = blksnap.device(lab.device("vdb")).unwrap();
    let base = disk.tracking().unwrap().unwrap().change_id;
    // Written where the simulated kernel keeps it: to compare gigabytes takes long.
    let state = lab.kernel.root().join("state.json");
    let mut value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let changed: Vec<u64> = (0..blocks).map(|block| block % 2).collect();
    value["attachments"]["vdb"]["changed"] = changed.into();
    value["attachments"]["vdb"]["number"] = 1.into();
    value["attachments"]["vdb"]["size_bytes"] = (blocks * 65536).into();
    std::fs::write(&state, value.to_string()).unwrap();
    let extents: Vec<_> = disk.changes(base).unwrap().map(Result::unwrap).collect();
    assert_eq!(extents.len(), 10_000);
    assert!(
        extents
            .iter()
            .enumerate()
            .all(|(at, extent)| extent.offset == (2 * at as u64 + 1) * 65536
                && extent.length == 65536)
    );
    // Resumed in the middle of a batch.
    let mut changes = disk.changes(base).unwrap();
    changes.by_ref().take(5000).for_each(drop);
    let rest: Vec<_> = disk
        .changes_from(base, changes.resume_at())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rest, extents[5000..]);
    let newer = ChangeId { number: 2, ..base };
    assert_eq!(
        disk.changes(newer).unwrap_err().kind(),
        ErrorKind::UnknownChange
    );
    let other = ChangeId {
        generation: [9; 16],
        ..base
    };
    assert_eq!(
        disk.changes(other).unwrap_err().kind(),
        ErrorKind::GenerationChanged
    );
}

#[test]
fn a_storage_above_the_device_itself_is_refused() {
    let lab = Lab::with_vdb(2 << 20);
    let blksnap = lab.library();
    let disk = blksnap.device(lab.device("vdb")).unwrap();
    disk.attach().unwrap();
    let at_path = SnapshotOptions {
        stores: vec![Storage {
            store: Store::Path(lab.path("")),
            limit_bytes: Some(1 << 20),
        }],
        ..SnapshotOptions::bound()
    };
    lab.faults(|faults| faults.under = Some("vdb".into()));
    let mut snapshot = blksnap.create(&at_path).unwrap();
    assert_eq!(snapshot.add(&disk).unwrap_err().kind(), ErrorKind::Busy);
    // In memory it is fine, until it is given such a storage.
    let mut snapshot = blksnap.create(&SnapshotOptions::bound()).unwrap();
    snapshot.add(&disk).unwrap();
    let error = snapshot.add_store(&at_path.stores[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    lab.faults(|_| {});
    snapshot.add_store(&at_path.stores[0]).unwrap();
}
