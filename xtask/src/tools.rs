// SPDX-License-Identifier: GPL-2.0-only
//! The tools tree: a small Debian in the cache with the compilers, kernel headers and qemu that we need,
//! entered by chroot, so that the machine's own packages never matter.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::apt::{self, Apt, Mirrors, RELEASE};
use crate::{cache, sh};

/// The kernels we serve: the name people use, and the pattern of the package names with `*` for the
/// part that moves. The newest of each is taken at set-up.
pub(crate) const KERNELS: [(&str, &str); 3] = [
    ("6.1", "6.1.0-*-amd64"),
    ("6.12", "6.12.*+deb13-amd64"),
    ("7.3", "7.3.*+deb13-amd64"),
];

/// What the tree holds beside the kernels' headers.
const PACKAGES: &[&str] = &[
    "gcc-12",
    "gcc-14",
    "make",
    "binutils",
    "libelf-dev",
    "rustc",
    "rust-src",
    "qemu-system-x86",
    "qemu-utils",
    "cpio",
    "xz-utils",
    "zstd",
    "kmod",
    "e2fsprogs",
    "busybox-static",
];

/// Changed by hand when the recipe changes in a way that the hash does not see.
const RECIPE: &str = "1";

/// One kernel as resolved at set-up.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// `6.12`
    pub(crate) series: String,
    /// `6.12.117+deb13-amd64`, as `uname -r` says it.
    pub(crate) release: String,
    /// Where it is in the cache, when it is not the archive's but built here.
    #[serde(skip)]
    pub(crate) built: Option<PathBuf>,
}

/// Resolves the kernels' names with the archive's lists.
pub(crate) fn resolve(apt: &Apt) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for (series, pattern) in KERNELS {
        let (before, after) = pattern
            .split_once('*')
            .context("a pattern without a star")?;
        let headers = apt.names(&format!("linux-headers-{before}"))?;
        let images = apt.names(&format!("linux-image-{before}"))?;
        let newest = headers
            .iter()
            .filter_map(|name| name.strip_prefix("linux-headers-"))
            .filter(|release| {
                release
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .is_some_and(|middle| middle.chars().all(|c| c.is_ascii_digit() || c == '.'))
            })
            .filter(|release| images.contains(&format!("linux-image-{release}")))
            .max_by_key(|release| numbers(release));
        let Some(release) = newest else {
            bail!("the archive has no kernel {pattern}");
        };
        kernels.push(Kernel {
            series: series.into(),
            release: release.into(),
            built: None,
        });
    }
    Ok(kernels)
}

/// The numbers in a version, for ordering.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Finds a kernel by series or release among those resolved.
pub(crate) fn find<'a>(kernels: &'a [Kernel], name: &str) -> Result<&'a Kernel> {
    kernels
        .iter()
        .find(|k| k.series == name || k.release == name)
        .with_context(|| {
            let known: Vec<&str> = kernels.iter().map(|k| k.series.as_str()).collect();
            format!("no kernel {name}; there are {}", known.join(", "))
        })
}

/// The key of the tree that serves these kernels.
pub(crate) fn key(kernels: &[Kernel]) -> String {
    let mut parts = vec![RECIPE, RELEASE];
    parts.extend(PACKAGES);
    parts.extend(kernels.iter().map(|k| k.release.as_str()));
    cache::hash(&parts)
}

/// Makes the tree (about 80 s) unless it is there.
pub(crate) fn ensure(kernels: &[Kernel], mirrors: &Mirrors) -> Result<Tree> {
    let dir = cache::ensure("tools", &key(kernels), |new| {
        sh::say("making the tools tree: compilers, kernel headers, qemu (2.5 GB, about 2 minutes)");
        let mut packages: Vec<String> = PACKAGES.iter().map(|p| (*p).to_owned()).collect();
        packages.extend(
            kernels
                .iter()
                .map(|k| format!("linux-headers-{}", k.release)),
        );
        let log = cache::dir()?.join("log/tools.log");
        bootstrap(new, "apt", &packages, &mirrors.lines(true), &log)
    })?;
    Ok(Tree { dir })
}

