// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command: shapes of its JSON, exit codes, what it says when something is wrong.

mod common;

use common::{Lab, shape};

#[track_caller]
fn has_shape(lab: &Lab, arguments: &[&str], expected: &str) {
    let outcome = lab.run(&[arguments, &["--json"]].concat()).ok();
    let expected: Vec<&str> = expected.split_whitespace().collect();
    let found: Vec<String> = shape(&outcome.json())
        .into_iter()
        .map(|line| line.replace(' ', ":"))
        .collect();
    assert_eq!(found, expected, "{arguments:?}");
    assert!(
        outcome.stderr.is_empty() || arguments[0] == "backup" || arguments.contains(&"create"),
        "{}",
        outcome.stderr
    );
}

/// Programs read these; a change of any line breaks them.
#[test]
fn json_shapes() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    has_shape(&lab, &["list"], ".devices[]:empty");
    has_shape(
        &lab,
        &["attach", &vdb],
        ".devices[].attached_now:bool .devices[].change_id:text .devices[].path:text",
    );
    has_shape(
        &lab,
        &["list"],
        ".devices[].change_id:text .devices[].major:int .devices[].minor:int .devices[].path:text
         .devices[].size_bytes:int .devices[].snapshot:null .devices[].snapshots:int .devices[].takes:int .devices[].tracking_block_bytes:int",
    );
    has_shape(
        &lab,
        &["backup", &vdb, "--to", "backups"],
        ".devices[].attached_now:bool .devices[].bytes_read:int .devices[].bytes_written:int .devices[].change_id:text
         .devices[].changed_bytes:int .devices[].copy_read_bytes:int .devices[].copy_reads:int .devices[].file:text
         .devices[].free_bytes:int .devices[].free_reason:text .devices[].gate_ns:int .devices[].held:int .devices[].kind:text .devices[].manifest:text
         .devices[].memory_bytes:int .devices[].name:text .devices[].parent:null .devices[].path:text
         .devices[].reason:text .devices[].seconds:float .devices[].sequence:int .devices[].size_bytes:int
         .devices[].store_bytes:int .devices[].stores:int .devices[].zero_bytes:int .gate_ns:int .kernel:text
         .memory_bytes:int .seconds:float .snapshot:text .store:text .store_used_bytes:int .taken:text",
    );
    has_shape(
        &lab,
        &["verify", "backups"],
        ".backups[].data_bytes:int .backups[].device:text .backups[].error:null .backups[].file:text
         .backups[].kind:text .backups[].parent:null .backups[].sequence:int .backups[].taken:text
         .seconds:float .unfinished[]:empty .whole:bool",
    );
    has_shape(
        &lab,
        &["restore", "backups", "x.raw"],
        ".bytes_read:int .bytes_written:int .chain[]:text .device:text .file:text .seconds:float .size_bytes:int
         .taken:text .target:text .verified:bool .zero_bytes:int",
    );
    lab.kernel.write("vdb", 0, &[9]);
    let snapshot = ".devices:int .error:null .full_in_seconds:null .gate_ns:int .id:text";
    let image = |reason| {
        format!(
            ".images[].copy_read_bytes:int .images[].copy_reads:int .images[].device:text .images[].error:null
             .images[].free_bytes:int {reason} .images[].held:int .images[].image:text .images[].image_reads:int
             .images[].image_writes:int .images[].memory_bytes:int .images[].number:int .images[].pool_bytes:int
             .images[].pool_limit_bytes:int .images[].pool_wait_longest_ns:int .images[].pool_wait_ns:int
             .images[].pool_waits:int .images[].saved_blocks:int .images[].spec_blocks:int
             .images[].spec_used:int .images[].store_bytes:int .images[].stores:int"
        )
    };
    let with_reason = image(".images[].free_reason:text");
    let image = image("");
    let rest = ".memory_bytes:int .policy:text .state:text .store_capacity_bytes:int .store_limit_bytes:int
         .store_used_bytes:int";
    has_shape(
        &lab,
        &["snapshot", "create", "--take", &vdb],
        &format!("{snapshot} {with_reason} {rest} .taken:text .tracking_memory_bytes:int"),
    );
    has_shape(
        &lab,
        &["changes", &vdb],
        ".changed_bytes:int .device:text .extents[].length:int .extents[].offset:int .next:null .since:text
         .size_bytes:int .tracking_block_bytes:int .until:text",
    );
    has_shape(
        &lab,
        &["snapshot", "list"],
        ".snapshots[].devices:int .snapshots[].error:null .snapshots[].full_in_seconds:null
         .snapshots[].gate_ns:int .snapshots[].id:text .snapshots[].memory_bytes:int
         .snapshots[].policy:text .snapshots[].state:text .snapshots[].store_capacity_bytes:int
         .snapshots[].store_limit_bytes:int .snapshots[].store_used_bytes:int .snapshots[].taken:text",
    );
    let id = lab.run(&["snapshot", "list", "--json"]).json()["snapshots"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    has_shape(
        &lab,
        &["snapshot", "info", &id],
        &format!("{snapshot} {image} {rest} .taken:text .tracking_memory_bytes:int"),
    );
    has_shape(&lab, &["snapshot", "destroy", &id], ".destroyed[]:text");
    has_shape(
        &lab,
        &["consumer", "set", &vdb, "nightly"],
        ".base:text .consumer:text .device:text",
    );
    has_shape(
        &lab,
        &["consumer", "list"],
        ".consumers[].base:text .consumers[].device:text .consumers[].name:text",
    );
    has_shape(
        &lab,
        &["consumer", "remove", &vdb, "nightly"],
        ".device:text .removed:text",
    );
    has_shape(
        &lab,
        &["version"],
        ".abi:int .blksnap:text .kernel:text .module:text",
    );
    has_shape(
        &lab,
        &["status"],
        ".abi:int .devices[].change_id:text .devices[].major:int .devices[].minor:int .devices[].path:text
         .devices[].size_bytes:int .devices[].snapshot:null .devices[].snapshots:int .devices[].takes:int .devices[].tracking_block_bytes:int
         .features.bound:bool .features.consumers:bool .features.extents:bool .features.free:bool
         .features.members:bool .features.memory_store:bool .features.policy:bool .features.prediction:bool
         .features.shared:bool .features.store_add:bool .features.store_extents:bool .features.writable_images:bool
         .kernel:text .loaded:bool .memory_bytes:int .module:text .snapshots[]:empty",
    );
    has_shape(&lab, &["detach", &vdb], ".devices[].path:text");
}

