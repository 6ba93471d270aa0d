// SPDX-License-Identifier: GPL-2.0-only
//! Seeded defects: each is built into a copy of core and simulator, and has to be found within a minute of processor time.
//!
//! Takes minutes, so it is asked for: `cargo test -p blksnap_sim --test mutants -- --ignored`. A defect is a change of text; when
//! the text is no longer there, the defect has to be written anew.

mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use list::{MUTANTS, Mutant};

/// A workspace of core and simulator alone, in a folder of its own.
struct Nursery {
    folder: PathBuf,
    crates: PathBuf,
}

impl Nursery {
    fn new() -> Self {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("crates/")
            .to_path_buf();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let root =
            fs::read_to_string(crates.join("../Cargo.toml")).expect("the workspace's manifest");
        let members = root
            .lines()
            .find(|line| line.starts_with("members"))
            .expect("a list of members");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(
            folder.join("Cargo.toml"),
            root.replace(members, "members = [\"core\", \"sim\"]"),
        )
        .expect("a manifest");
        Self { folder, crates }
    }

    /// The sources as they are, with the edits of `mutant`.
    fn fill(&self, mutant: &Mutant) {
        for name in ["core", "sim"] {
            copy(
                &self.crates.join(name).join("src"),
                &self.folder.join(name).join("src"),
            );
            let manifest =
                fs::read_to_string(self.crates.join(name).join("Cargo.toml")).expect("a manifest");
            // What tests and benches need, from there on, is not here.
            let manifest = manifest
                .split("[dev-dependencies]")
                .next()
                .unwrap_or_default();
            write(&self.folder.join(name).join("Cargo.toml"), manifest);
        }
        for (file, from, to) in mutant.edits {
            let path = self.folder.join(file);
            let text = fs::read_to_string(&path).expect("a source");
            let edited = replace(&text, from, to);
            write(
                &path,
                &edited.unwrap_or_else(|| panic!("{}: `{from}` is not in {file}", mutant.name)),
            );
        }
    }

    /// Builds and runs. What was found, and how long that took.
    fn verdict(&self) -> Result<String, String> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let build = Command::new(cargo)
            .args(["build", "--offline", "--quiet", "-p", "blksnap_sim"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("RUSTFLAGS", "--cap-lints allow -A warnings")
            .output()
            .expect("cargo");
        assert!(
            build.status.success(),
            "{}",
            String::from_utf8_lossy(&build.stderr)
        );
        let run = Command::new(self.folder.join("target/debug/blksnap-sim"))
            .args(["--seed", "1", "--seconds", "60", "--steps", "1000000000000"])
            .output()
            .expect("the simulator");
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let mut lines = text.lines();
        let (first, last) = (
            lines.next().unwrap_or_default(),
            lines.last().unwrap_or_default(),
        );
        if run.status.code() == Some(1) {
            Ok(format!("{first} ({last})"))
        } else {
            Err(text)
        }
    }
}

/// Replaces the first `from` in a text; how it is broken into lines and indented does not matter.
fn replace(text: &str, from: &str, to: &str) -> Option<String> {
    let dense: Vec<(usize, char)> = text
        .char_indices()
        .filter(|(_, c)| !c.is_whitespace())
        .collect();
    let from: Vec<char> = from.chars().filter(|c| !c.is_whitespace()).collect();
    let at = dense
        .windows(from.len())
        .position(|part| part.iter().map(|(_, c)| c).eq(&from))?;
    let (start, (last, c)) = (dense[at].0, dense[at + from.len() - 1]);
    Some(format!(
        "{}{to}{}",
        &text[..start],
        &text[last + c.len_utf8()..]
    ))
}

/// Writes a file only if that changes it, so that it is built again only then.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            write(
                &target,
                &fs::read_to_string(entry.path()).expect("a source"),
            );
        }
    }
}

#[test]
#[ignore = "builds every mutant: some minutes"]
fn every_mutant_is_found() {
    let only = std::env::var("MUTANT").unwrap_or_default();
    let nursery = Nursery::new();
    let mut alive = Vec::new();
    for mutant in MUTANTS.iter().filter(|mutant| mutant.name.contains(&only)) {
        nursery.fill(mutant);
        match nursery.verdict() {
            Ok(found) => println!("found: {}\n       {found}", mutant.name),
            Err(text) => {
                println!("ALIVE: {}\n       {text}", mutant.name);
                alive.push(mutant.name);
            }
        }
    }
    assert!(alive.is_empty(), "not found: {alive:#?}");
}

/// The text of every defect is still there to be changed.
#[test]
fn mutants_fit_the_sources() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("crates/");
    let mut lost = Vec::new();
    for mutant in MUTANTS {
        for (file, from, _) in mutant.edits {
            let text = fs::read_to_string(crates.join(file)).expect("a source");
            if replace(&text, from, "").is_none() {
                lost.push(format!("{}: `{from}` is not in {file}", mutant.name));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}
