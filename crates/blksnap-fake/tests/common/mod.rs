// SPDX-License-Identifier: MIT OR Apache-2.0
//! A laboratory: a simulated kernel, a folder for backups, and the command as a process.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file includes it and uses a part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use blksnap::Blksnap;
use blksnap_fake::{FakeKernel, Faults};
use serde_json::Value;

/// A size that is no multiple of a cluster, a part or a read: 65 MiB and some sectors.
pub const ODD_SIZE: u64 = (65 << 20) + 5 * 512;
/// Bytes of a tracking block.
pub const BLOCK: u64 = 64 << 10;

pub struct Lab {
    folder: tempfile::TempDir,
    pub kernel: FakeKernel,
}

pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The command did what it should.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The command failed with this code, saying this.
    #[track_caller]
    pub fn fails(self, code: i32, says: &str) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(says), "`{says}` is not in: {all}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

impl Lab {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kernel = FakeKernel::new(folder.path().join("kernel"));
        Self { folder, kernel }
    }

    /// A laboratory with a device `vdb` of some content.
    pub fn with_vdb(size: u64) -> Self {
        let lab = Self::new();
        lab.kernel.add_device("vdb", size);
        lab.scribble("vdb", 1, 20);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn backups(&self) -> PathBuf {
        self.path("backups")
    }

    /// Names in the folder of backups.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.backups())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn device(&self, name: &str) -> String {
        self.kernel.device(name).display().to_string()
    }

    pub fn library(&self) -> Blksnap {
        Blksnap::with_door(std::sync::Arc::new(self.kernel.clone()))
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = Faults::default();
        change(&mut faults);
        self.kernel.set_faults(faults);
    }

    /// Writes `count` pieces of noise or zeros, by `seed`.
    pub fn scribble(&self, name: &str, seed: u64, count: u32) {
        let size = fs::metadata(self.kernel.device(name)).unwrap().len();
        let mut random = Random(seed);
        for turn in 0..count {
            let length = (random.below(200_000) + 1).min(size);
            let offset = random.below(size - length + 1);
            let data: Vec<u8> = if turn % 4 == 3 {
                vec![0; length as usize]
            } else {
                (0..length).map(|_| random.below(256) as u8).collect()
            };
            self.kernel.write(name, offset, &data);
        }
        // The last bytes, too.
        self.kernel.write(name, size - 100, &[seed as u8; 100]);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blksnap-fake"));
        command
            .args(arguments)
            .env("BLKSNAP_FAKE", self.kernel.root())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `blksnap backup` of `vdb`.
    pub fn backup(&self, more: &[&str]) -> Outcome {
        let device = self.device("vdb");
        let mut arguments = vec!["backup", &device, "--to", "backups"];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// A backup in a process of its own that hangs when its data is written and not yet published.
    pub fn hanging_backup(&self) -> Child {
        fs::write(self.kernel.root().join("hang"), "").unwrap();
        self.faults(|faults| faults.hang = Some(2));
        let child = self
            .command(&["backup", &self.device("vdb"), "--to", "backups"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.kernel.wait_for_hang();
        child
    }

    pub fn release_hang(&self) {
        fs::remove_file(self.kernel.root().join("hang")).unwrap();
    }

    /// What a restore of this backup gives.
    pub fn restored(&self, point: u64) -> Vec<u8> {
        let target = self.path("restored.raw");
        self.run(&[
            "restore",
            "backups",
            "restored.raw",
            "--device",
            "vdb",
            "--point",
            &point.to_string(),
        ])
        .ok();
        let data = fs::read(&target).unwrap();
        fs::remove_file(&target).unwrap();
        data
    }
}

/// A small generator of numbers, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// `qemu-img`, the independent reader of what we write.
#[track_caller]
pub fn qemu_img(arguments: &[&str], folder: &Path) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("cannot run qemu-img (package qemu-utils): {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "qemu-img {arguments:?}: {said}");
}

/// The paths in a document with the types of what is there, one a line; of an array, its first entry.
pub fn shape(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, lines: &mut Vec<String>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "int",
            Value::String(_) => "text",
            Value::Array(entries) => {
                let path = format!("{path}[]");
                match entries.first() {
                    Some(first) => walk(first, &path, lines),
                    None => lines.push(format!("{path} empty")),
                }
                return;
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    walk(field, &format!("{path}.{name}"), lines);
                }
                return;
            }
        };
        lines.push(format!("{path} {kind}"));
    }
    let mut lines = Vec::new();
    walk(value, "", &mut lines);
    lines.sort();
    lines
}
