// SPDX-License-Identifier: MIT OR Apache-2.0
//! DIR: what is in it, finishing or removing what a killed run left, publishing what is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use blksnap::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::errors;
use crate::manifest::Manifest;
use crate::names::{BackupName, Kind, REMOVED, TEMPORARY};

/// A folder of backups.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
}

/// A backup in the folder, as far as it is there.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: BackupName,
    /// Its manifest, or why there is none.
    pub manifest: Result<Manifest>,
    /// The length of its image, when there is one.
    pub image_bytes: Option<u64>,
}

impl Entry {
    /// The manifest, when the backup is whole as far as one sees without reading its data.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn whole(&self) -> Result<&Manifest> {
        let manifest = self.manifest.as_ref().map_err(|error| {
            Error::new(error.kind(), error.chain()).with_help(error.help().unwrap_or_default())
        })?;
        let image = self.name.image();
        if manifest.file != image
            || manifest.kind != self.name.kind
            || manifest.sequence != self.name.sequence
        {
            return Err(errors::damaged(format!(
                "{} is the manifest of {}",
                self.name.manifest(),
                manifest.file
            ))
            .with_help("files of a backup must keep their names"));
        }
        match self.image_bytes {
            None => Err(errors::damaged(format!("{image} is missing"))
                .with_help("bring the file back, or make a full backup")),
            Some(bytes) if bytes != manifest.file_bytes => Err(errors::damaged(format!(
                "{image} has {bytes} bytes and should have {}",
                manifest.file_bytes
            ))),
            Some(_) => Ok(manifest),
        }
    }
}

/// What is in a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every backup, by device and number.
    pub devices: BTreeMap<String, Vec<Entry>>,
    /// Temporary files.
    pub unfinished: Vec<String>,
}

/// A backup that was written under its temporary name, and is removed when dropped.
#[derive(Debug)]
pub struct Unpublished {
    folder: PathBuf,
    name: BackupName,
    published: bool,
}

impl Unpublished {
    /// Where the image is written.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder
            .join(format!("{TEMPORARY}{}", self.name.image()))
    }

    fn manifest(&self) -> PathBuf {
        self.folder
            .join(format!("{TEMPORARY}{}", self.name.manifest()))
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        if !self.published {
            // The manifest first: an image without one is nothing.
            let _ = fs::remove_file(self.manifest());
            let _ = fs::remove_file(self.image());
        }
    }
}

