// SPDX-License-Identifier: MIT OR Apache-2.0
//! `blksnap status`, `blksnap version`.

use blksnap::{Blksnap, ErrorKind, Result};
use serde_json::json;

use crate::commands::list;
use crate::commands::snapshot::show as snapshot;
use crate::exit;
use crate::output::{Output, size};

pub(crate) fn version(blksnap: &Blksnap, output: &Output) -> Result<u8> {
    let module = blksnap.module_version().ok();
    let abi = blksnap.features().ok().map(|features| features.abi);
    let kernel = blksnap.door().kernel_release();
    let tool = env!("CARGO_PKG_VERSION");
    output.result(
        &json!({ "blksnap": tool, "module": module, "abi": abi, "kernel": kernel }),
        || {
            let module = module.as_deref().unwrap_or("not loaded");
            format!("blksnap {tool}\nmodule  {module}\nkernel  {kernel}\n")
        },
    );
    Ok(exit::OK)
}

pub(crate) fn status(blksnap: &Blksnap, output: &Output) -> Result<u8> {
    let features = match blksnap.features() {
        Ok(features) => features,
        Err(error) if error.kind() == ErrorKind::ModuleMissing => {
            let help = error.help().unwrap_or_default().to_owned();
            output.result(&json!({ "loaded": false, "help": help }), || {
                format!("{}\n  help: {help}\n", error.chain())
            });
            return Ok(exit::UNAVAILABLE);
        }
        Err(error) => return Err(error),
    };
    let module = blksnap.module_version()?;
    let devices = blksnap.attached()?;
    let snapshots = blksnap.snapshots()?;
    let memory: u64 = snapshots.iter().map(|info| info.memory_bytes).sum();
    let document = json!({
        "loaded": true,
        "module": module,
        "abi": features.abi,
        "features": {
            "memory_store": features.memory_store,
            "extents": features.extents,
            "bound": features.bound,
            "writable_images": features.writable_images,
            "shared": features.shared,
            "free": features.free,
            "consumers": features.consumers,
            "policy": features.policy,
            "store_add": features.store_add,
            "store_extents": features.store_extents,
            "members": features.members,
            "prediction": features.prediction,
        },
        "kernel": blksnap.door().kernel_release(),
        "memory_bytes": memory,
        "devices": devices.iter().map(list::value).collect::<Vec<_>>(),
        "snapshots": snapshots.iter().map(snapshot::value).collect::<Vec<_>>(),
    });
    output.result(&document, || {
        format!(
            "module {module} on kernel {}, {} held by snapshots\n\n{}\n{}",
            blksnap.door().kernel_release(),
            size(memory),
            list::text(&devices),
            snapshot::text(&snapshots)
        )
    });
    Ok(exit::OK)
}
