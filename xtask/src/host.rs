// SPDX-License-Identifier: GPL-2.0-only
//! On the machine itself: the modules for its running kernel, installed or only loaded, and the demo on loop devices.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::setup::Setup;
use crate::{apt, modules, programs, sh};

/// Where udev finds what it is to do with images.
const RULES: &str = "/etc/udev/rules.d/59-blksnap.rules";

/// The running kernel, as `uname -r` says it.
pub(crate) fn release() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?
        .trim()
        .to_owned())
}

/// Whether this machine's kernel takes modules at all, and has a folder for them.
pub(crate) fn can_load_modules() -> bool {
    Path::new("/proc/modules").exists()
        && !fs::read_to_string("/proc/sys/kernel/modules_disabled").is_ok_and(|t| t.trim() == "1")
        && release().is_ok_and(|r| Path::new("/lib/modules").join(r).is_dir())
}

/// Builds the modules for the running kernel, in the tools tree, with the machine's own headers.
pub(crate) fn build(setup: &Setup) -> Result<PathBuf> {
    if !can_load_modules() {
        bail!(
            "the kernel of this machine cannot load modules (`make demo` uses a virtual machine)"
        );
    }
    let release = release()?;
    let headers = format!("/lib/modules/{release}/build");
    apt::host_packages(&[(headers.as_str(), &format!("linux-headers-{release}"))])?;
    modules::build_for_host(setup, &release)
}

/// `cargo xtask install`.
pub(crate) fn install(setup: &Setup) -> Result<()> {
    let folder = build(setup)?;
    let release = release()?;
    let list = programs::build()?;
    let updates = format!("/lib/modules/{release}/updates/blk-snap");
    sh::run(sh::privileged("mkdir").args(["-p", &updates]))?;
    for module in ["blkfilter.ko", "blksnap.ko"] {
        sh::run(
            sh::privileged("install")
                .args(["-m644"])
                .arg(folder.join(module))
                .arg(&updates),
        )?;
    }
    sh::run(sh::privileged("depmod").arg(&release))?;
    sh::run(
        sh::privileged("install")
            .args(["-D", "-m644"])
            .arg(sh::root().join("kernel/udev/59-blksnap.rules"))
            .arg(RULES),
    )?;
    let command = list
        .iter()
        .find(|p| p.ends_with("blksnap"))
        .context("no command was built")?;
    sh::run(
        sh::privileged("install")
            .arg("-m755")
            .arg(command)
            .arg("/usr/local/bin/blksnap"),
    )?;
    sh::say(format!(
        "installed for {release}: `modprobe blksnap`, then `blksnap --help`"
    ));
    sh::say("a new kernel needs a new `make install`");
    Ok(())
}

/// `cargo xtask install --remove`.
pub(crate) fn remove() -> Result<()> {
    for entry in fs::read_dir("/lib/modules").into_iter().flatten().flatten() {
        let updates = entry.path().join("updates/blk-snap");
        if updates.is_dir() {
            sh::run(sh::privileged("rm").arg("-r").arg(&updates))?;
            sh::run(sh::privileged("depmod").arg(entry.file_name()))?;
        }
    }
    sh::run(sh::privileged("rm").args(["-f", "/usr/local/bin/blksnap", RULES]))?;
    sh::say("removed (modules that are loaded stay until `rmmod blksnap blkfilter`)");
    Ok(())
}

/// The demo on loop devices of this machine. Says the kernel and what failed.
pub(crate) fn demo(
    setup: &Setup,
    list: &[PathBuf],
    out: &Path,
    on_line: &mut dyn FnMut(&str),
) -> Result<(String, Option<String>)> {
    let folder = build(setup)?;
    apt::host_packages(&[
        ("fio", "fio"),
        ("mkfs.xfs", "xfsprogs"),
        ("mkfs.ext4", "e2fsprogs"),
        ("qemu-img", "qemu-utils"),
        ("jq", "jq"),
        ("pkill", "procps"),
    ])?;
    let scratch = out.join("scratch");
    fs::create_dir_all(&scratch)?;
    fs::write(scratch.join("demo.sh"), include_str!("../demo/demo.sh"))?;
    let programs = list
        .first()
        .and_then(|p| p.parent())
        .context("no programs")?;
    let script = r#"set -e
scratch=$1 modules=$2 programs=$3
export OUT=$4 SCRATCH=$1 HOST=1 PATH=$programs:$PATH:/usr/sbin:/sbin
made=
modprobe -q loop || true # or built in
cleanup() { rmmod blksnap blkfilter 2>/dev/null || true; for loop in $made; do losetup -d "$loop"; done; rm -rf "$scratch"; }
trap cleanup EXIT
disk() { truncate -s "$2" "$scratch/$1.raw"; loop=$(losetup -f --show "$scratch/$1.raw"); made="$made $loop"; }
disk ext4 512M; export EXT=$loop
disk xfs 384M; export XFS=$loop
disk ext4-restored 512M; export EXT_TARGET=$loop
disk xfs-restored 384M; export XFS_TARGET=$loop
rmmod blksnap blkfilter 2>/dev/null || true
insmod "$modules/blkfilter.ko"
insmod "$modules/blksnap.ko"
bash "$scratch/demo.sh""#;
    let mut command = sh::privileged("bash");
    command
        .args(["-c", script, "demo"])
        .arg(&scratch)
        .arg(&folder)
        .arg(programs)
        .arg(out);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the demo")?;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        on_line(&line.unwrap_or_default());
    }
    let status = child.wait()?;
    let failure = (!status.success()).then(|| format!("the script ended with {status}"));
    if let Ok(log) = sh::output(&mut Command::new("dmesg")) {
        fs::write(out.join("dmesg.txt"), log)?;
    }
    Ok((release()?, failure))
}
