// SPDX-License-Identifier: GPL-2.0-only
//! The kernel modules, built in the tools tree for every kernel, and found up to date by a fingerprint of their
//! sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::setup::Setup;
use crate::tools::{self, Kernel};
use crate::{cache, sh};

/// What the modules are made of, below the repository.
const SOURCES: &[&str] = &[
    "kernel",
    "crates/core/src",
    "crates/uapi/src",
    "crates/core/Cargo.toml",
    "crates/uapi/Cargo.toml",
];

/// Where the modules of a kernel are. One that was built here may change under its name, but not under that of its folder.
pub(crate) fn folder(kernel: &Kernel) -> PathBuf {
    let built = kernel.built.as_ref().and_then(|dir| dir.file_name());
    sh::target()
        .join("modules")
        .join(built.unwrap_or(kernel.release.as_ref()))
}

/// Builds the modules of these kernels unless they are up to date.
pub(crate) fn build(setup: &Setup, kernels: &[Kernel]) -> Result<()> {
    let sources = fingerprint(&setup.kernels)?;
    for kernel in kernels {
        build_one(setup, kernel, &sources)
            .with_context(|| format!("the modules for {} were not built", kernel.release))?;
    }
    Ok(())
}

fn build_one(setup: &Setup, kernel: &Kernel, sources: &str) -> Result<()> {
    let out = folder(kernel);
    fs::create_dir_all(&out)?;
    let _lock = cache::lock_of(&out)?;
    let stamp = out.join("fingerprint");
    let mut wanted = vec![
        "blkfilter.ko",
        "blksnap.ko",
        "blkfilter_sample.ko",
        "blkfilter_rival.ko",
        "blkfilter_rust.ko",
    ];
    if kernel.built.is_some() {
        wanted.push("seeded_faults.ko");
    }
    let built = wanted.iter().all(|m| out.join(m).is_file());
    if built && fs::read_to_string(&stamp).is_ok_and(|old| old == sources) {
        return Ok(());
    }
    sh::say(format!("building the modules for {}", kernel.release));
    let _ = fs::remove_file(&stamp);
    let cache = cache::dir()?.join(format!("rust-{}", tools::key(&setup.kernels)));
    if !cache.is_dir() {
        fs::create_dir_all(&cache)?;
    }
    let log = out.join("build.log");
    let mut command = setup.tree.command("nice")?;
    command
        .args(["make", "-j2", "--no-print-directory", "-C"])
        .arg(sh::root().join("kernel"));
    command.args(["all", "samples"]);
    command.arg(format!("KERNEL={}", kernel.release));
    if let Some(built) = &kernel.built {
        command.arg(format!("KDIR={}", built.join("build").display()));
    }
    command.arg(format!("OUT={}", out.display()));
    command.arg(format!("CACHE={}", cache.display()));
    sh::run_logged(&mut command, &log)?;

    let text = fs::read(&log)?;
    let text = String::from_utf8_lossy(&text);
    let complaints: Vec<&str> = text.lines().filter(|line| complains(line)).collect();
    if !complaints.is_empty() {
        bail!(
            "the build has complaints (all of it in {}):\n{}",
            log.display(),
            complaints.join("\n")
        );
    }
    index(setup, kernel, &out)?;
    fs::write(stamp, sources)?;
    Ok(())
}

/// Builds the modules for the running kernel of this machine, with its own headers seen from inside the tree.
pub(crate) fn build_for_host(setup: &Setup, release: &str) -> Result<PathBuf> {
    let out = sh::target().join("modules").join(format!("host-{release}"));
    fs::create_dir_all(&out)?;
    let mut binds = Vec::new();
    for dir in ["/usr/src", "/usr/lib"] {
        for entry in fs::read_dir(dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-") {
                binds.push(entry.path());
            }
        }
    }
    let headers = fs::canonicalize(Path::new("/lib/modules").join(release).join("build"))
        .context("the headers of the running kernel are not installed")?;
    sh::say(format!("building the modules for {release}"));
    let mut command = setup.tree.command_with("nice", &binds)?;
    command
        .args(["make", "-j2", "--no-print-directory", "-C"])
        .arg(sh::root().join("kernel"));
    command.arg(format!("KERNEL={release}"));
    command.arg(format!("KDIR={}", headers.display()));
    command.arg(format!("OUT={}", out.display()));
    command.arg(format!(
        "CACHE={}",
        cache::dir()?
            .join(format!("rust-{}", tools::key(&setup.kernels)))
            .display()
    ));
    sh::run_logged(&mut command, &out.join("build.log"))?;
    Ok(out)
}

/// objtool, modpost and the C compiler must be silent. (The Rust compiler's warnings begin their lines and are only
/// in the log: `make check` is where the Rust code is judged.)
fn complains(line: &str) -> bool {
    let low = line.to_ascii_lowercase();
    low.contains("objtool: ")
        || low.contains("modpost: ")
        || (line.contains(".c:") || line.contains(".h:")) && low.contains("warning:")
        || line.starts_with("ld: warning")
}

/// Lets depmod make the index files of the guest's modules with ours among them, so that `modprobe` works in a guest
/// without running depmod there. A kernel that was built here has all its modules where ours are.
fn index(setup: &Setup, kernel: &Kernel, out: &Path) -> Result<()> {
    let script = r#"set -eu
tree=$1 release=$2 out=$3
stage=$out/index
rm -rf "$stage"; mkdir -p "$stage"
cp -a "$tree/." "$stage/"
mkdir -p "$stage/lib/modules/$release/updates"
cp "$out"/*.ko "$stage/lib/modules/$release/updates/"
depmod -b "$stage" "$release"
mkdir -p "$out/guest"; rm -f "$out/guest"/*
cp "$stage/lib/modules/$release"/modules.* "$stage/lib/modules/$release"/updates/*.ko "$out/guest/"
rm -rf "$stage""#;
    let mut command = setup.tree.command("/bin/sh")?;
    command
        .args(["-c", script, "index"])
        .arg(setup.guest.modules(kernel))
        .arg(&kernel.release)
        .arg(out);
    sh::run_logged(&mut command, &out.join("index.log"))
}

/// A hash of the sources' names and contents, and of the tree they are built with.
fn fingerprint(kernels: &[Kernel]) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        let path = sh::root().join(source);
        if path.is_file() {
            files.push(path);
        } else if path.is_dir() {
            collect(&path, &mut files)?;
        }
    }
    if files.is_empty() {
        bail!("there is no kernel/ yet");
    }
    files.sort();
    let mut parts = vec![tools::key(kernels)];
    for file in files {
        parts.push(file.display().to_string());
        parts.push(String::from_utf8_lossy(&fs::read(&file)?).into_owned());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(cache::hash(&parts))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_the_build_are_seen() {
        assert!(complains(
            "blksnap.o: warning: objtool: foo+0x1: unreachable instruction"
        ));
        assert!(complains("WARNING: modpost: missing MODULE_LICENSE()"));
        assert!(complains("x.c:1: warning: unused variable"));
        assert!(!complains(
            "Skipping BTF generation for blksnap.ko due to unavailability of vmlinux"
        ));
        assert!(!complains(
            "warning: the compiler differs from the one used to build the kernel"
        ));
    }
}
