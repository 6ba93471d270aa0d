// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything there is at one moment.

use std::time::Instant;

use blksnap::{
    Attached, Blksnap, Error, ErrorKind, Features, Image, Member, Result, SnapshotId, SnapshotInfo,
    Tracking,
};
use serde_json::{Value, json};

use crate::commands::list;
use crate::commands::snapshot::show;
use crate::output::size;

/// All attached devices and all snapshots.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) module: String,
    pub(super) kernel: String,
    pub(super) features: Features,
    /// With the memory of its tracking, when it could still be asked.
    pub(super) devices: Vec<(Attached, Option<Tracking>)>,
    pub(super) snapshots: Vec<Held>,
}

/// A snapshot with its devices, and their images where they can be asked.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) info: SnapshotInfo,
    pub(super) members: Vec<(Member, Option<Image>)>,
}

impl Sample {
    pub(super) fn take(blksnap: &Blksnap) -> Result<Self> {
        let features = blksnap.features()?;
        let tracking = |device: &Attached| {
            let device = blksnap.device(device.path.as_ref()?).ok()?;
            device.tracking().ok()?
        };
        let devices = blksnap.attached()?;
        let devices: Vec<_> = devices
            .into_iter()
            .map(|device| {
                let tracking = tracking(&device);
                (device, tracking)
            })
            .collect();
        let mut snapshots = Vec::new();
        for info in blksnap.snapshots()? {
            match members(blksnap, info.id) {
                Ok(members) => snapshots.push(Held { info, members }),
                // It went while we asked.
                Err(error) if error.kind() == ErrorKind::NoSnapshot => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            at: Instant::now(),
            module: blksnap.module_version()?,
            kernel: blksnap.door().kernel_release(),
            features,
            devices,
            snapshots,
        })
    }

    /// Kernel memory of all.
    pub(super) fn memory_bytes(&self) -> u64 {
        let tracking = self
            .devices
            .iter()
            .filter_map(|(_, tracking)| tracking.as_ref());
        let tracking: u64 = tracking.map(|tracking| tracking.memory_bytes).sum();
        let snapshots = self.snapshots.iter().map(|held| held.info.memory_bytes);
        tracking + snapshots.sum::<u64>()
    }

    /// The image of the same device in the same snapshot.
    pub(super) fn image(&self, id: SnapshotId, member: &Member) -> Option<&Image> {
        let held = self.snapshots.iter().find(|held| held.info.id == id)?;
        let same = |(other, _): &&(Member, Option<Image>)| other.number == member.number;
        held.members.iter().find(same)?.1.as_ref()
    }

    pub(super) fn value(&self) -> Value {
        let features = &self.features;
        json!({
            "loaded": true,
            "module": self.module,
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
            "kernel": self.kernel,
            "memory_bytes": self.memory_bytes(),
            "devices": self.devices.iter().map(|(device, _)| list::value(device)).collect::<Vec<_>>(),
            "snapshots": self.snapshots.iter().map(|held| show::whole(&held.info, &held.members)).collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let devices: Vec<_> = self
            .devices
            .iter()
            .map(|(device, _)| device.clone())
            .collect();
        let snapshots: Vec<_> = self.snapshots.iter().map(|held| held.info).collect();
        format!(
            "module {} on kernel {}, {} of its memory held\n\n{}\n{}",
            self.module,
            self.kernel,
            size(self.memory_bytes()),
            list::text(&devices),
            show::text(&snapshots)
        )
    }
}

fn members(blksnap: &Blksnap, id: SnapshotId) -> Result<Vec<(Member, Option<Image>)>, Error> {
    let members = blksnap.snapshot(id)?.members()?;
    Ok(members
        .into_iter()
        .map(|member| {
            let image = show::image(blksnap, id, &member);
            (member, image)
        })
        .collect())
}
