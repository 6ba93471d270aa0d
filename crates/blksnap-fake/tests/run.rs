// SPDX-License-Identifier: MIT OR Apache-2.0
//! `snapshot run`: the environment, the exit code, and no snapshot afterwards.

mod common;

use std::fs;
use std::process::Stdio;

use common::Lab;
use rustix::process::{Pid, Signal, kill_process};

fn script(lab: &Lab, script: &str) -> common::Outcome {
    lab.run(&[
        "snapshot",
        "run",
        &lab.device("vdb"),
        "--",
        "sh",
        "-c",
        script,
    ])
}

#[test]
fn the_environment() {
    let lab = Lab::with_vdb(2 << 20);
    lab.kernel.add_device("vd-c1", 1 << 20);
    let script = "cmp $BLKSNAP_IMAGE_0 $BLKSNAP_DEVICE_0 && test $BLKSNAP_IMAGE_0 = $BLKSNAP_IMAGE_vdb \
                  && test $BLKSNAP_IMAGE_1 = $BLKSNAP_IMAGE_vd_c1 && test \"$BLKSNAP_IMAGES\" = \"$BLKSNAP_IMAGE_0 $BLKSNAP_IMAGE_1\" \
                  && echo $BLKSNAP_SNAPSHOT";
    let outcome = lab
        .run(&[
            "snapshot",
            "run",
            &lab.device("vdb"),
            &lab.device("vd-c1"),
            "--json",
            "--",
            "sh",
            "-c",
            script,
        ])
        .ok();
    let said: serde_json::Value = outcome
        .stderr
        .lines()
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap();
    assert_eq!(
        outcome.stdout.trim(),
        said["snapshot"].as_str().unwrap(),
        "stdout is the command's"
    );
    assert_eq!(said["images"].as_array().unwrap().len(), 2);
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn exit_codes() {
    let lab = Lab::with_vdb(2 << 20);
    script(&lab, "exit 0").ok();
    script(&lab, "exit 42").fails(42, "");
    script(&lab, "kill -9 $$").fails(137, "");
    lab.run(&[
        "snapshot",
        "run",
        &lab.device("vdb"),
        "--",
        "no-such-command-here",
    ])
    .fails(127, "cannot run no-such-command-here");
    lab.run(&["snapshot", "run", &lab.device("vdb"), "--", "/etc/passwd"])
        .fails(126, "cannot run /etc/passwd");
    lab.run(&["snapshot", "run", "/dev/nothing-here", "--", "true"])
        .fails(125, "there is no device");
    lab.run(&["snapshot", "run", &lab.device("vdb")])
        .fails(2, "CMD");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
    lab.faults(|faults| faults.fail_after_take = Some(28));
    // What the command read may be incomplete: it must not count as done.
    script(&lab, "exit 0").fails(5, "the difference storage is full");
    script(&lab, "exit 3").fails(3, "the difference storage is full");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn signals_reach_the_command() {
    let lab = Lab::with_vdb(2 << 20);
    let ready = lab.path("ready");
    let script = "trap 'echo tidied; exit 9' TERM; echo > ready; while :; do sleep 0.05; done";
    let child = lab
        .command(&[
            "snapshot",
            "run",
            &lab.device("vdb"),
            "--",
            "sh",
            "-c",
            script,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while !ready.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(output.stdout, b"tidied\n");
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn a_killed_runner_leaves_no_snapshot_though_its_command_lives_on() {
    let lab = Lab::with_vdb(2 << 20);
    let script = "echo > ready; while [ ! -e stop ]; do sleep 0.05; done; echo > stopped";
    let mut child = lab
        .command(&[
            "snapshot",
            "run",
            &lab.device("vdb"),
            "--",
            "sh",
            "-c",
            script,
        ])
        .spawn()
        .unwrap();
    while !lab.path("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(lab.kernel.leftovers().0, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        lab.kernel.leftovers(),
        (0, vec![]),
        "the command must not hold the descriptor"
    );
    fs::write(lab.path("stop"), "").unwrap();
    while !lab.path("stopped").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_command_while_a_backup_holds_its_images() {
    let lab = Lab::with_vdb(2 << 20);
    let instant = lab.kernel.content("vdb");
    let exec = "cmp $BLKSNAP_IMAGE_vdb $BLKSNAP_DEVICE_0 && cp $BLKSNAP_IMAGE_0 seen && echo said";
    let outcome = lab.backup(&["--json", "--exec", exec]).ok();
    outcome.json();
    assert!(outcome.stderr.contains("said"), "{}", outcome.stderr);
    assert!(fs::read(lab.path("seen")).unwrap() == instant);
    lab.backup(&["--exec", "exit 3"])
        .fails(1, "exit code 3")
        .fails(1, "the backup was given up");
    assert_eq!(
        lab.names(),
        ["vdb.000001.full.json", "vdb.000001.full.qcow2"]
    );
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}
