// SPDX-License-Identifier: GPL-2.0-only
//! The debug kernel: Debian's source of 6.1 with everything on that watches (`xtask/debug/kernel.config`), and as little
//! else as the tests allow. Built once (about six minutes on two processors) in a tree of its own that is thrown away, and
//! kept in the cache:
//!
//! - `vmlinuz`, `initrd`;
//! - `tree/lib/modules/RELEASE/updates`, its few modules;
//! - `build`, what modules are built against.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, Mirrors};
use crate::setup::{self, Setup};
use crate::tools::{self, Kernel, Tree};
use crate::{cache, guest, sh};

/// The series it is made of, and the name it goes by.
const SERIES: &str = "6.1";
pub(crate) const NAME: &str = "6.1-debug";
const SOURCE: &str = "linux-source-6.1";
const CONFIG: &str = include_str!("../debug/kernel.config");

/// What builds a kernel.
const PACKAGES: &[&str] = &[
    "gcc-12",
    "make",
    "binutils",
    "flex",
    "bison",
    "bc",
    "libelf-dev",
    "libc6-dev",
    "xz-utils",
];

/// Changed by hand when the recipe changes in a way that the hash does not see.
const RECIPE: &str = "1";

/// The kernels of these names, this one among them, or all stock kernels when there are no names.
pub(crate) fn chosen(setup: &Setup, names: &[String]) -> Result<Vec<Kernel>> {
    if names.is_empty() {
        return Ok(setup.kernels.clone());
    }
    let find = |name: &String| match name.as_str() {
        NAME => ensure(setup),
        name => tools::find(&setup.kernels, name).cloned(),
    };
    names.iter().map(find).collect()
}

/// Makes it unless it is there.
fn ensure(setup: &Setup) -> Result<Kernel> {
    let based_on = tools::find(&setup.kernels, SERIES)?;
    let key = cache::hash(&[
        RECIPE,
        CONFIG,
        CONFIGURE,
        BUILD,
        &based_on.release,
        &PACKAGES.join(" "),
    ]);
    let dir = cache::entry("debug-kernel", &key)?;
    if !dir.is_dir() {
        // A lock of its own: it takes minutes, and who wants the rest of the cache need not wait.
        let _lock = cache::lock_for("debug-kernel")?;
        cache::ensure("debug-kernel", &key, |new| make(setup, new))?;
    }
    let release = fs::read_to_string(dir.join("release"))?.trim().to_owned();
    Ok(Kernel {
        series: NAME.into(),
        release,
        built: Some(dir),
    })
}

fn make(setup: &Setup, new: &Path) -> Result<()> {
    let log = |name: &str| -> Result<_> { Ok(cache::dir()?.join("log").join(name)) };
    // The set-up has done both before on the machine that made the cache, which need not be this one.
    apt::host_packages(setup::HOST)?;
    let mirrors = Mirrors::of_this_machine()?;
    sh::say("fetching the debug kernel's source");
    let package = {
        let _lock = cache::lock()?;
        Apt::update(&mirrors)?.download(SOURCE)?
    };
    fs::create_dir_all(new)?;
    sh::run(
        std::process::Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(new.join("package")),
    )?;
    fs::write(new.join("wanted.config"), CONFIG)?;

    sh::say("making a tree to build the debug kernel in (about a minute)");
    let builder = Tree {
        dir: new.join("builder"),
    };
    let packages: Vec<String> = PACKAGES.iter().map(|p| (*p).to_owned()).collect();
    tools::bootstrap(
        &builder.dir,
        "apt",
        &packages,
        &mirrors.lines(true),
        &log("debug-kernel-tree.log")?,
    )?;

    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let step = |script: &str, name: &str| -> Result<()> {
        let mut command = builder.root_command("nice")?;
        command
            .args(["/bin/sh", "-c", script, "build"])
            .arg(new)
            .arg(cpus.to_string());
        sh::run_logged(&mut command, &log(name)?)
    };
    step(CONFIGURE, "debug-kernel-configuration.log")?;
    missing(new)?;
    sh::say("building the debug kernel (six minutes and more on two processors)");
    step(BUILD, "debug-kernel.log")?;

    let release = fs::read_to_string(new.join("release"))?;
    let mut command = setup.tree.root_command("/bin/sh")?;
    let script = r#"cd "$1"; mkdir -p tree/usr; ln -sfn ../lib tree/usr/lib; depmod -b tree "$2""#;
    command
        .args(["-c", script, "index"])
        .arg(new)
        .arg(release.trim());
    sh::run_logged(&mut command, &log("debug-kernel-index.log")?)?;
    guest::make_initrd(&setup.tree, new, &[], &log("debug-kernel-initrd.log")?)?;
    for name in ["builder", "package"] {
        cache::remove_tree(&new.join(name))?;
    }
    Ok(())
}