#[test]
fn a_snapshot_by_hand() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    let created = lab.run(&["snapshot", "create", &vdb, "--json"]).ok();
    assert!(created.stderr.contains("attached"), "{}", created.stderr);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["state"], "created");
    assert_eq!(
        created.json()["images"][0]["image"],
        serde_json::Value::Null
    );
    lab.run(&["snapshot", "create", &vdb, &vdb])
        .fails(1, "is in snapshot");
    assert_eq!(
        lab.kernel.leftovers().0,
        1,
        "a snapshot that could not be filled is gone"
    );
    let taken = lab.run(&["snapshot", "take", &id, "--json"]).ok().json();
    let image = taken["images"][0]["image"].as_str().unwrap().to_owned();
    let instant = lab.kernel.content("vdb");
    lab.scribble("vdb", 5, 5);
    assert!(std::fs::read(&image).unwrap() == instant);
    lab.run(&["snapshot", "take", &id])
        .fails(1, "is taken already");
    lab.run(&["detach", &vdb])
        .fails(1, "is in a snapshot")
        .fails(1, "blksnap snapshot destroy");
    lab.run(&["backup", &vdb, "--to", "backups"]).ok();
    lab.run(&["snapshot", "info", &id])
        .ok()
        .fails(0, "writes held for 250 µs")
        .fails(
            0,
            "waited    2 writes at that bound, 1.5 ms all together, the longest 1.0 ms\ntracking  ",
        );
    lab.run(&["snapshot", "destroy", &id]).ok();
    lab.run(&["snapshot", "destroy", &id])
        .fails(1, "there is no snapshot");
    lab.run(&["detach", &vdb]).ok();
    lab.run(&["detach", &vdb]).fails(1, "is not attached");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    lab.run(&["attach", "/dev/nothing-here"])
        .fails(1, "there is no device /dev/nothing-here")
        .fails(1, "lsblk");
    lab.run(&["attach", "/etc/passwd"])
        .fails(1, "/etc/passwd is not a block device");
    lab.faults(|faults| faults.unloaded = true);
    for arguments in [
        &["list"][..],
        &["attach", &vdb],
        &["backup", &vdb, "--to", "b"],
        &["snapshot", "list"],
    ] {
        lab.run(arguments)
            .fails(3, "is not loaded")
            .fails(3, "modprobe blksnap");
    }
    lab.run(&["status"]).fails(3, "modprobe blksnap");
    lab.run(&["version"]).ok().fails(0, "module  not loaded");
    let error = lab.run(&["list", "--json"]).fails(3, "").json();
    assert_eq!(error["error"]["kind"], "module_missing");
    assert!(
        error["error"]["help"]
            .as_str()
            .unwrap()
            .contains("modprobe")
    );
    lab.faults(|faults| faults.fail_control = Some(13));
    lab.run(&["list"])
        .fails(3, "cannot open /dev/blksnap-control")
        .fails(3, "as root");
    lab.faults(|faults| {
        faults.held.insert("vdb".into(), "dm-0".into());
    });
    lab.run(&["attach", &vdb])
        .fails(6, "is a part of dm-0")
        .fails(6, "/dev/dm-0")
        .fails(6, "blksnap attach --force");
    lab.run(&["backup", &vdb, "--to", "b"])
        .fails(6, "is a part of dm-0");
    lab.run(&["attach", "--force", &vdb])
        .fails(0, "warning: ")
        .fails(0, "is a part of dm-0");
    lab.run(&["detach", &vdb]).ok();
    lab.faults(|_| {});
    lab.kernel.add_device("vdb1", 1 << 20);
    lab.run(&["attach", &vdb]).ok();
    lab.run(&["attach", &vdb])
        .ok()
        .fails(0, "was attached already");
    lab.run(&["attach", &lab.device("vdb1")])
        .fails(1, &format!("vdb1 overlaps {vdb}, which is attached"))
        .fails(1, &format!("blksnap detach {vdb}"));
    lab.run(&["snapshot", "create", &vdb, "--store", "/nowhere/x"])
        .fails(1, "cannot store differences at /nowhere/x");
}

