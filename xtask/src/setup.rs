// SPDX-License-Identifier: GPL-2.0-only
//! Everything that is made once: host packages, the tools tree, the guest.

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::apt::{self, Apt, Mirrors};
use crate::guest::{self, Guest};
use crate::tools::{self, Kernel, Tree};
use crate::{cache, sh};

/// Host packages: what tells that one is there (a program or a path), and its name.
pub(crate) const HOST: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    ("unshare", "util-linux"),
];

/// What a set-up gives.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) tree: Tree,
    pub(crate) guest: Guest,
}

/// Makes what is missing. With `refresh`, the archive is asked for newer kernels.
pub(crate) fn ensure(refresh: bool) -> Result<Setup> {
    if !refresh && let Some(setup) = ready()? {
        return Ok(setup);
    }
    let _lock = cache::lock()?;
    if !refresh && let Some(setup) = ready()? {
        return Ok(setup);
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Err(anyhow!("only x86_64 is served yet"));
    }
    apt::host_packages(HOST)?;
    let mirrors = Mirrors::of_this_machine()?;
    sh::say("reading the lists of the archive");
    let apt = Apt::update(&mirrors)?;
    let kernels = tools::resolve(&apt)?;
    let names: Vec<&str> = kernels.iter().map(|k| k.release.as_str()).collect();
    sh::say(format!("kernels: {}", names.join(", ")));

    // The guest's base and the kernels do not need the tools tree: side by side with it.
    let (tree, rest) = thread::scope(|scope| {
        let rest = scope.spawn(|| -> Result<_> {
            Ok((
                guest::ensure_kernels(&kernels, &apt)?,
                guest::ensure_base(&mirrors)?,
            ))
        });
        let tree = tools::ensure(&kernels, &mirrors);
        (tree, rest.join())
    });
    let tree = tree?;
    let (unpacked, base) = rest.map_err(|_| anyhow!("the set-up of the guest panicked"))??;
    let guest = guest::ensure(&kernels, &tree, &base, &unpacked)?;
    sh::write(
        &cache::dir()?.join("kernels.json"),
        serde_json::to_string_pretty(&kernels)?,
    )?;
    sh::say("the set-up is done");
    Ok(Setup {
        kernels,
        tree,
        guest,
    })
}

/// The set-up as it was recorded, if all of it is there.
fn ready() -> Result<Option<Setup>> {
    let Ok(text) = fs::read_to_string(cache::dir()?.join("kernels.json")) else {
        return Ok(None);
    };
    let kernels: Vec<Kernel> =
        serde_json::from_str(&text).context("kernels.json in the cache is damaged; remove it")?;
    let series: Vec<&str> = kernels.iter().map(|k| k.series.as_str()).collect();
    if series != tools::KERNELS.map(|(s, _)| s) {
        return Ok(None);
    }
    let dir = cache::entry("tools", &tools::key(&kernels))?;
    let guest = guest::existing(&kernels)?;
    Ok(match guest {
        Some(guest) if dir.is_dir() => Some(Setup {
            kernels,
            tree: Tree { dir },
            guest,
        }),
        _ => None,
    })
}