/// The configuration that came out must hold what was asked for: a choice or a dependency drops options silently.
fn missing(new: &Path) -> Result<()> {
    let text = fs::read_to_string(new.join("build/.config"))
        .context("the debug kernel was not configured")?;
    let lost: Vec<&str> = CONFIG
        .lines()
        .filter(|line| match line.strip_prefix("# CONFIG_") {
            // Not set may also mean not there.
            Some(rest) => {
                let option = rest.trim_end_matches(" is not set");
                rest != option && text.contains(&format!("\nCONFIG_{option}="))
            }
            None => line.starts_with("CONFIG_") && !text.lines().any(|l| l == *line),
        })
        .collect();
    if !lost.is_empty() {
        bail!("the debug kernel's configuration lost {}", lost.join(", "));
    }
    Ok(())
}

/// Both run in the builder's tree: $1 the new entry, $2 the number of processors.
const CONFIGURE: &str = r#"set -eu
cd "$1"
tar xf package/usr/src/linux-source-*.tar.xz
mv linux-source-* build
cd build
# The stack of a failing allocation tells whether it is ours. The kernel walks it by frame pointers here, which is exact.
sed -i '/^config FAULT_INJECTION_STACKTRACE_FILTER/,/^config /{/depends on !X86_64/d}' lib/Kconfig.debug
make CC=gcc-12 HOSTCC=gcc-12 tinyconfig
./scripts/kconfig/merge_config.sh -m .config ../wanted.config
make CC=gcc-12 HOSTCC=gcc-12 olddefconfig
"#;

const BUILD: &str = r#"set -eu
cd "$1/build"
make CC=gcc-12 HOSTCC=gcc-12 -j"$2" bzImage modules
release=$(cat include/config/kernel.release)
echo "$release" >../release
cp arch/x86/boot/bzImage ../vmlinuz
updates=../tree/lib/modules/$release/updates
mkdir -p "$updates"
find . -name '*.ko' -exec cp {} "$updates" \;
cp modules.builtin modules.builtin.modinfo modules.order "$updates/.."
# What modules are built against: headers, scripts, the tools that Kbuild calls.
find . -name '*.o' -not -path './scripts/*' -not -path './tools/objtool/*' -delete
find . \( -name '*.c' -o -name '*.S' -o -name '*.a' -o -name '*.ko' -o -name '*.cmd' \) -not -path './scripts/*' -not -path './tools/*' -delete
rm -rf Documentation drivers sound samples vmlinux* .tmp_* arch/x86/boot
find arch -mindepth 1 -maxdepth 1 -not -name x86 -not -name Kconfig -exec rm -rf {} +
chmod -R a+rX .
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_watches_is_asked_for() {
        for option in [
            "KASAN",
            "PROVE_LOCKING",
            "PROVE_RCU",
            "DEBUG_ATOMIC_SLEEP",
            "DEBUG_PREEMPT",
            "DEBUG_KMEMLEAK",
            "DEBUG_OBJECTS",
            "UBSAN",
            "FAILSLAB",
            "FAIL_PAGE_ALLOC",
            "FAIL_MAKE_REQUEST",
            "FAULT_INJECTION_DEBUG_FS",
        ] {
            assert!(
                CONFIG.contains(&format!("\nCONFIG_{option}=y\n")),
                "{option}"
            );
        }
    }
}
