// SPDX-License-Identifier: GPL-2.0-only
//! The cache: what takes minutes to make and is the same for every checkout.
//!
//! An entry is a folder `NAME-HASH`, the hash being that of its recipe. It is made under a temporary
//! name and renamed, so what is there is whole; an interrupted set-up leaves only a temporary folder,
//! which the next one removes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::sh;

/// The cache's folder, made when it is missing.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = if let Some(dir) = std::env::var_os("BLKSNAP_CACHE") {
        PathBuf::from(dir)
    } else if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        PathBuf::from(dir).join("blk-snap")
    } else {
        let home = std::env::var_os("HOME")
            .context("no HOME and no BLKSNAP_CACHE: where is the cache to be?")?;
        PathBuf::from(home).join(".cache/blk-snap")
    };
    let dir = std::path::absolute(dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot make the cache {}", dir.display()))?;
    Ok(dir)
}

/// Held while a folder is being changed, the cache or what is built: two at once wait for each other.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")] File,
);

/// Takes the cache's lock.
pub(crate) fn lock() -> Result<Lock> {
    lock_of(&dir()?)
}

/// Takes the lock of one kind of entry, beside which the rest of the cache may change. Who wants both takes this one first.
pub(crate) fn lock_for(name: &str) -> Result<Lock> {
    let folder = dir()?.join(format!("{name}.lock"));
    fs::create_dir_all(&folder)?;
    lock_of(&folder)
}

/// Takes the lock of a folder that is there.
pub(crate) fn lock_of(folder: &Path) -> Result<Lock> {
    let file = File::create(folder.join("lock"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        sh::say(format!(
            "another one is at work in {}, waiting for it",
            folder.display()
        ));
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(Lock(file))
}

/// A short hash of a recipe.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    sha.finalize()
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Where an entry is, whole or not yet made.
pub(crate) fn entry(name: &str, key: &str) -> Result<PathBuf> {
    Ok(dir()?.join(format!("{name}-{key}")))
}

/// Makes an entry unless it is there: `make` fills a temporary folder, which is then renamed.
pub(crate) fn ensure(
    name: &str,
    key: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = entry(name, key)?;
    if path.is_dir() {
        return Ok(path);
    }
    let temporary = dir()?.join(format!("{name}-{key}.new"));
    remove_tree(&temporary)?;
    make(&temporary)?;
    sh::run(sh::privileged("mv").arg("-T").arg(&temporary).arg(&path))?;
    Ok(path)
}

/// Removes a folder that may hold files of root, and nothing mounted below it.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        sh::run(
            sh::privileged("rm")
                .args(["-rf", "--one-file-system", "--"])
                .arg(path),
        )?;
    }
    Ok(())
}