impl Folder {
    /// Opens a folder to read.
    ///
    /// # Errors
    ///
    /// There is no such folder.
    pub fn open(path: &Path) -> Result<Self> {
        let handle =
            File::open(path).map_err(|error| errors::file("open the folder", path, error))?;
        if !handle.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{} is not a folder", path.display()),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            handle,
        })
    }

    /// Opens a folder to write, making it if it is not there, and locks it until dropped.
    ///
    /// # Errors
    ///
    /// Another run is writing there, or it cannot be made.
    pub fn open_to_write(path: &Path) -> Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(errors::file("make the folder", path, error));
            }
            _ => {}
        }
        let folder = Self::open(path)?;
        flock(&folder.handle, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == Errno::WOULDBLOCK {
                Error::new(
                    ErrorKind::Locked,
                    format!("another backup is being written to {}", path.display()),
                )
                .with_help("wait until it ends, or use another folder")
            } else {
                errors::file("lock", path, error.into())
            }
        })?;
        Ok(folder)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of this name is.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn names(&self) -> Result<Vec<String>> {
        let read = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        read().map_err(|error| errors::file("read the folder", &self.path, error))
    }

    /// What is in it. Files with other names are nobody's business.
    ///
    /// # Errors
    ///
    /// The folder cannot be read; a manifest that cannot is told in its entry.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        // By device, number and kind: whether there is a manifest, and the image's length.
        let mut found: BTreeMap<_, (BackupName, bool, Option<u64>)> = BTreeMap::new();
        for file in self.names()? {
            if file.starts_with(TEMPORARY) {
                listing.unfinished.push(file);
                continue;
            }
            let Some((name, extension)) = BackupName::parse(&file) else {
                continue;
            };
            let key = (name.device.clone(), name.sequence, name.kind.short());
            let entry = found.entry(key).or_insert((name, false, None));
            if extension == "json" {
                entry.1 = true;
            } else {
                entry.2 = fs::metadata(self.file(&file))
                    .ok()
                    .map(|metadata| metadata.len());
            }
        }
        for (name, has_manifest, image_bytes) in found.into_values() {
            let manifest = if has_manifest {
                Manifest::read(&self.file(&name.manifest()))
            } else {
                Err(errors::damaged(format!("{} has no manifest", name.image()))
                    .with_help("bring its .json file back, or move the file elsewhere"))
            };
            listing
                .devices
                .entry(name.device.clone())
                .or_default()
                .push(Entry {
                    name,
                    manifest,
                    image_bytes,
                });
        }
        Ok(listing)
    }

    /// Finishes what a killed run had whole, removes what it had not; says each in a line.
    ///
    /// # Errors
    ///
    /// A file cannot be renamed or removed.
    pub fn recover(&self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        let unfinished: Vec<String> = self
            .names()?
            .into_iter()
            .filter(|name| name.starts_with(TEMPORARY))
            .collect();
        for file in &unfinished {
            let name = file.strip_prefix(REMOVED).and_then(BackupName::parse);
            let Some((name, "json")) = name else { continue };
            let path = self.file(&name.image());
            match fs::remove_file(&path) {
                Ok(()) => said.push(format!("removed {}, which was being removed", name.image())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(errors::file("remove", &path, error)),
            }
        }
        for file in unfinished.iter().filter(|name| name.ends_with(".json")) {
            let final_name = &file[TEMPORARY.len()..];
            let Some((name, _)) = BackupName::parse(final_name) else {
                continue;
            };
            let Ok(manifest) = Manifest::read(&self.file(file)) else {
                continue;
            };
            let here = |file: &str| {
                fs::metadata(self.file(file)).is_ok_and(|image| image.len() == manifest.file_bytes)
            };
            let temporary = format!("{TEMPORARY}{}", name.image());
            if manifest.file != name.image() || !(here(&temporary) || here(&name.image())) {
                continue;
            }
            if here(&temporary) {
                self.rename(&temporary, &name.image())?;
            }
            self.rename(file, final_name)?;
            said.push(format!(
                "finished {}, which an interrupted run had written but not named",
                name.image()
            ));
        }
        for file in unfinished {
            let path = self.file(&file);
            match fs::remove_file(&path) {
                Ok(()) => said.push(format!("removed {file}, left by an interrupted run")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(errors::file("remove", &path, error)),
            }
        }
        self.sync()?;
        Ok(said)
    }

    /// Removes a backup: once its manifest has another name it is gone, and should the rest fail,
    /// the next run does it.
    ///
    /// # Errors
    ///
    /// A file cannot be renamed or removed.
    pub fn remove(&self, name: &BackupName) -> Result<()> {
        let going = format!("{REMOVED}{}", name.manifest());
        let (manifest, going) = (self.file(&name.manifest()), self.file(&going));
        fs::rename(&manifest, &going).map_err(|error| errors::file("rename", &manifest, error))?;
        self.sync()?;
        for path in [self.file(&name.image()), going] {
            fs::remove_file(&path).map_err(|error| errors::file("remove", &path, error))?;
        }
        self.sync()
    }

    /// A name to write the device's next backup under.
    #[must_use]
    pub fn prepare(&self, device: &str, sequence: u64, kind: Kind) -> Unpublished {
        let name = BackupName {
            device: device.to_owned(),
            sequence,
            kind,
        };
        Unpublished {
            folder: self.path.clone(),
            name,
            published: false,
        }
    }

    /// Gives finished backups their names: all of them, or none.
    ///
    /// # Errors
    ///
    /// A manifest cannot be written, or a file cannot be renamed.
    pub fn publish(&self, finished: Vec<(Unpublished, Manifest)>) -> Result<()> {
        for (backup, manifest) in &finished {
            let path = backup.manifest();
            let write = || -> std::io::Result<()> {
                let mut file = File::options().write(true).create_new(true).open(&path)?;
                file.write_all(manifest.text().as_bytes())?;
                file.sync_all()
            };
            write().map_err(|error| errors::file("write", &path, error))?;
        }
        self.sync()?;
        // Whole from here on: should the rest fail, the next run does it.
        for (mut backup, _) in finished {
            backup.published = true;
            self.rename(
                &format!("{TEMPORARY}{}", backup.name.image()),
                &backup.name.image(),
            )?;
            self.rename(
                &format!("{TEMPORARY}{}", backup.name.manifest()),
                &backup.name.manifest(),
            )?;
        }
        self.sync()
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.file(from), self.file(to));
        if to.exists() {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{} exists already", to.display()),
            )
            .with_help("move it elsewhere"));
        }
        fs::rename(&from, &to).map_err(|error| errors::file("rename", &from, error))
    }

    fn sync(&self) -> Result<()> {
        self.handle
            .sync_all()
            .map_err(|error| errors::file("sync", &self.path, error))
    }
}
