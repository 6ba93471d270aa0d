// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures as OpenMetrics text, for the textfile collector of a node exporter.

use std::fmt::Write;
use std::time::SystemTime;

use blksnap::{Image, SnapshotInfo, State};

use super::sample::Sample;

/// What there is to say without the modules.
pub(super) const NOT_LOADED: &str = "\
# TYPE blksnap_loaded gauge
# HELP blksnap_loaded Whether the kernel modules are loaded.
blksnap_loaded 0
# EOF
";

/// A family of metrics: name, type, help.
type Family = (&'static str, &'static str, &'static str);

/// A family, and its value of a snapshot.
type OfSnapshot = (Family, fn(&SnapshotInfo) -> Option<f64>);

/// A family, and its value of an image.
type OfImage = (Family, fn(&Image) -> f64);

const SNAPSHOTS: [OfSnapshot; 9] = [
    (
        (
            "blksnap_snapshot_taken",
            "gauge",
            "Whether it is taken and its images are good.",
        ),
        |info| Some(f64::from(u8::from(info.state == State::Taken))),
    ),
    (
        ("blksnap_snapshot_failed", "gauge", "Whether it failed."),
        |info| Some(f64::from(u8::from(info.state == State::Failed))),
    ),
    (
        (
            "blksnap_snapshot_taken_timestamp_seconds",
            "gauge",
            "When it was taken.",
        ),
        |info| {
            let since = info.taken?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64())
        },
    ),
    (
        (
            "blksnap_snapshot_gate_seconds",
            "gauge",
            "How long the take held writes.",
        ),
        |info| Some(info.gate.as_secs_f64()),
    ),
    (
        (
            "blksnap_snapshot_store_used_bytes",
            "gauge",
            "Difference storage in use.",
        ),
        |info| Some(info.store_used as f64),
    ),
    (
        (
            "blksnap_snapshot_store_capacity_bytes",
            "gauge",
            "Difference storage there is now.",
        ),
        |info| Some(info.store_capacity as f64),
    ),
    (
        (
            "blksnap_snapshot_store_limit_bytes",
            "gauge",
            "What it may grow to; 0 is no limit.",
        ),
        |info| Some(info.store_limit as f64),
    ),
    (
        (
            "blksnap_snapshot_store_full_in_seconds",
            "gauge",
            "When it will be full, as it fills now.",
        ),
        |info| info.full_in.map(|full_in| full_in.as_secs_f64()),
    ),
    (
        (
            "blksnap_snapshot_memory_bytes",
            "gauge",
            "Kernel memory it holds.",
        ),
        |info| Some(info.memory_bytes as f64),
    ),
];

const IMAGES: [OfImage; 16] = [
    (
        (
            "blksnap_image_copies",
            "counter",
            "Reads of the original for copies.",
        ),
        |i| i.copy_reads as f64,
    ),
    (
        ("blksnap_image_copied_bytes", "counter", "Bytes they read."),
        |i| i.copy_read_bytes as f64,
    ),
    (
        (
            "blksnap_image_stores",
            "counter",
            "Writes to the difference storage.",
        ),
        |i| i.stores as f64,
    ),
    (
        ("blksnap_image_stored_bytes", "counter", "Bytes they wrote."),
        |i| i.store_bytes as f64,
    ),
    (
        (
            "blksnap_image_held_writes",
            "counter",
            "Writes to the device that were held for a copy.",
        ),
        |i| i.held as f64,
    ),
    (
        ("blksnap_image_reads", "counter", "Reads of the image."),
        |i| i.image_reads as f64,
    ),
    (
        ("blksnap_image_writes", "counter", "Writes to the image."),
        |i| i.image_writes as f64,
    ),
    (
        ("blksnap_image_saved_blocks", "gauge", "Blocks saved."),
        |i| i.saved_blocks as f64,
    ),
    (
        (
            "blksnap_image_extra_blocks",
            "counter",
            "Blocks copied as neighbours of written ones.",
        ),
        |i| i.spec_blocks as f64,
    ),
    (
        (
            "blksnap_image_free_bytes",
            "gauge",
            "Bytes free at the take, which are not saved.",
        ),
        |i| i.free_bytes as f64,
    ),
    (
        (
            "blksnap_image_pool_bytes",
            "gauge",
            "Copies in memory, not stored yet.",
        ),
        |i| i.pool_bytes as f64,
    ),
    (
        (
            "blksnap_image_pool_limit_bytes",
            "gauge",
            "The bound of these.",
        ),
        |i| i.pool_limit as f64,
    ),
    (
        (
            "blksnap_image_pool_waits",
            "counter",
            "Writes that were held at that bound.",
        ),
        |i| i.pool_waits as f64,
    ),
    (
        (
            "blksnap_image_pool_wait_seconds",
            "counter",
            "For how long they were, all together.",
        ),
        |i| i.pool_wait.as_secs_f64(),
    ),
    (
        (
            "blksnap_image_pool_wait_longest_seconds",
            "gauge",
            "For how long the one that was held longest was.",
        ),
        |i| i.pool_wait_longest.as_secs_f64(),
    ),
    (
        (
            "blksnap_image_memory_bytes",
            "gauge",
            "Kernel memory it holds.",
        ),
        |i| i.memory_bytes as f64,
    ),
];

