// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can happen to a snapshot while it is held.

use std::time::Duration;

use blksnap_uapi::Abi;
use blksnap_uapi::control::{
    BLKSNAP_EVENT_CODE_CORRUPTED, BLKSNAP_EVENT_CODE_NO_SPACE, EventCorrupted, EventNoSpace,
    SnapshotEvent,
};

use blksnap_uapi::extended::{BLKSNAP_EVENT_CODE_LOW_SPACE, BLKSNAP_FULL_NEVER, EventLowSpace};

use crate::door::DeviceNumber;

/// Something that happened to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It failed, noticed on this device.
    Corrupted {
        /// The device.
        device: DeviceNumber,
        /// The negative errno.
        error: i32,
    },
    /// The difference storage is full.
    NoSpace {
        /// How much was wanted.
        requested_sectors: u64,
    },
    /// The difference storage will soon be full.
    LowSpace {
        /// Bytes in use.
        used: u64,
        /// Bytes it may grow to.
        limit: u64,
        /// When it will be full, as it fills now; `None` when no end is in sight.
        full_in: Option<Duration>,
    },
    /// A code this library does not know.
    Other(u32),
}

impl Event {
    pub(crate) fn new(event: &SnapshotEvent) -> Self {
        match event.code {
            BLKSNAP_EVENT_CODE_CORRUPTED => {
                let data = EventCorrupted::read_from(&event.data);
                let device = DeviceNumber {
                    major: data.dev_id_mj,
                    minor: data.dev_id_mn,
                };
                Self::Corrupted {
                    device,
                    error: data.err_code,
                }
            }
            BLKSNAP_EVENT_CODE_NO_SPACE => Self::NoSpace {
                requested_sectors: EventNoSpace::read_from(&event.data).requested_nr_sect,
            },
            BLKSNAP_EVENT_CODE_LOW_SPACE => {
                let data = EventLowSpace::read_from(&event.data);
                Self::LowSpace {
                    used: data.used,
                    limit: data.limit,
                    full_in: (data.full_in_ms != BLKSNAP_FULL_NEVER)
                        .then(|| Duration::from_millis(data.full_in_ms)),
                }
            }
            code => Self::Other(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let mut event = SnapshotEvent {
            code: BLKSNAP_EVENT_CODE_CORRUPTED,
            ..SnapshotEvent::ZERO
        };
        let data = EventCorrupted {
            dev_id_mj: 8,
            dev_id_mn: 17,
            err_code: -5,
        };
        data.write_to(&mut event.data);
        let device = DeviceNumber {
            major: 8,
            minor: 17,
        };
        assert_eq!(Event::new(&event), Event::Corrupted { device, error: -5 });
        event.code = BLKSNAP_EVENT_CODE_NO_SPACE;
        EventNoSpace {
            requested_nr_sect: 2048,
        }
        .write_to(&mut event.data);
        assert_eq!(
            Event::new(&event),
            Event::NoSpace {
                requested_sectors: 2048
            }
        );
        event.code = BLKSNAP_EVENT_CODE_LOW_SPACE;
        let mut data = EventLowSpace {
            used: 7,
            limit: 8,
            full_in_ms: 1500,
        };
        data.write_to(&mut event.data);
        let low = |full_in| Event::LowSpace {
            used: 7,
            limit: 8,
            full_in,
        };
        assert_eq!(Event::new(&event), low(Some(Duration::from_millis(1500))));
        data.full_in_ms = BLKSNAP_FULL_NEVER;
        data.write_to(&mut event.data);
        assert_eq!(Event::new(&event), low(None));
        event.code = 77;
        assert_eq!(Event::new(&event), Event::Other(77));
    }
}
