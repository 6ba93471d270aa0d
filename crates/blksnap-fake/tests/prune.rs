// SPDX-License-Identifier: MIT OR Apache-2.0
//! Old backups go, what a kept one rests on stays, and a removal that was interrupted is finished.

mod common;

use std::fs;

use common::Lab;

/// 1 full, 2 incremental, 3 full, 4 incremental, 5 differential on 3.
fn folder() -> Lab {
    let lab = Lab::with_vdb(2 << 20);
    for (turn, kind) in ["", "", "--full", "", "--differential"].iter().enumerate() {
        let kind: Vec<&str> = [*kind]
            .into_iter()
            .filter(|kind| !kind.is_empty())
            .collect();
        lab.backup(&kind).ok();
        lab.scribble("vdb", turn as u64 + 2, 2);
    }
    lab
}

fn images(lab: &Lab) -> Vec<String> {
    let names = lab.names().into_iter();
    names
        .filter_map(|name| Some(name.strip_suffix(".qcow2")?[4..].to_owned()))
        .collect()
}

#[test]
fn old_chains_go() {
    let lab = folder();
    let all = images(&lab);
    let would = lab
        .run(&["prune", "backups", "--keep", "1", "--dry-run", "--json"])
        .ok()
        .json();
    assert_eq!(
        (
            would["removed"].as_bool(),
            would["backups"].as_array().unwrap().len()
        ),
        (Some(false), 3)
    );
    assert_eq!(images(&lab), all);
    lab.run(&["prune", "backups", "--keep", "2"])
        .ok()
        .fails(0, "in 2 backups; 3 stay");
    assert_eq!(images(&lab), ["000003.full", "000004.incr", "000005.diff"]);
    lab.run(&["prune", "backups", "--keep", "1"]).ok();
    assert_eq!(images(&lab), ["000003.full", "000005.diff"]);
    lab.run(&["verify", "backups"]).ok();
    lab.run(&["prune", "backups", "--keep", "1"])
        .ok()
        .fails(0, "nothing to remove");
    // The next one follows the newest that is there.
    lab.backup(&["--json"]).ok();
    assert_eq!(images(&lab)[2], "000006.incr");
}

#[test]
fn an_interrupted_removal_is_finished() {
    let lab = folder();
    let manifest = "vdb.000002.incr.json";
    fs::rename(
        lab.backups().join(manifest),
        lab.backups()
            .join(format!(".blksnap-tmp.removed.{manifest}")),
    )
    .unwrap();
    lab.backup(&[])
        .ok()
        .fails(0, "removed vdb.000002.incr.qcow2, which was being removed");
    assert!(!images(&lab).contains(&"000002.incr".to_owned()));
    lab.run(&["verify", "backups"]).ok();
}

#[test]
fn what_is_refused() {
    let lab = folder();
    lab.run(&["prune", "backups"]).fails(2, "--keep");
    lab.run(&["prune", "backups", "--keep", "0"])
        .fails(2, "at least one");
    lab.run(&["prune", "nowhere", "--keep", "1"])
        .fails(1, "nowhere");
    assert!(!lab.path("nowhere").exists());
    lab.run(&["prune", "backups", "--keep", "1", "--device", "vdx"])
        .fails(2, "holds no backup of vdx");
    fs::remove_file(lab.backups().join("vdb.000001.full.json")).unwrap();
    let before = lab.names();
    lab.run(&["prune", "backups", "--keep", "1"])
        .fails(4, "has no manifest");
    assert_eq!(
        lab.names(),
        before,
        "nothing of a device with something wrong goes"
    );
}
