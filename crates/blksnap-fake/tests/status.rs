// SPDX-License-Identifier: MIT OR Apache-2.0
//! `status`, its live screen, its metrics; `mount` as far as it goes without a kernel.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::Lab;
use rustix::process::{Pid, Signal, kill_process};

/// What OpenMetrics asks of a text: families in one piece, declared before, counters named so, an end.
fn check_metrics(text: &str) -> Vec<(String, f64)> {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    assert!(text.ends_with('\n'));
    let (mut families, mut current, mut samples) =
        (BTreeSet::new(), (String::new(), String::new()), Vec::new());
    for line in lines {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} twice");
            assert!(["gauge", "counter", "info"].contains(&kind), "{line}");
            current = (name.to_owned(), kind.to_owned());
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.starts_with(&format!("{} ", current.0)), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = match &*current.1 {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(name, format!("{}{suffix}", current.0));
            samples.push((sample.to_owned(), value.parse().unwrap()));
        }
    }
    samples
}

#[test]
fn metrics() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    check_metrics(&lab.run(&["status", "--metrics"]).ok().stdout);
    let created = lab
        .run(&["snapshot", "create", "--take", &vdb, "--json"])
        .ok()
        .json();
    let id = created["id"].as_str().unwrap();
    lab.faults(|faults| faults.full_in_ms = Some(1500));
    let samples = check_metrics(&lab.run(&["status", "--metrics"]).ok().stdout);
    let value = |name: &str| samples.iter().find(|(sample, _)| sample == name).unwrap().1;
    assert_eq!(value("blksnap_loaded"), 1.0);
    assert_eq!(
        value(&format!("blksnap_device_size_bytes{{device=\"{vdb}\"}}")),
        f64::from(2 << 20)
    );
    assert_eq!(
        value(&format!(
            "blksnap_snapshot_store_full_in_seconds{{snapshot=\"{id}\"}}"
        )),
        1.5
    );
    let copied = format!("blksnap_image_copied_bytes_total{{snapshot=\"{id}\",device=\"{vdb}\"}}");
    assert_eq!(value(&copied), 12288.0);
    let waited =
        format!("blksnap_image_pool_wait_seconds_total{{snapshot=\"{id}\",device=\"{vdb}\"}}");
    assert_eq!(value(&waited), 0.0015);
    lab.faults(|faults| faults.unloaded = true);
    let outcome = lab
        .run(&["status", "--metrics"])
        .fails(3, "blksnap_loaded 0");
    check_metrics(&outcome.stdout);
    lab.run(&["status", "--metrics", "--watch"])
        .fails(2, "cannot be used with");
}

#[test]
fn a_screen_that_goes_on() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    lab.run(&["snapshot", "create", "--take", &vdb]).ok();
    let watch = |more: &[&str]| {
        let arguments = [&["status", "--watch", "--interval", "0.1"], more].concat();
        let mut child = lab
            .command(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.by_ref().take(20).map(Result::unwrap).collect();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        lines
    };
    for line in watch(&["--json"]) {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["snapshots"][0]["images"][0]["device"], vdb);
    }
    let lines = watch(&[]);
    let text = lines.join("\n");
    assert!(!text.contains('\x1b'), "no terminal, no control sequences");
    assert!(
        text.contains("[..............................] 0 %  8 KiB of 1 GiB  not filling up"),
        "{text}"
    );
    assert!(
        text.contains("0/s"),
        "rates from the second look on: {text}"
    );
}

#[test]
fn what_cannot_be_mounted() {
    let lab = Lab::with_vdb(2 << 20);
    let vdb = lab.device("vdb");
    lab.run(&["attach", &vdb]).ok();
    lab.run(&["mount", &vdb, "/mnt"])
        .fails(1, "is in no snapshot that is taken")
        .fails(1, "blksnap snapshot create --take");
    lab.run(&["mount", "/dev/blksnap-image77", "/mnt"])
        .fails(1, "cannot read /dev/blksnap-image77");
    lab.run(&["umount", "/usr"])
        .fails(2, "no image is mounted on /usr");
}
