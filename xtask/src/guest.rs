// SPDX-License-Identifier: GPL-2.0-only
//! The guest: one root file system for all kernels, and for each kernel its image, its modules and a small
//! initramfs. Made once, kept in the cache, never written to by a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Mirrors};
use crate::tools::{self, Kernel, Tree};
use crate::{cache, sh};

const PACKAGES: &[&str] = &[
    "util-linux",
    "fdisk",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "dosfstools",
    "fio",
    "sqlite3",
    "qemu-utils",
    "kmod",
    "udev",
    "dmsetup",
    "mdadm",
    "bcache-tools",
    "lvm2",
    "jq",
    "procps",
    "psmisc",
    "strace",
    "busybox-static",
    "xxd",
    "thin-provisioning-tools",
];

/// Changed by hand when the recipe changes in a way that the hash does not see.
const RECIPE: &str = "2";

/// What of the kernel's modules the guest keeps: prefixes below `kernel/`.
const MODULES: &[&str] = &[
    "arch/",
    "block/",
    "crypto/",
    "lib/",
    "mm/",
    "kernel/",
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache",
    "fs/xfs",
    "fs/btrfs",
    "fs/overlayfs",
    "fs/9p",
    "fs/netfs",
    "fs/fscache",
    "fs/cachefiles",
    "fs/fuse",
    "fs/squashfs",
    "fs/isofs",
    "fs/fat",
    "fs/nls",
    "fs/f2fs",
    "fs/configfs",
    "fs/binfmt",
    "fs/dlm",
    "fs/erofs",
    "net/9p",
    "drivers/block",
    "drivers/md",
    "drivers/virtio",
    "drivers/nvme",
    "drivers/target/target_core",
    "drivers/target/loopback",
    "drivers/target/target_core_",
    "drivers/scsi/scsi_debug",
    "drivers/scsi/scsi_mod",
    "drivers/scsi/scsi_common",
    "drivers/scsi/sd_mod",
    "drivers/scsi/sg",
    "drivers/scsi/sr_mod",
    "drivers/scsi/virtio_scsi",
    "drivers/scsi/scsi_transport",
    "drivers/cdrom",
    "drivers/char/virtio_console",
    "drivers/char/hw_random",
    "drivers/dax",
    "drivers/nvdimm",
    "drivers/acpi/nfit",
    "drivers/base",
    "drivers/ata/ata_generic",
    "drivers/ata/libata",
    "drivers/ata/ahci",
    "drivers/ata/libahci",
];

/// What the initramfs loads, by name; dependencies are added.
const EARLY: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "crc32c_intel",
    "libcrc32c",
    "ext4",
    "overlay",
];

/// The guest's files.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    dir: PathBuf,
}

impl Guest {
    /// The root file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root.img")
    }

    /// The kernel's image.
    pub(crate) fn kernel(&self, kernel: &Kernel) -> PathBuf {
        self.folder(kernel).join("vmlinuz")
    }

    /// The kernel's initramfs.
    pub(crate) fn initrd(&self, kernel: &Kernel) -> PathBuf {
        self.folder(kernel).join("initrd")
    }

    /// The kernel's modules, as a folder `lib/modules/RELEASE` below this one.
    pub(crate) fn modules(&self, kernel: &Kernel) -> PathBuf {
        self.folder(kernel).join("tree")
    }

    fn folder(&self, kernel: &Kernel) -> PathBuf {
        let built = kernel.built.clone();
        built.unwrap_or_else(|| self.dir.join(&kernel.release))
    }
}

/// The key of the guest with these kernels.
pub(crate) fn key(kernels: &[Kernel]) -> String {
    let mut parts = vec![
        RECIPE,
        include_str!("../guest/init"),
        include_str!("../guest/initrd-init"),
    ];
    parts.extend(PACKAGES);
    parts.extend(MODULES);
    parts.extend(EARLY);
    parts.extend(kernels.iter().map(|k| k.release.as_str()));
    cache::hash(&parts)
}

/// The guest of these kernels, when it has been made.
pub(crate) fn existing(kernels: &[Kernel]) -> Result<Option<Guest>> {
    let dir = cache::entry("guest", &key(kernels))?;
    Ok(dir.is_dir().then_some(Guest { dir }))
}

