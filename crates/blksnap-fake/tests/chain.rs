// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chains of backups give back each instant, to us and to QEMU.

mod common;

use std::fs;

use common::{BLOCK, Lab, ODD_SIZE, qemu_img};
use serde_json::Value;

#[track_caller]
fn kind(report: &Value) -> (&str, &str, Option<&str>) {
    let device = &report["devices"][0];
    (
        device["kind"].as_str().unwrap(),
        device["file"].as_str().unwrap(),
        device["parent"].as_str(),
    )
}

/// full, incremental, incremental, differential, incremental on that, full, incremental.
#[test]
fn every_instant_comes_back() {
    let lab = Lab::with_vdb(ODD_SIZE);
    let mut instants: Vec<Vec<u8>> = Vec::new();
    let mut step = |more: &[&str], expected: (&str, Option<&str>)| {
        let turn = instants.len() as u64;
        if turn > 0 {
            lab.scribble("vdb", turn + 1, 5);
        }
        instants.push(lab.kernel.content("vdb"));
        let report = lab.backup(&[more, &["--json"]].concat()).ok().json();
        let (kind, _, parent) = kind(&report);
        assert_eq!((kind, parent), expected, "backup {}", turn + 1);
    };
    step(&[], ("full", None));
    step(&[], ("incremental", Some("vdb.000001.full.qcow2")));
    step(&[], ("incremental", Some("vdb.000002.incr.qcow2")));
    step(
        &["--differential"],
        ("differential", Some("vdb.000001.full.qcow2")),
    );
    step(&[], ("incremental", Some("vdb.000004.diff.qcow2")));
    step(&["--full"], ("full", None));
    step(
        &["--differential"],
        ("differential", Some("vdb.000006.full.qcow2")),
    );

    lab.run(&["verify", "backups"]).ok();
    let kinds = ["full", "incr", "incr", "diff", "incr", "full", "diff"];
    for (at, (kind, instant)) in kinds.iter().zip(&instants).enumerate() {
        let point = at as u64 + 1;
        assert!(
            lab.restored(point) == *instant,
            "our restore of backup {point}"
        );
        let file = format!("vdb.{point:06}.{kind}.qcow2");
        fs::write(lab.path("instant.raw"), instant).unwrap();
        let image = format!("backups/{file}");
        qemu_img(&["check", &image], &lab.path(""));
        qemu_img(
            &["compare", "-f", "raw", "-F", "qcow2", "instant.raw", &image],
            &lab.path(""),
        );
        qemu_img(
            &["convert", "-O", "raw", &image, "converted.raw"],
            &lab.path(""),
        );
        assert!(
            fs::read(lab.path("converted.raw")).unwrap() == *instant,
            "QEMU's reading of backup {point}"
        );
    }
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn an_incremental_reads_only_what_changed() {
    let lab = Lab::with_vdb(ODD_SIZE);
    let full = lab.backup(&["--json"]).ok().json();
    assert_eq!(full["devices"][0]["bytes_read"], ODD_SIZE);
    // One byte, two neighbours' worth across a border, and the last byte of a short block.
    lab.kernel.write("vdb", 5 * BLOCK + 17, &[1]);
    lab.kernel.write("vdb", 9 * BLOCK - 1, &[1, 2]);
    lab.kernel.write("vdb", ODD_SIZE - 1, &[0xee]);
    let report = lab.backup(&["--json"]).ok().json();
    let expected = 3 * BLOCK + ODD_SIZE % BLOCK;
    assert_eq!(report["devices"][0]["changed_bytes"], expected);
    assert_eq!(report["devices"][0]["bytes_read"], expected);
    let nothing = lab.backup(&["--json"]).ok().json();
    assert_eq!(nothing["devices"][0]["bytes_read"], 0);
    assert!(lab.restored(3) == lab.kernel.content("vdb"));
}

#[test]
fn zeros_take_no_room_and_hide_old_data() {
    let lab = Lab::new();
    lab.kernel.add_device("vdb", 32 << 20);
    let full = lab.backup(&["--json"]).ok().json();
    assert!(full["devices"][0]["bytes_written"].as_u64().unwrap() < 1 << 20);
    lab.kernel.write("vdb", 0, &[7; 1 << 20]);
    lab.backup(&[]).ok();
    lab.kernel.write("vdb", 0, &[0; 1 << 20]);
    let zeroed = lab.backup(&["--json"]).ok().json();
    assert_eq!(zeroed["devices"][0]["zero_bytes"], 1 << 20);
    assert!(zeroed["devices"][0]["bytes_written"].as_u64().unwrap() < 1 << 20);
    assert!(lab.restored(3).iter().all(|byte| *byte == 0));
    assert!(lab.restored(2)[..1 << 20].iter().all(|byte| *byte == 7));
}

#[test]
fn several_devices_of_one_instant() {
    let lab = Lab::with_vdb(8 << 20);
    lab.kernel.add_device("vdc", 5 << 20);
    lab.scribble("vdc", 9, 3);
    let both = [lab.device("vdb"), lab.device("vdc")];
    for _ in 0..2 {
        let report = lab
            .run(&["backup", &both[0], &both[1], "--to", "backups", "--json"])
            .ok()
            .json();
        assert_eq!(report["devices"].as_array().unwrap().len(), 2);
        lab.scribble("vdc", 10, 3);
    }
    let manifest = |file: &str| -> Value {
        serde_json::from_slice(&fs::read(lab.backups().join(file)).unwrap()).unwrap()
    };
    assert_eq!(
        manifest("vdb.000002.incr.json")["snapshot"],
        manifest("vdc.000002.incr.json")["snapshot"]
    );
    lab.run(&["restore", "backups", "x.raw"])
        .fails(2, "several devices: vdb, vdc");
    lab.run(&["restore", "backups/vdc.000001.full.qcow2", "x.raw"])
        .ok();
    assert_eq!(fs::metadata(lab.path("x.raw")).unwrap().len(), 5 << 20);
    lab.run(&["backup", &both[0], &both[0], "--to", "backups"])
        .fails(2, "are the same device");
}

#[test]
fn names_are_stable_and_never_shared() {
    let lab = Lab::with_vdb(1 << 20);
    lab.kernel.add_device("vdc", 1 << 20);
    let both = [lab.device("vdb"), lab.device("vdc")];
    lab.faults(|faults| {
        faults.identity.insert("vdb".into(), "serial:QM 1".into());
        faults.identity.insert("vdc".into(), "serial:QM_1".into());
    });
    lab.run(&["backup", &both[0], "--to", "backups"]).ok();
    assert_eq!(
        lab.names(),
        [
            "serial-QM_1.000001.full.json",
            "serial-QM_1.000001.full.qcow2"
        ]
    );
    // Another device whose files would have the same name.
    lab.run(&["backup", &both[1], "--to", "backups"])
        .fails(1, "is of the device serial:QM 1, not of serial:QM_1");
    // Together the two get other names.
    lab.run(&["backup", &both[0], &both[1], "--to", "other"])
        .ok();
    assert!(
        lab.path("other/vdb.000001.full.qcow2").exists()
            && lab.path("other/vdc.000001.full.qcow2").exists()
    );
}

#[test]
fn restoring_overwrites_what_was_there() {
    let lab = Lab::with_vdb(3 << 20);
    lab.backup(&[]).ok();
    fs::write(lab.path("old.raw"), vec![0x55; 4 << 20]).unwrap();
    lab.run(&["restore", "backups", "old.raw"])
        .fails(6, "exists");
    assert!(
        fs::read(lab.path("old.raw")).unwrap() == vec![0x55; 4 << 20],
        "a refused target is not touched"
    );
    lab.run(&["restore", "backups", "old.raw", "--force"]).ok();
    assert!(fs::read(lab.path("old.raw")).unwrap() == lab.kernel.content("vdb"));
}