#[test]
fn changes() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    lab.run(&["changes", &vdb])
        .fails(1, "is not attached")
        .fails(1, "blksnap attach");
    lab.backup(&["--json"]).ok();
    let first = lab.run(&["list", "--json"]).json()["devices"][0]["change_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for block in [1u64, 3, 4, 30] {
        lab.kernel.write("vdb", block * 65536, &[0xab; 10]);
    }
    let none = lab
        .run(&["changes", &vdb, "--since", &first, "--json"])
        .ok()
        .json();
    assert_eq!(none["changed_bytes"], 0, "nothing was taken since");
    lab.backup(&[]).ok();
    let all = lab
        .run(&["changes", &vdb, "--since", &first, "--json"])
        .ok()
        .json();
    let expected = serde_json::json!([
        { "offset": 65536, "length": 65536 }, { "offset": 196608, "length": 131072 }, { "offset": 1966080, "length": 65536 }
    ]);
    assert_eq!(all["extents"], expected);
    assert_eq!(all["since"], first.as_str());
    // In two portions.
    let one = lab
        .run(&["changes", &vdb, "--since", &first, "--max", "1", "--json"])
        .ok()
        .json();
    assert_eq!(one["extents"].as_array().unwrap().len(), 1);
    let next = one["next"].as_u64().unwrap().to_string();
    let rest = lab
        .run(&[
            "changes", &vdb, "--since", &first, "--start", &next, "--json",
        ])
        .ok()
        .json();
    assert_eq!(
        rest["extents"].as_array().unwrap()[..],
        expected.as_array().unwrap()[1..]
    );
    let everything = lab
        .run(&["changes", &vdb, "--since", "*", "--json"])
        .ok()
        .json();
    assert_eq!(everything["changed_bytes"], 2 << 20);
    let until = all["until"].as_str().unwrap();
    let newer = until.replace("/2", "/3");
    lab.run(&["changes", &vdb, "--since", &newer])
        .fails(1, "is newer than the last take");
    lab.run(&[
        "changes",
        &vdb,
        "--since",
        "00000000-0000-0000-0000-000000000001/1",
    ])
    .fails(1, "another generation");
    lab.run(&["changes", &vdb, "--since", "yesterday"])
        .fails(2, "is not a change id");
}

#[test]
fn usage() {
    let lab = Lab::new();
    lab.run(&[]).fails(2, "Usage: blksnap");
    lab.run(&["--help"])
        .ok()
        .fails(0, "Exit codes:")
        .fails(0, "Examples:");
    lab.run(&["backup", "--help"]).ok().fails(0, "Examples:");
    lab.run(&["backup", "/dev/x"]).fails(2, "--to");
    lab.run(&["backup", "/dev/x", "--to", "b", "--full", "--differential"])
        .fails(2, "cannot be used with");
    lab.run(&["backup", "/dev/x", "--to", "b", "--limit", "lots"])
        .fails(2, "is not a size");
    lab.run(&["snapshot", "take", "x"])
        .fails(2, "is not a snapshot id");
    lab.run(&["--version"]).ok().fails(0, "blksnap 0.1.0");
}

/// In a pipe there is no progress bar, and with --quiet nothing at all.
#[test]
fn quiet() {
    let lab = Lab::with_vdb(2 << 20);
    let outcome = lab.backup(&[]).ok();
    assert!(
        !outcome.stderr.contains('\u{1b}') && !outcome.stderr.contains('\r'),
        "{:?}",
        outcome.stderr
    );
    assert!(outcome.stderr.lines().count() == 3, "{}", outcome.stderr);
    assert_eq!(lab.backup(&["--quiet"]).ok().stderr, "");
}