/// Unpacks a base system for the guest (about a minute) unless that is done. Does not need the tools tree.
pub(crate) fn ensure_base(mirrors: &Mirrors) -> Result<PathBuf> {
    let mut parts = vec![RECIPE];
    parts.extend(PACKAGES);
    cache::ensure("guest-base", &cache::hash(&parts), |new| {
        sh::say("making the guest's root file system (about a minute)");
        let packages: Vec<String> = PACKAGES.iter().map(|p| (*p).to_owned()).collect();
        tools::bootstrap(
            new,
            "essential",
            &packages,
            &mirrors.lines(false),
            &cache::dir()?.join("log/guest.log"),
        )
    })
}

/// Fetches and unpacks the kernels' images and modules unless that is done. Does not need the tools tree.
pub(crate) fn ensure_kernels(kernels: &[Kernel], apt: &Apt) -> Result<PathBuf> {
    let mut parts = vec![RECIPE];
    parts.extend(kernels.iter().map(|k| k.release.as_str()));
    cache::ensure("kernels", &cache::hash(&parts), |new| {
        for kernel in kernels {
            sh::say(format!("fetching the kernel {}", kernel.release));
            let image = format!("linux-image-{}", kernel.release);
            let mut packages = vec![image.clone()];
            // Newer packages keep image and modules apart.
            packages.extend(apt.depends(&image)?.into_iter().filter(|name| {
                name.ends_with(&kernel.release)
                    && (["linux-binary-", "linux-modules-", "linux-base-"]
                        .iter()
                        .any(|p| name.starts_with(p)))
            }));
            let to = new.join(&kernel.release);
            fs::create_dir_all(&to)?;
            for package in packages {
                let file = apt.download(&package)?;
                sh::run(
                    std::process::Command::new("nice")
                        .args(["dpkg-deb", "-x"])
                        .arg(file)
                        .arg(&to),
                )?;
            }
        }
        Ok(())
    })
}

/// Puts the guest together (about 20 s) unless it is there.
pub(crate) fn ensure(
    kernels: &[Kernel],
    tree: &Tree,
    base: &Path,
    unpacked: &Path,
) -> Result<Guest> {
    let dir = cache::ensure("guest", &key(kernels), |new| {
        sh::say("putting the guest together");
        fs::create_dir_all(new)?;
        for kernel in kernels {
            prepare_kernel(
                kernel,
                tree,
                &unpacked.join(&kernel.release),
                &new.join(&kernel.release),
            )?;
        }
        // A copy of the base with our init and all kernels' modules, as an ext4 image.
        let script = r#"set -eu
base=$1 new=$2; shift 2
root=$new/root
cp -a "$base" "$root"
mkdir -p "$root/lib/modules" "$root/host"
for release in "$@"; do cp -a "$new/$release/tree/lib/modules/$release" "$root/lib/modules/"; done
install -m755 "$new/init" "$root/sbin/guest-init"
mkdir -p "$root/etc/lvm" "$root/etc/udev/rules.d"
printf 'root::0:0:root:/root:/bin/bash\n' >"$root/etc/passwd.guest"
rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/usr/share/doc" "$root/boot"
kib=$(du -sk --apparent-size "$root" | cut -f1)
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -E root_owner=0:0,lazy_itable_init=0 -d "$root" "$new/root.img" "$((kib * 5 / 4 + 65536))k"
rm -rf "$root"
chmod 644 "$new/root.img""#;
        fs::write(new.join("init"), include_str!("../guest/init"))?;
        let mut command = tree.root_command("/bin/sh")?;
        command.args(["-c", script, "guest"]).arg(base).arg(new);
        command.args(kernels.iter().map(|k| &k.release));
        sh::run_logged(&mut command, &cache::dir()?.join("log/guest-image.log"))
    })?;
    Ok(Guest { dir })
}

/// Image, wanted modules and initramfs of one kernel.
fn prepare_kernel(kernel: &Kernel, tree: &Tree, unpacked: &Path, to: &Path) -> Result<()> {
    let release = &kernel.release;
    let from = [
        unpacked.join("usr/lib/modules").join(release),
        unpacked.join("lib/modules").join(release),
    ]
    .into_iter()
    .find(|dir| dir.is_dir())
    .context("the kernel package has no modules")?;
    let image = find_image(unpacked, &from, release)?;
    fs::create_dir_all(to)?;
    fs::copy(image, to.join("vmlinuz"))?;

    let modules = to.join("tree/lib/modules").join(release);
    let mut files = Vec::new();
    walk(&from.join("kernel"), &mut files)?;
    for file in files {
        let name = file
            .strip_prefix(from.join("kernel"))?
            .to_string_lossy()
            .into_owned();
        if MODULES.iter().any(|prefix| name.starts_with(prefix)) {
            let target = modules.join("kernel").join(&name);
            fs::create_dir_all(target.parent().context("no folder")?)?;
            fs::copy(&file, target)?;
        }
    }
    for file in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        if from.join(file).is_file() {
            fs::copy(from.join(file), modules.join(file))?;
        }
    }
    // Unpacked modules load quicker in an emulated guest. depmod must see `lib/modules` below its base.
    let script = r#"set -eu
