// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file system did not use is left out, and a chain still reads as the image.

mod common;

use blksnap_fake::FileSystem;
use common::{BLOCK, Lab, ODD_SIZE, qemu_img};

fn file_system(kind: &str, free: &[(u64, u64)]) -> FileSystem {
    FileSystem {
        kind: kind.to_owned(),
        free: free.to_vec(),
        refuses: None,
    }
}

/// A backup whose image is kept as `instant.raw`, as it was while it was held.
fn step(lab: &Lab, turn: u64, more: &[&str]) -> serde_json::Value {
    let exec = ["--json", "--exec", "cp $BLKSNAP_IMAGE_0 instant.raw"];
    let report = lab.backup(&[more, &exec].concat()).ok().json();
    let device = &report["devices"][0];
    let file = device["file"].as_str().unwrap();
    qemu_img(
        &["compare", "-f", "raw", "-F", "qcow2", "instant.raw", file],
        &lab.path(""),
    );
    let instant = std::fs::read(lab.path("instant.raw")).unwrap();
    assert!(
        lab.restored(turn) == instant,
        "our restore of backup {turn}"
    );
    device.clone()
}

#[test]
fn chains_with_free_space_read_as_their_images() {
    let lab = Lab::with_vdb(ODD_SIZE);
    let end = (64 << 20, ODD_SIZE - (64 << 20));
    // Not aligned to anything; to the device's end; a piece smaller than a cluster.
    lab.kernel.mount(
        "vdb",
        file_system("ext4", &[(BLOCK + 4096, 20 * BLOCK), (40 << 20, 4096), end]),
    );
    let full = step(&lab, 1, &[]);
    let left_out = 19 * BLOCK + end.1;
    assert_eq!(full["free_bytes"], left_out);
    assert_eq!(full["bytes_read"], ODD_SIZE - left_out);
    assert_eq!(full["free_reason"], serde_json::Value::Null);

    // Freed since and not written; used again and not written; written and free both times.
    lab.kernel.write("vdb", 3 * BLOCK, &[7; 100]);
    lab.kernel.mount(
        "vdb",
        file_system("ext4", &[(2 * BLOCK, 8 * BLOCK), (32 << 20, 8 << 20)]),
    );
    let changed = step(&lab, 2, &[]);
    assert_eq!(changed["changed_bytes"], BLOCK);
    assert_eq!(
        changed["bytes_read"],
        left_out - 8 * BLOCK,
        "only what is used again"
    );

    // Nothing is free any more, then all is.
    lab.kernel.mount("vdb", file_system("ext4", &[]));
    step(&lab, 3, &[]);
    lab.scribble("vdb", 5, 9);
    lab.kernel
        .mount("vdb", file_system("ext4", &[(0, ODD_SIZE)]));
    let empty = step(&lab, 4, &["--differential"]);
    assert_eq!(empty["bytes_read"], 0);
    let all = step(&lab, 5, &["--all-blocks"]);
    assert_eq!(
        (&all["free_bytes"], &all["bytes_read"]),
        (&0.into(), &ODD_SIZE.into())
    );
    lab.run(&["verify", "backups"]).ok();
    assert_eq!(lab.kernel.leftovers(), (0, vec![]));
}

#[test]
fn where_free_space_is_not_known_all_is_backed_up() {
    let lab = Lab::with_vdb(4 << 20);
    let why = |says: &str| {
        let report = lab.backup(&["--json", "--full"]).ok().json();
        let device = &report["devices"][0];
        assert_eq!(device["bytes_read"], 4 << 20);
        let reason = device["free_reason"].as_str().unwrap();
        assert!(reason.contains(says), "{reason}");
    };
    why("no file system is mounted");
    let mut refusing = file_system("btrfs", &[(0, 1 << 20)]);
    refusing.refuses = Some("btrfs does not tell".to_owned());
    lab.kernel.mount("vdb", refusing);
    why("btrfs does not tell");
    lab.kernel.mount("vdb", file_system("xfs", &[(0, 1 << 20)]));
    lab.faults(|faults| faults.without = blksnap::uapi::extended::BLKSNAP_FEATURE_FREE);
    why("the loaded module cannot");
    lab.faults(|_| {});
    let report = lab.backup(&["--json", "--full"]).ok().json();
    assert_eq!(report["devices"][0]["bytes_read"], 3 << 20);
}
