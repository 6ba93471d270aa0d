// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap consumer set | list | remove`.

use std::path::{Path, PathBuf};

use blksnap::{Blksnap, BlockDevice, ChangeId, Error, ErrorKind, Result};
use serde_json::json;

use crate::args::Consumer;
use crate::exit;
use crate::output::{Output, table};

pub(crate) fn run(blksnap: &Blksnap, command: Consumer, output: &Output) -> Result<u8> {
    match command {
        Consumer::Set { device, name, to } => set(blksnap, &device, &name, to, output)?,
        Consumer::List { devices } => list(blksnap, &devices, output)?,
        Consumer::Remove { device, name } => {
            blksnap.device(&device)?.remove_consumer(&name)?;
            let document = json!({ "device": device, "removed": name });
            output.result(&document, || {
                format!("{} has no consumer {name} any more\n", device.display())
            });
        }
    }
    Ok(exit::OK)
}

fn set(
    blksnap: &Blksnap,
    path: &Path,
    name: &str,
    to: Option<ChangeId>,
    output: &Output,
) -> Result<()> {
    let device = blksnap.device(path)?;
    let base = match to {
        Some(base) => base,
        None => last_take(&device)?,
    };
    device.set_consumer(name, base)?;
    let document = json!({ "device": path, "consumer": name, "base": base.to_string() });
    output.result(&document, || {
        format!(
            "{name} asks for changes of {} since {base}\n",
            path.display()
        )
    });
    Ok(())
}

fn last_take(device: &BlockDevice) -> Result<ChangeId> {
    let missing = || {
        Error::new(
            ErrorKind::NotAttached,
            format!("{} is not attached", device.path().display()),
        )
    };
    Ok(device.tracking()?.ok_or_else(missing)?.change_id)
}

fn list(blksnap: &Blksnap, paths: &[PathBuf], output: &Output) -> Result<()> {
    let paths = if paths.is_empty() {
        let attached = blksnap.attached()?;
        attached
            .into_iter()
            .filter_map(|device| device.path)
            .collect()
    } else {
        paths.to_vec()
    };
    let mut found = Vec::new();
    for path in &paths {
        let consumers = blksnap.device(path)?.consumers()?;
        found.extend(consumers.into_iter().map(|consumer| (path, consumer)));
    }
    let value = |(path, consumer): &(&PathBuf, blksnap::Consumer)| json!({ "device": path, "name": consumer.name, "base": consumer.base.to_string() });
    let document = json!({ "consumers": found.iter().map(value).collect::<Vec<_>>() });
    output.result(&document, || {
        if found.is_empty() {
            return "there is no consumer\n".to_owned();
        }
        let row = |(path, consumer): &(&PathBuf, blksnap::Consumer)| {
            let base = consumer.base.to_string();
            vec![path.display().to_string(), consumer.name.clone(), base]
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        table(&["DEVICE", "CONSUMER", "BASE"], &rows)
    });
    Ok(())
}