dir=$1 release=$2
find "$dir/tree" -name '*.ko.xz' -print0 | xargs -0 -r xz -d
find "$dir/tree" -name '*.ko.zst' -print0 | xargs -0 -r zstd -q -d --rm
mkdir -p "$dir/tree/usr"; ln -sfn ../lib "$dir/tree/usr/lib"
depmod -b "$dir/tree" "$release""#;
    let mut command = tree.root_command("/bin/sh")?;
    command.args(["-c", script, "modules"]).arg(to).arg(release);
    sh::run_logged(
        &mut command,
        &cache::dir()?.join(format!("log/modules-{release}.log")),
    )?;

    make_initrd(
        tree,
        to,
        &early_modules(&modules)?,
        &cache::dir()?.join(format!("log/initrd-{release}.log")),
    )
}

/// Makes `to/initrd`, which loads these modules in this order.
pub(crate) fn make_initrd(tree: &Tree, to: &Path, early: &[PathBuf], log: &Path) -> Result<()> {
    let initrd = to.join("initrd-tree");
    fs::create_dir_all(initrd.join("modules"))?;
    let mut order = String::new();
    for file in early {
        let name = file
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        fs::copy(file, initrd.join("modules").join(&name))?;
        order += &name;
        order.push('\n');
    }
    fs::write(initrd.join("order-of-modules"), &order)?;
    fs::write(initrd.join("init"), include_str!("../guest/initrd-init"))?;
    let script = r#"set -eu
cd "$1/initrd-tree"
mv order-of-modules modules/order
mkdir -p bin dev proc sys
cp /bin/busybox bin/busybox 2>/dev/null || cp /usr/bin/busybox bin/busybox
for tool in sh mount cat insmod poweroff usleep mkdir switch_root echo; do ln -s busybox bin/$tool; done
chmod 755 init
find . | cpio --quiet -o -H newc -R 0:0 >"$1/initrd"
cd /; rm -rf "$1/initrd-tree""#;
    let mut command = tree.root_command("/bin/sh")?;
    command.args(["-c", script, "initrd"]).arg(to);
    sh::run_logged(&mut command, log)
}

fn find_image(unpacked: &Path, modules: &Path, release: &str) -> Result<PathBuf> {
    let places = [
        unpacked.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("vmlinuz"),
        unpacked
            .join("usr/lib/linux")
            .join(format!("vmlinuz-{release}")),
    ];
    if let Some(place) = places.iter().find(|p| p.is_file()) {
        return Ok(place.clone());
    }
    let mut files = Vec::new();
    walk(unpacked, &mut files)?;
    files
        .into_iter()
        .find(|f| {
            f.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz"))
        })
        .with_context(|| format!("no image of the kernel {release} in its packages"))
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The early modules that exist as files, each after what it needs, by `modules.dep`.
fn early_modules(modules: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(modules.join("modules.dep"))?;
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut by_name: BTreeMap<String, &str> = BTreeMap::new();
    for line in text.lines() {
        let Some((file, rest)) = line.split_once(':') else {
            continue;
        };
        let name = file
            .rsplit('/')
            .next()
            .unwrap_or(file)
            .trim_end_matches(".ko")
            .replace('-', "_");
        by_name.insert(name, file);
        needs.insert(file, rest.split_whitespace().collect());
    }
    let mut order: Vec<&str> = Vec::new();
    for name in EARLY {
        // Not a module of this kernel: built in, or gone.
        let Some(file) = by_name.get(*name) else {
            continue;
        };
        // modules.dep lists what is needed, the nearest first.
        let mut chain: Vec<&str> = needs.get(file).cloned().unwrap_or_default();
        chain.reverse();
        chain.push(file);
        for file in chain {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    if !order.iter().any(|f| f.contains("overlay")) {
        bail!("the kernel's modules lack overlayfs");
    }
    Ok(order.into_iter().map(|f| modules.join(f)).collect())
}
