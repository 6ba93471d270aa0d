// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged, missing and foreign files are noticed, and told.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;

use common::Lab;

/// A chain of a full and two incremental backups.
fn chain() -> Lab {
    let lab = Lab::with_vdb(6 << 20);
    lab.backup(&[]).ok();
    for turn in 2..4 {
        lab.scribble("vdb", turn, 4);
        lab.backup(&[]).ok();
    }
    lab
}

fn flip(lab: &Lab, file: &str, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(lab.backups().join(file))
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

const FULL: &str = "vdb.000001.full.qcow2";
const SECOND: &str = "vdb.000002.incr.qcow2";
const THIRD: &str = "vdb.000003.incr.qcow2";

#[test]
fn one_bit_of_data_is_noticed() {
    let lab = chain();
    let length = fs::metadata(lab.backups().join(SECOND)).unwrap().len();
    flip(&lab, SECOND, length - 1000);
    let report = lab
        .run(&["verify", "backups", "--json"])
        .fails(4, "is damaged")
        .json();
    assert_eq!(report["whole"], false);
    let error = |at: usize| report["backups"][at]["error"].as_str().map(str::to_owned);
    assert_eq!(error(0), None);
    assert!(
        error(1).unwrap().contains("its data between 0 and"),
        "{:?}",
        error(1)
    );
    assert!(
        error(2)
            .unwrap()
            .contains("on which it rests, is not whole"),
        "{:?}",
        error(2)
    );
    // What rests on it cannot be restored, what is before it can.
    lab.run(&["restore", "backups", "x.raw"])
        .fails(4, "is damaged");
    lab.run(&["restore", "backups", "y.raw", "--point", "1"])
        .ok();
    lab.run(&["verify", &format!("backups/{FULL}")]).ok();
    lab.run(&["verify", &format!("backups/{THIRD}")])
        .fails(4, "2 of 3 backups are not whole");
}

/// Any bit of what a reader needs: the header, the tables, the data. A bit in the reference counts,
/// which only writers use, changes nothing that is read.
#[test]
fn bits_anywhere() {
    let lab = chain();
    let path = lab.backups().join(SECOND);
    let good = fs::read(&path).unwrap();
    let before = lab.restored(2);
    let (mut noticed, mut harmless) = (0, 0);
    for at in (0..good.len()).step_by(good.len() / 97) {
        flip(&lab, SECOND, at as u64);
        if lab.run(&["verify", &format!("backups/{SECOND}")]).code == Some(4) {
            noticed += 1;
        } else {
            harmless += 1;
            assert!(
                lab.restored(2) == before,
                "a bit at {at} changed what is read, and verify did not notice"
            );
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(noticed > 40, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn missing_and_cut_files() {
    let lab = chain();
    let away = lab.path("away");
    fs::rename(lab.backups().join(SECOND), &away).unwrap();
    lab.run(&["verify", "backups"])
        .fails(4, "vdb.000002.incr.qcow2 is missing");
    lab.run(&["restore", "backups", "x.raw"])
        .fails(4, "vdb.000002.incr.qcow2 is missing");
    lab.backup(&[])
        .ok()
        .fails(0, "warning: ")
        .fails(0, "full backup, because vdb.000002.incr.qcow2 is missing");
    fs::copy(&away, lab.backups().join(SECOND)).unwrap();
    lab.run(&["verify", "backups"]).ok();

    let length = fs::metadata(&away).unwrap().len();
    fs::File::options()
        .write(true)
        .open(lab.backups().join(SECOND))
        .unwrap()
        .set_len(length - 65536)
        .unwrap();
    lab.run(&["verify", "backups"])
        .fails(4, "bytes and should have");
    fs::remove_file(lab.backups().join("vdb.000002.incr.json")).unwrap();
    lab.run(&["verify", "backups"])
        .fails(4, "vdb.000002.incr.qcow2 has no manifest");
}

/// Two chains of the same names: a file of one does not pass for that of the other.
#[test]
fn a_parent_of_another_chain() {
    let (lab, other) = (chain(), chain());
    other.scribble("vdb", 77, 3);
    other.backup(&[]).ok();
    for extension in ["qcow2", "json"] {
        let name = format!("vdb.000001.full.{extension}");
        fs::copy(lab.backups().join(&name), other.backups().join(&name)).unwrap();
    }
    // The same content so far: the same checksums, and so the same backup.
    other.run(&["verify", "backups"]).ok();
    let third = other.path("third");
    fs::create_dir(&third).unwrap();
    let fresh = Lab::with_vdb(6 << 20);
    fresh.scribble("vdb", 99, 2);
    fresh.backup(&[]).ok();
    for extension in ["qcow2", "json"] {
        let name = format!("vdb.000001.full.{extension}");
        fs::copy(fresh.backups().join(&name), other.backups().join(&name)).unwrap();
    }
    other
        .run(&["verify", "backups"])
        .fails(4, "is another backup than the one it rests on");
    other
        .run(&["restore", "backups", "x.raw"])
        .fails(4, "is another backup than the one");
    other.backup(&[]).ok().fails(
        0,
        "full backup, because vdb.000001.full.qcow2 is not the backup",
    );
}

#[test]
fn foreign_files() {
    let lab = chain();
    fs::write(lab.backups().join("notes.txt"), "mine").unwrap();
    fs::write(lab.backups().join("vdb.000009.incr.json"), "{}").unwrap();
    lab.run(&["verify", "backups"])
        .fails(4, "is not a readable backup manifest");
    // Not taken for a parent, not overwritten, and its number is not used again.
    lab.backup(&[])
        .ok()
        .fails(0, "warning: ")
        .fails(0, "full backup, because");
    assert!(lab.backups().join("vdb.000010.full.qcow2").exists());
    assert_eq!(fs::read(lab.backups().join("notes.txt")).unwrap(), b"mine");
    assert_eq!(
        fs::read(lab.backups().join("vdb.000009.incr.json")).unwrap(),
        b"{}"
    );
    lab.run(&["verify", "backups/notes.txt"])
        .fails(2, "is not named as a backup");
    fs::write(lab.path("file"), "").unwrap();
    lab.run(&["backup", &lab.device("vdb"), "--to", "file"])
        .fails(2, "file is not a folder");
    lab.run(&["backup", &lab.device("vdb"), "--to", "a/b/c"])
        .fails(1, "cannot make the folder a/b/c");
    lab.run(&["verify", "nowhere"])
        .fails(1, "cannot open the folder nowhere");
    lab.run(&["restore", "backups", "x.raw", "--point", "77"])
        .fails(2, "no backup 77 of vdb");
    lab.run(&["restore", "backups", "x.raw", "--device", "vdz"])
        .fails(2, "no backup of vdz");
}

#[test]
fn a_manifest_changed_by_hand() {
    let lab = chain();
    let path = lab.backups().join("vdb.000002.incr.json");
    let text = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str, says: &str| {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        lab.run(&["verify", "backups"]).fails(4, says);
    };
    with(
        "\"size_bytes\": 6291456",
        "\"size_bytes\": 6291968",
        "its manifest says 6291968",
    );
    with(
        "\"file\": \"vdb.000001.full.qcow2\"",
        "\"file\": \"other.qcow2\"",
        "its manifest says other.qcow2",
    );
    with("\"sequence\": 2", "\"sequence\": 4", "is the manifest of");
    with(
        "\"version\": 1",
        "\"version\": 99",
        "newer than this program",
    );
    with(
        "\"xxh3-128\"",
        "\"xxh3-128",
        "is not a readable backup manifest",
    );
}

#[test]
fn change_tracking_began_anew() {
    let lab = chain();
    lab.run(&["detach", &lab.device("vdb")]).ok();
    lab.backup(&[])
        .ok()
        .fails(0, "warning: ")
        .fails(0, "change tracking begins with this backup");
    lab.run(&["detach", &lab.device("vdb")]).ok();
    lab.run(&["attach", &lab.device("vdb")]).ok();
    lab.backup(&["--differential"])
        .ok()
        .fails(0, "change tracking began anew since vdb.000004.full.qcow2");
    lab.backup(&[]).ok().fails(0, "incremental backup, because");
    assert!(lab.restored(6) == lab.kernel.content("vdb"));
}
