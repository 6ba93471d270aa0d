// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the module offers beyond one snapshot of a device: several, storage, policy, events, consumers.

mod common;

use std::fs;

use common::{BLOCK, Lab};

fn id(outcome: &common::Outcome) -> String {
    outcome.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn several_snapshots_of_a_device() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    let create = ["snapshot", "create", "--take", &vdb, "--json"];
    let first = lab.run(&create).ok();
    let before = lab.kernel.content("vdb");
    lab.scribble("vdb", 7, 3);
    let second = lab.run(&create).ok();
    let after = lab.kernel.content("vdb");
    lab.scribble("vdb", 8, 3);
    let image = |id: &str| {
        let info = lab.run(&["snapshot", "info", id, "--json"]).ok().json();
        fs::read(info["images"][0]["image"].as_str().unwrap()).unwrap()
    };
    assert!(image(&id(&first)) == before && image(&id(&second)) == after);
    let all = lab.run(&["snapshot", "info", "--json"]).ok().json();
    assert_eq!(all["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(all["snapshots"][1]["images"][0]["device"], vdb);
    lab.run(&["snapshot", "info"])
        .ok()
        .fails(0, "not filling up");
    assert_eq!(
        lab.run(&["list", "--json"]).json()["devices"][0]["snapshots"],
        2
    );
    // A backup beside them.
    lab.backup(&[]).ok();
    lab.run(&["snapshot", "destroy", &id(&first)]).ok();
    assert!(image(&id(&second)) == after);
    lab.run(&["detach", &vdb]).fails(1, "is in a snapshot");
    lab.run(&["snapshot", "destroy", &id(&second)]).ok();
    lab.run(&["snapshot", "info"])
        .ok()
        .fails(0, "there is no snapshot");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn storage_policy_and_memory() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    fs::create_dir(lab.path("more")).unwrap();
    let created = lab
        .run(&[
            "snapshot",
            "create",
            &vdb,
            "--store",
            "memory",
            "--store",
            "more",
            "--limit",
            "1G",
            "--policy",
            "give-up",
            "--copy-memory",
            "8M",
            "--json",
        ])
        .ok();
    assert_eq!(created.json()["policy"], "give-up");
    let stores = vec!["memory".to_owned(), "more".to_owned()];
    assert_eq!(lab.kernel.stores(), [(stores, 1, 8192)]);
    fs::create_dir(lab.path("third")).unwrap();
    let id = id(&created);
    lab.run(&["snapshot", "grow", &id, "--store", "third", "--limit", "2G"])
        .ok()
        .fails(0, "differences also go to third");
    assert_eq!(lab.kernel.stores()[0].0[2], "third");
    lab.run(&["snapshot", "grow", &id, "--store", "nowhere"])
        .fails(1, "cannot store differences at nowhere");
    lab.run(&["snapshot", "grow", &id]).fails(2, "--store");
    lab.run(&["snapshot", "create", &vdb, "--policy", "hope"])
        .fails(2, "give-up");
    lab.run(&["snapshot", "destroy", &id]).ok();
    // What cannot be used as the second storage leaves no snapshot behind.
    lab.run(&[
        "snapshot", "create", &vdb, "--store", "memory", "--store", "nowhere",
    ])
    .fails(1, "cannot store differences at nowhere");
    assert_eq!(lab.kernel.leftovers().0, 0);
    lab.faults(|faults| faults.without = blksnap::uapi::extended::BLKSNAP_FEATURE_POLICY);
    lab.run(&["snapshot", "create", &vdb, "--policy", "give-up"])
        .fails(
            3,
            "the loaded module blksnap cannot let a snapshot choose its policy",
        );
}

#[test]
fn low_space_is_said() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    let id = id(&lab
        .run(&["snapshot", "create", "--take", &vdb, "--json"])
        .ok());
    lab.faults(|faults| faults.full_in_ms = Some(42_000));
    let info = lab.run(&["snapshot", "info", &id, "--json"]).ok().json();
    assert_eq!(info["full_in_seconds"], 42.0);
    lab.run(&["snapshot", "info", &id])
        .ok()
        .fails(0, "full in 42.0 s");
    let listener = lab
        .command(&["snapshot", "events", &id, "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The event is taken by the listener, and then nothing is said to be full soon.
    let fills = |lab: &Lab| {
        let info = lab.run(&["snapshot", "info", &id, "--json"]).ok().json();
        info["full_in_seconds"] != serde_json::Value::Null
    };
    while fills(&lab) {
        std::thread::yield_now();
    }
    lab.run(&["snapshot", "destroy", &id]).ok();
    let output = listener.wait_with_output().unwrap();
    assert!(output.status.success());
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&event["event"], &event["full_in_seconds"]),
        (&"low_space".into(), &42.0.into())
    );

    // While a command runs, it is a warning.
    lab.faults(|faults| faults.full_in_ms = Some(42_000));
    let script = "until grep -q '\"full_in_ms\": null' $STATE; do sleep 0.01; done";
    let state = lab.kernel.root().join("state.json");
    let output = lab
        .command(&["snapshot", "run", &vdb, "--", "sh", "-c", script])
        .env("STATE", state)
        .output()
        .unwrap();
    assert!(output.status.success());
}

#[test]
fn consumers() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    lab.run(&["consumer", "set", &vdb, "a"])
        .fails(1, "is not attached");
    lab.run(&["attach", &vdb]).ok();
    lab.run(&["consumer", "list"])
        .ok()
        .fails(0, "there is no consumer");
    let set = lab
        .run(&["consumer", "set", &vdb, "nightly", "--json"])
        .ok()
        .json();
    let zero = set["base"].as_str().unwrap().to_owned();
    lab.kernel.write("vdb", 5 * BLOCK, &[1]);
    lab.run(&["snapshot", "run", &vdb, "--", "true"]).ok();
    lab.run(&["consumer", "set", &vdb, "other"]).ok();
    lab.kernel.write("vdb", 9 * BLOCK, &[1]);
    lab.run(&["snapshot", "run", &vdb, "--", "true"]).ok();
    let changes = |name: &str| {
        let found = lab
            .run(&["changes", &vdb, "--consumer", name, "--json"])
            .ok()
            .json();
        found["changed_bytes"].as_u64().unwrap() / BLOCK
    };
    assert_eq!((changes("nightly"), changes("other")), (2, 1));
    lab.run(&["consumer", "set", &vdb, "other", "--to", &zero])
        .ok();
    assert_eq!(changes("other"), 2);
    let list = lab.run(&["consumer", "list", &vdb, "--json"]).ok().json();
    assert_eq!(list["consumers"][1]["base"], zero);
    lab.run(&["consumer", "remove", &vdb, "other"]).ok();
    lab.run(&["consumer", "remove", &vdb, "other"])
        .fails(1, "has no consumer other");
    lab.run(&["changes", &vdb, "--consumer", "other"])
        .fails(1, "has no consumer other")
        .fails(1, "blksnap consumer set");
    lab.run(&["changes", &vdb, "--consumer", "a", "--since", "*"])
        .fails(2, "cannot be used with");
    lab.run(&["consumer", "set", &vdb, &"x".repeat(64)])
        .fails(2, "1 to 63 bytes");
    let newer = zero.replace("/0", "/9");
    lab.run(&["consumer", "set", &vdb, "a", "--to", &newer])
        .fails(1, "newer than the last take");
}

#[test]
fn by_itself_it_stores_where_there_is_room() {
    let lab = Lab::with_vdb(2 << 20);
    fs::create_dir(lab.backups()).unwrap();
    // More than any file system has: only memory is left.
    let report = lab.backup(&["--json", "--limit", "4000000T"]).ok().json();
    let why = report["store"].as_str().unwrap();
    assert!(why.contains("no file system has"), "{why}");
    let named = lab.backup(&["--json", "--store", "memory"]).ok().json();
    assert_eq!(named["store"], "memory");
}