/// Makes a Debian tree in `dir`.
pub(crate) fn bootstrap(
    dir: &Path,
    variant: &str,
    packages: &[String],
    sources: &[String],
    log: &Path,
) -> Result<()> {
    let mut command = sh::privileged("env");
    // A temporary folder of the machine may be mounted nodev or be small; nothing is needed there.
    command.args([
        "LC_ALL=C",
        "nice",
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--architectures=amd64",
    ]);
    command.arg(format!("--variant={variant}"));
    for option in [
        "APT::Install-Recommends \"false\"",
        "Acquire::Languages \"none\"",
        "Acquire::Retries \"3\"",
    ] {
        command.arg(format!("--aptopt={option}"));
    }
    for option in apt::acquire_settings() {
        command.arg(format!("--aptopt={}", option.trim_end_matches(';')));
    }
    for path in ["doc", "man", "locale", "info", "bug", "lintian", "help"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
    }
    // A kernel's header package pulls its image in on some releases; nobody boots it from here.
    for path in [
        "/etc/kernel/postinst.d/initramfs-tools",
        "/boot/*",
        "/lib/modules/*/kernel/*",
        "/usr/lib/modules/*/kernel/*",
    ] {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(RELEASE).arg(dir).args(sources);
    sh::run_logged(&mut command, log)
}

/// The tools tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) dir: PathBuf,
}

impl Tree {
    /// A command that runs inside the tree with the repository, the build folder and the cache at their own paths,
    /// as the user who owns the repository.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        self.command_with(program, &[])
    }

    /// The same, with more folders of this machine at their own paths.
    pub(crate) fn command_with(&self, program: &str, more: &[PathBuf]) -> Result<Command> {
        let owner = if sh::is_root() {
            "0:0".to_owned()
        } else {
            let meta = fs::metadata(sh::root())?;
            format!("{}:{}", meta.uid(), meta.gid())
        };
        self.enter(program, &owner, more)
    }

    /// A command that runs inside the tree as root.
    pub(crate) fn root_command(&self, program: &str) -> Result<Command> {
        self.enter(program, "0:0", &[])
    }

    fn enter(&self, program: &str, owner: &str, more: &[PathBuf]) -> Result<Command> {
        let mut binds = vec![sh::root().to_path_buf(), cache::dir()?];
        fs::create_dir_all(sh::target())?;
        if !sh::target().starts_with(sh::root()) {
            binds.push(sh::target());
        }
        binds.extend_from_slice(more);
        // The tree itself may lie below the cache: then the bind of the cache, made inside the tree, holds the
        // tree once more, which is harmless because binds are not recursive.
        let script = "set -e
tree=$1 owner=$2 count=$3; shift 3
mount --make-rprivate /
for dir in /proc /dev /tmp /sys; do mount --bind \"$dir\" \"$tree$dir\"; done
while [ \"$count\" -gt 0 ]; do
  if [ -d \"$1\" ]; then mkdir -p \"$tree$1\"; mount --bind \"$1\" \"$tree$1\"; fi
  shift; count=$((count - 1))
done
where=$1; shift
exec chroot --userspec=\"$owner\" \"$tree\" /usr/bin/env -i -C \"$where\" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb \"$@\"";
        let mut command = sh::privileged("unshare");
        command.args(["--mount", "--", "/bin/sh", "-c", script, "tree"]);
        command
            .arg(&self.dir)
            .arg(owner)
            .arg(binds.len().to_string())
            .args(&binds);
        command.arg(sh::root()).arg(program);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(numbers("6.12.117+deb13-amd64") > numbers("6.12.94+deb13-amd64"));
        assert!(numbers("6.1.0-56-amd64") > numbers("6.1.0-9-amd64"));
    }
}
