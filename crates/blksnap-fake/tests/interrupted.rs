// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killed, interrupted, failed: nothing half made is left, and no snapshot.

mod common;

use std::fs;
use std::process::Child;

use common::Lab;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_killed_run_leaves_nothing_that_counts() {
    let lab = Lab::with_vdb(4 << 20);
    lab.backup(&[]).ok();
    lab.scribble("vdb", 2, 4);
    let mut child = lab.hanging_backup();
    assert_eq!(lab.kernel.leftovers().0, 1, "the snapshot is held");
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel's part: the snapshot went with its process.
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
    let left = ".blksnap-tmp.vdb.000002.incr.qcow2";
    assert_eq!(
        lab.names(),
        [left, "vdb.000001.full.json", "vdb.000001.full.qcow2"]
    );
    let report = lab.run(&["verify", "backups", "--json"]).ok().json();
    assert_eq!(report["unfinished"][0], left);
    // The next run cleans up, and loses no change.
    lab.faults(|_| {});
    lab.backup(&[]).ok().fails(0, &format!("removed {left}"));
    assert_eq!(
        lab.names(),
        [
            "vdb.000001.full.json",
            "vdb.000001.full.qcow2",
            "vdb.000002.incr.json",
            "vdb.000002.incr.qcow2"
        ]
    );
    assert!(lab.restored(2) == lab.kernel.content("vdb"));
}

/// How often the thread that deals with signals has begun to wait for one, once it does.
fn waits_for_signals(child: &Child) -> u64 {
    let tasks = format!("/proc/{}/task", child.id());
    loop {
        for task in fs::read_dir(&tasks).unwrap().flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let field =
                |name: &str| Some(status.lines().find_map(|l| l.strip_prefix(name))?.trim());
            let waits = field("State:").is_some_and(|state| state.starts_with('S'));
            if field("Name:") == Some("signals") && waits {
                return field("voluntary_ctxt_switches:").unwrap().parse().unwrap();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_signal_ends_it_tidily() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let lab = Lab::with_vdb(4 << 20);
        let child = lab.hanging_backup();
        let before = waits_for_signals(&child);
        kill_process(Pid::from_child(&child), signal).unwrap();
        // The work sees it when it goes on.
        while waits_for_signals(&child) == before {}
        lab.release_hang();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("interrupted; nothing incomplete was left behind"),
            "{said}"
        );
        assert_eq!(lab.names(), [""; 0]);
        assert_eq!(lab.kernel.leftovers(), (0, vec![]));
    }
}

#[test]
fn two_runs_do_not_mix() {
    let lab = Lab::with_vdb(4 << 20);
    let child = lab.hanging_backup();
    lab.backup(&[])
        .fails(1, "another backup is being written to backups");
    lab.release_hang();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(lab.names().len(), 2);
}

/// A run killed between the last data and the last name: each place it can have got to.
#[test]
fn a_whole_backup_is_finished_by_the_next_run() {
    let image = "vdb.000002.incr.qcow2";
    let manifest = "vdb.000002.incr.json";
    let temporary = |name: &str| format!(".blksnap-tmp.{name}");
    for image_was_named in [false, true] {
        let lab = Lab::with_vdb(4 << 20);
        lab.backup(&[]).ok();
        lab.scribble("vdb", 2, 4);
        lab.backup(&[]).ok();
        let instant = lab.kernel.content("vdb");
        let rename = |from: &str, to: &str| {
            fs::rename(lab.backups().join(from), lab.backups().join(to)).unwrap()
        };
        rename(manifest, &temporary(manifest));
        if !image_was_named {
            rename(image, &temporary(image));
        }
        lab.backup(&["--json"])
            .ok()
            .fails(0, &format!("finished {image}"));
        assert!(lab.restored(2) == instant);
        let report = lab.run(&["verify", "backups", "--json"]).ok().json();
        assert_eq!(report["backups"].as_array().unwrap().len(), 3);
        assert_eq!(report["backups"][2]["parent"], image);
        assert_eq!(report["unfinished"].as_array().unwrap().len(), 0);
    }
}

/// A manifest whose image is cut short is no whole backup.
#[test]
fn a_torn_backup_is_not_finished() {
    let lab = Lab::with_vdb(4 << 20);
    lab.backup(&[]).ok();
    let (image, manifest) = ("vdb.000001.full.qcow2", "vdb.000001.full.json");
    for name in [image, manifest] {
        fs::rename(
            lab.backups().join(name),
            lab.backups().join(format!(".blksnap-tmp.{name}")),
        )
        .unwrap();
    }
    let torn = lab.backups().join(format!(".blksnap-tmp.{image}"));
    let length = fs::metadata(&torn).unwrap().len();
    fs::File::options()
        .write(true)
        .open(&torn)
        .unwrap()
        .set_len(length - 1)
        .unwrap();
    lab.backup(&[]).ok().fails(0, "removed .blksnap-tmp.");
    assert_eq!(lab.names(), [manifest, image]);
    lab.run(&["verify", "backups"]).ok();
}

#[test]
fn a_failed_snapshot_makes_no_backup() {
    let lab = Lab::with_vdb(8 << 20);
    lab.faults(|faults| faults.fail_after_take = Some(28));
    let said = lab.backup(&[]).fails(5, "the difference storage is full");
    assert!(said.stderr.contains("--store PATH"), "{}", said.stderr);
    lab.faults(|faults| faults.fail_after_take = Some(5));
    lab.backup(&[]).fails(5, "Input/output error");
    assert_eq!(lab.names(), [""; 0]);
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
    lab.faults(|faults| faults.fail_take = Some(110));
    lab.backup(&[]).fails(1, "did not finish in time");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}
