// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask check`: what every commit has to pass without running anything of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::sh;

/// Runs every check, and says all that is wrong, not only the first.
pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    let mut step = |name: &str, result: Result<()>| {
        match &result {
            Ok(()) => sh::say(format!("ok    {name}")),
            Err(error) => sh::say(format!("WRONG {name}\n{error:#}")),
        }
        if result.is_err() {
            wrong.push(name.to_owned());
        }
    };
    let files = sources()?;
    step(
        "licences: each source file says its own in its first lines",
        licences(&files),
    );
    step(
        "names: no registry or mirror host in any file",
        hosts(&files),
    );
    step(
        "layers: unsafe and sys:: only where they belong, C only in shims, samples and tests",
        layers(&files),
    );
    step("shell scripts parse", shells(&files));
    if sh::have("cargo-fmt") {
        step("cargo fmt", cargo(&["fmt", "--all", "--check"], &[]));
        step("rustfmt of the modules", modules_formatted());
    } else {
        sh::say("skip  cargo fmt: not installed");
    }
    if sh::have("cargo-clippy") {
        step(
            "cargo clippy",
            cargo(
                &[
                    "clippy",
                    "--quiet",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
                &[],
            ),
        );
    } else {
        sh::say("skip  cargo clippy: not installed");
    }
    step(
        "documentation",
        cargo(
            &["doc", "--quiet", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    );
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("wrong: {}", wrong.join("; "))
}

/// The kernel side has an edition and a width of its own (`kernel/rustfmt.toml`); rustfmt follows each crate's modules.
fn modules_formatted() -> Result<()> {
    let mut command = Command::new("rustfmt");
    command.args([
        "--check",
        "--edition",
        "2021",
        "--config-path",
        "kernel/rustfmt.toml",
    ]);
    command.args(["blkfilter", "blksnap", "kern"].map(|name| format!("kernel/src/{name}/lib.rs")));
    sh::run(command.current_dir(sh::root()))
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new("nice");
    command
        .arg(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(arguments)
        .current_dir(sh::root());
    command.envs(environment.iter().copied());
    sh::run(&mut command)
}

/// A text file of the repository.
struct Source {
    /// Its path below the repository, with `/`.
    name: String,
    text: String,
}

/// What git knows, or would add; without git, what lies in the folders.
fn sources() -> Result<Vec<Source>> {
    let listed = sh::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(sh::root()),
    );
    let names: Vec<String> = match listed {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => {
            let mut names = Vec::new();
            walk(sh::root(), &mut names)?;
            names
        }
    };
    Ok(names
        .into_iter()
        .filter_map(|name| {
            fs::read_to_string(sh::root().join(&name))
                .ok()
                .map(|text| Source { name, text })
        })
        .collect())
}

fn walk(dir: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path: PathBuf = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            walk(&path, names)?;
        } else if let Ok(name) = path.strip_prefix(sh::root()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn report(found: Vec<String>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let more = found.len().saturating_sub(20);
    let mut text = found.into_iter().take(20).collect::<Vec<_>>().join("\n");
    if more > 0 {
        text += &format!("\n… and {more} more");
    }
    bail!(text)
}

fn licences(files: &[Source]) -> Result<()> {
    let wants = |name: &str| {
        let kinds = [".rs", ".c", ".h", ".S", ".sh", ".mk", ".py"];
        let names = ["Makefile", "Kbuild", ".ci/run"];
        kinds.iter().any(|k| name.ends_with(k))
            || names
                .iter()
                .any(|n| name == *n || name.ends_with(&format!("/{n}")))
    };
    let missing = files
        .iter()
        .filter(|f| {
            wants(&f.name)
                && !f
                    .text
                    .lines()
                    .take(2)
                    .any(|l| l.contains("SPDX-License-Identifier: "))
        })
        .map(|f| {
            format!(
                "{}: no SPDX-License-Identifier in its first two lines",
                f.name
            )
        })
        .collect();
    report(missing)
}

fn hosts(files: &[Source]) -> Result<()> {
    // Put together here, so that this file does not hold them.
    let names: Vec<String> = [
        ("crates", "io"),
        ("index.crates", "io"),
        ("static.crates", "io"),
        ("deb.debian", "org"),
        ("security.debian", "org"),
        ("snapshot.debian", "org"),
        ("ftp.debian", "org"),
        ("pypi", "org"),
        ("registry.npmjs", "org"),
        ("proxy.golang", "org"),
    ]
    .map(|(a, b)| format!("{a}.{b}"))
    .to_vec();
    let mut found = Vec::new();
    for file in files {
        // Cargo's own file names the registry its own way.
        if file.name.ends_with("Cargo.lock") || file.name.starts_with("LICENSES/") {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            if names.iter().any(|n| line.contains(n.as_str())) {
                found.push(format!("{}:{}: {}", file.name, number + 1, line.trim()));
            }
        }
    }
    report(found)
}

fn layers(files: &[Source]) -> Result<()> {
    let mut found = Vec::new();
    for file in files {
        let name = file.name.as_str();
        if name.ends_with(".c") || name.ends_with(".h") || name.ends_with(".S") {
            let places = [
                "kernel/shim/",
                "kernel/include/",
                "crates/uapi/include/",
                "tests/",
                "samples/",
                "kernel/samples/",
            ];
            if !places.iter().any(|p| name.starts_with(p)) {
                found.push(format!(
                    "{name}: C belongs in kernel/shim, samples and tests"
                ));
            }
        }
        let kernel_logic = name.starts_with("kernel/src/")
            && !name.starts_with("kernel/src/kern/")
            && name != "kernel/src/sys.rs";
        let pure = ["crates/core/", "crates/uapi/src/"]
            .iter()
            .any(|p| name.starts_with(p));
        if !name.ends_with(".rs") || !(kernel_logic || pure) {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            let code = code_of(line);
            let unsafe_word = words(code).any(|w| w == "unsafe");
            let raw = code.contains("sys::") && kernel_logic || code.contains("extern \"C\"");
            if unsafe_word || raw {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report(found)
}

/// The line without its comment and without what is quoted.
fn code_of(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
}

fn shells(files: &[Source]) -> Result<()> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.name.ends_with(".sh") || f.text.starts_with("#!/bin/"))
    {
        let shell = if file.text.starts_with("#!/bin/sh") {
            "sh"
        } else {
            "bash"
        };
        if let Err(error) = sh::output(
            Command::new(shell)
                .arg("-n")
                .arg(sh::root().join(&file.name)),
        ) {
            found.push(format!("{}: {error}", file.name));
        }
    }
    report(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Vec<Source> {
        vec![Source {
            name: name.into(),
            text: text.into(),
        }]
    }

    #[test]
    fn the_layer_rule_sees_code_and_not_comments() {
        assert!(
            layers(&one(
                "kernel/src/blksnap/x.rs",
                "// unsafe is not for us\n#![forbid(unsafe_code)]\n"
            ))
            .is_ok()
        );
        assert!(layers(&one("kernel/src/blksnap/x.rs", "let x = unsafe { y };\n")).is_err());
        assert!(layers(&one("kernel/src/blksnap/x.rs", "sys::bsk_x();\n")).is_err());
        assert!(layers(&one("kernel/src/kern/x.rs", "unsafe { sys::bsk_x() }\n")).is_ok());
        assert!(layers(&one("crates/blksnap/y.c", "int x;\n")).is_err());
    }

    #[test]
    fn a_missing_licence_is_seen() {
        assert!(licences(&one("a.rs", "fn main() {}\n")).is_err());
        assert!(
            licences(&one(
                "a.sh",
                "#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\n"
            ))
            .is_ok()
        );
    }
}