/// All figures.
pub(super) fn text(sample: &Sample) -> String {
    let mut text = Text::default();
    text.family((
        "blksnap_loaded",
        "gauge",
        "Whether the kernel modules are loaded.",
    ));
    text.value("blksnap_loaded", &[], 1.0);
    text.family(("blksnap", "info", "Versions."));
    let versions = [("module", &*sample.module), ("kernel", &*sample.kernel)];
    text.value("blksnap_info", &versions, 1.0);
    devices(&mut text, sample);
    for (family, of) in SNAPSHOTS {
        text.family(family);
        for held in &sample.snapshots {
            let id = held.info.id.to_string();
            if let Some(value) = of(&held.info) {
                text.value(family.0, &[("snapshot", &id)], value);
            }
        }
    }
    for (family, of) in IMAGES {
        text.family(family);
        for held in &sample.snapshots {
            let id = held.info.id.to_string();
            for (member, image) in &held.members {
                let device = member.shown().display().to_string();
                let labels = [("snapshot", &*id), ("device", &*device)];
                if let Some(image) = image {
                    text.value(&sample_name(family), &labels, of(image));
                }
            }
        }
    }
    text.0 + "# EOF\n"
}

fn devices(text: &mut Text, sample: &Sample) {
    let mut all = |family: Family, of: &dyn Fn(usize) -> Option<f64>| {
        text.family(family);
        for (at, (device, _)) in sample.devices.iter().enumerate() {
            let number = device.number.to_string();
            let path = device.path.as_ref().map(|path| path.display().to_string());
            let name = path.unwrap_or_else(|| number.clone());
            if let Some(value) = of(at) {
                text.value(family.0, &[("device", &name)], value);
            }
        }
    };
    let device = |at: usize| &sample.devices[at].0;
    all(
        (
            "blksnap_device_size_bytes",
            "gauge",
            "Size of an attached device.",
        ),
        &|at| Some(device(at).size_bytes as f64),
    );
    all(
        (
            "blksnap_device_takes",
            "gauge",
            "Takes in its generation of change tracking.",
        ),
        &|at| Some(device(at).change_id.number as f64),
    );
    all(
        ("blksnap_device_snapshots", "gauge", "Snapshots it is in."),
        &|at| Some(f64::from(device(at).snapshots)),
    );
    all(
        (
            "blksnap_device_tracking_memory_bytes",
            "gauge",
            "Kernel memory of its tracking.",
        ),
        &|at| Some(sample.devices[at].1.as_ref()?.memory_bytes as f64),
    );
}

/// A counter's sample has a name of its own.
fn sample_name((name, kind, _): Family) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        _ => name.to_owned(),
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, (name, kind, help): Family) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escape = |text: &str| {
            text.replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n")
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
