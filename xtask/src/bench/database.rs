// SPDX-License-Identifier: GPL-2.0-only
//! PostgreSQL for the guest: Debian's packages, unpacked. No part of the guest itself, which the tests start much more often: only the bench
//! has it, in its exchange folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::apt::{Apt, Mirrors};
use crate::{cache, sh};

/// The server, what drives it, and what of the libraries the guest lacks. Debian's compiler for queries is left out.
const PACKAGES: [&str; 7] = [
    "postgresql-17",
    "postgresql-client-17",
    "libpq5",
    "libldap2",
    "libsasl2-2",
    "liblz4-1",
    "libxxhash0",
];

/// What of them takes the most room, and is not used.
const UNUSED: [&str; 4] = [
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/lib/postgresql/17/lib/bitcode",
];

/// Where it is; fetched (20 MB) unless it is there.
pub(crate) fn ensure() -> Result<PathBuf> {
    cache::ensure("postgresql", &cache::hash(&PACKAGES), |new| {
        sh::say("fetching PostgreSQL");
        let apt = Apt::update(&Mirrors::of_this_machine()?)?;
        fs::create_dir_all(new)?;
        for package in PACKAGES {
            let file = apt.download(package)?;
            sh::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(new))?;
        }
        for folder in UNUSED {
            cache::remove_tree(&new.join(folder))?;
        }
        Ok(())
    })
}

/// Puts it into an exchange folder.
pub(crate) fn copy(share: &Path) -> Result<()> {
    cache::remove_tree(&share.join("postgresql"))?;
    sh::run(
        Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(ensure()?)
            .arg(share.join("postgresql")),
    )
}
