// SPDX-License-Identifier: MIT OR Apache-2.0
//! Space that a file system did not use at the take is neither saved nor backed up.
//!
//! # A chain still reads as the image
//!
//! The image reads zeros where the file system used nothing. Let `then` be what was left out of the
//! parent, `now` what is left out of this backup, both in whole clusters. This backup holds
//! - of what changed, or was left out then: all that is not left out now, as the image has it;
//! - zeros where something is left out now that was not then;
//! - nothing for the rest: left out both times, the chain has zeros there already.

use blksnap::{BlockDevice, ErrorKind, Extent, Mounted, Result, Snapshot};

use crate::extents::{subtract, union, widen};
use crate::observe::Observer;

/// More ranges than these are not worth their room in a manifest: the largest are taken.
const MOST_RANGES: usize = 32768;

/// What is left out of a device's image.
#[derive(Clone, Debug, Default)]
pub struct Unused {
    /// Ascending, in whole units.
    pub extents: Vec<Extent>,
    /// Why nothing is.
    pub reason: Option<String>,
}

impl Unused {
    /// All of it is saved, for this reason.
    #[must_use]
    pub fn nothing(reason: &str) -> Self {
        Self {
            extents: Vec::new(),
            reason: Some(reason.to_owned()),
        }
    }

    /// Bytes left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }
}

/// Asks the file system on the image, and tells the module.
pub(crate) fn leave_out(
    snapshot: &Snapshot,
    device: &BlockDevice,
    before: Option<&Mounted>,
    unit: u64,
    observer: &dyn Observer,
) -> Result<Unused> {
    let found = snapshot.free_space(device, before, unit);
    let mut extents = match found {
        Ok(extents) => extents,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            // That nothing is mounted is nothing to hear of each time.
            if before.is_some() {
                observer.note(&error.chain());
            }
            return Ok(Unused::nothing(&error.chain()));
        }
        Err(error) => return Err(error),
    };
    keep_largest(&mut extents, MOST_RANGES);
    let bytes = snapshot.hand_in_free(device, &extents)?;
    let (size, unit) = match bytes {
        0..0x10_0000 => (bytes >> 10, "KiB"),
        _ => (bytes >> 20, "MiB"),
    };
    observer.note(&format!(
        "{}: {size} {unit} that its {} did not use are left out",
        device.path().display(),
        before.map_or("file system", Mounted::kind)
    ));
    Ok(Unused {
        extents,
        reason: None,
    })
}

fn keep_largest(extents: &mut Vec<Extent>, most: usize) {
    if extents.len() <= most {
        return;
    }
    extents.select_nth_unstable_by_key(most, |extent| u64::MAX - extent.length);
    extents.truncate(most);
    extents.sort_unstable_by_key(|extent| extent.offset);
}

/// What a backup reads, and where it holds zeros unread; both ascending, in whole clusters.
pub(crate) struct Share {
    pub(crate) read: Vec<Extent>,
    pub(crate) zeros: Vec<Extent>,
}

impl Share {
    /// Of a full backup.
    pub(crate) fn full(now: &[Extent], size: u64) -> Self {
        let all = Extent {
            offset: 0,
            length: size,
        };
        Self {
            read: subtract(&[all], now),
            zeros: Vec::new(),
        }
    }

    /// Of what follows a parent.
    pub(crate) fn increment(
        changes: &[Extent],
        then: &[Extent],
        now: &[Extent],
        cluster: u64,
        size: u64,
    ) -> Self {
        let used_again = subtract(then, now);
        let read = widen(&union(changes, &used_again), cluster, size);
        Self {
            read: subtract(&read, now),
            zeros: widen(&subtract(now, then), cluster, size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(ranges: &[(u64, u64)]) -> Vec<Extent> {
        ranges
            .iter()
            .map(|&(offset, length)| Extent { offset, length })
            .collect()
    }

    #[test]
    fn the_largest_are_kept_in_order() {
        let mut some = extents(&[(0, 1), (10, 5), (20, 2), (30, 9)]);
        keep_largest(&mut some, 2);
        assert_eq!(some, extents(&[(10, 5), (30, 9)]));
    }

    /// The device as one value a cluster, the chain as what it reads: three backups with all their
    /// free space by chance.
    #[test]
    fn a_chain_reads_as_the_image() {
        const CLUSTERS: u64 = 64;
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let ranges = |set: &[bool]| {
            let one = |(at, _): (usize, &bool)| (at as u64 * 8, 8);
            let found: Vec<_> = set
                .iter()
                .enumerate()
                .filter(|(_, set)| **set)
                .map(one)
                .collect();
            widen(&extents(&found), 8, CLUSTERS * 8)
        };
        for _ in 0..300 {
            let mut device = [0u64; CLUSTERS as usize];
            let mut chain = device;
            let mut then: Vec<Extent> = Vec::new();
            for turn in 0..4 {
                let mut changed = [false; CLUSTERS as usize];
                for (at, value) in device.iter_mut().enumerate() {
                    if random(4) == 0 {
                        *value = random(1000) + 1;
                        changed[at] = true;
                    }
                }
                let mut unused = [false; CLUSTERS as usize];
                unused
                    .iter_mut()
                    .for_each(|unused| *unused = random(3) == 0);
                let now = ranges(&unused);
                let share = if turn == 0 {
                    Share::full(&now, CLUSTERS * 8)
                } else {
                    Share::increment(&ranges(&changed), &then, &now, 8, CLUSTERS * 8)
                };
                let each = |extents: &[Extent]| -> Vec<usize> {
                    let clusters =
                        |extent: &Extent| extent.offset as usize / 8..extent.end() as usize / 8;
                    extents.iter().flat_map(clusters).collect()
                };
                let mut image = device;
                each(&now).into_iter().for_each(|at| image[at] = 0);
                each(&share.read)
                    .into_iter()
                    .for_each(|at| chain[at] = image[at]);
                each(&share.zeros).into_iter().for_each(|at| chain[at] = 0);
                assert_eq!(chain, image);
                then = now;
            }
        }
    }
}
