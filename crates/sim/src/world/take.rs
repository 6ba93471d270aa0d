// SPDX-License-Identifier: GPL-2.0-only
//! Snapshots come and go: create, take with its gates, destroy.

use std::collections::{BTreeMap, VecDeque};

use blksnap_core::cbt::{History, Marks};
use blksnap_core::cow::{Engine, Saved};
use blksnap_core::store::StoreSpace;
use blksnap_core::{BLOCK_SECTORS, NoMemory};

use super::changes::Changes;
use super::oracle::Oracle;
use super::{BLOCK, Check, Device, Member, Serial, Snapshot, State, World, note};

/// How far the take under way is.
enum Stage {
    /// Room is made for the history; so many devices are ready.
    Prepare(usize),
    /// So many gates are closed.
    Close(usize),
    /// All gates are closed; the writes that passed have to end.
    Drain,
    /// No write is in flight, and none begins.
    Switch,
    /// So many gates are open again.
    Open(usize),
}

/// The take under way; there is one at a time.
pub(super) struct Take {
    serial: Serial,
    devices: Vec<usize>,
    stage: Stage,
}

impl Device {
    pub(super) fn new(sectors: usize, shift: u32) -> Self {
        // A device has a history before anything fails: attaching without memory is no more than an error.
        let marks = Marks::new(sectors as u64, shift).expect("memory");
        let history = History::new(&marks, [1; 16], [0; 16]).expect("memory");
        let changes = Changes::new(sectors, 1 << (shift - 9));
        Self {
            disk: vec![0; sectors],
            gate_closed: false,
            counted: 0,
            waiting: Vec::new(),
            marks,
            history,
            changes,
        }
    }
}

impl Device {
    /// The instant of a take.
    pub(super) fn switch(&mut self) {
        self.history.switch(&self.marks);
        self.changes.take(&self.disk);
    }
}

impl World {
    /// Creates a snapshot of the devices whose bits are set in `which`, and begins its take.
    pub(super) fn create(&mut self, which: usize, pool: usize) {
        if self.take.is_some() || self.snapshots.len() >= self.config.snapshots {
            return;
        }
        let chosen: Vec<usize> = (0..self.devices.len())
            .filter(|device| which >> device & 1 == 1)
            .collect();
        let devices = if chosen.is_empty() {
            vec![which % self.devices.len()]
        } else {
            chosen
        };
        let mut limits = self.config.limits;
        limits.pool_blocks = limits.pool_blocks.max(pool as u32 % 3);
        let memory = self.no_memory.take();
        let members = crate::alloc::failing(memory, || -> Result<Vec<Member>, NoMemory> {
            let mut members = Vec::new();
            members.try_reserve(devices.len()).map_err(|_| NoMemory)?;
            for device in &devices {
                let blocks = (self.devices[*device].disk.len() as u64).div_ceil(BLOCK_SECTORS);
                let (engine, saved) = (Engine::new(blocks, limits)?, Saved::new(blocks)?);
                members.push(Member {
                    device: *device,
                    engine,
                    saved,
                    parked: VecDeque::new(),
                    pages: BTreeMap::new(),
                    stores: 0,
                    oracle: Oracle::default(),
                });
            }
            Ok(members)
        });
        let serial = self.number() as Serial;
        note!(
            self,
            "snapshot {serial} of devices {devices:?} is created{}",
            if members.is_ok() { "" } else { ": no memory" }
        );
        if let Ok(members) = members {
            let (capacity, limit) = self.config.store;
            let space = StoreSpace::new(capacity, limit, self.config.portion);
            let store = vec![0; capacity as usize * BLOCK];
            let (state, waiting) = (State::Created, VecDeque::new());
            self.snapshots.push(Snapshot {
                serial,
                state,
                members,
                space,
                store,
                waiting,
            });
            self.take = Some(Take {
                serial,
                devices,
                stage: Stage::Prepare(0),
            });
        }
    }

    /// The take under way goes on by one step.
    pub(super) fn take_step(&mut self) -> Check {
        let Some(Take {
            serial,
            devices,
            stage,
        }) = self.take.take()
        else {
            return Ok(());
        };
        let stage = match stage {
            Stage::Prepare(at) if at == devices.len() => Stage::Close(0),
            Stage::Prepare(at) => {
                if !self.prepare(devices[at]) {
                    note!(self, "the take of snapshot {serial} has no memory");
                    self.snapshots.retain(|snapshot| snapshot.serial != serial);
                    return Ok(());
                }
                Stage::Prepare(at + 1)
            }
            Stage::Close(at) if at == devices.len() => Stage::Drain,
            Stage::Close(at) => {
                self.devices[devices[at]].gate_closed = true;
                note!(self, "the gate of device {} closes", devices[at]);
                Stage::Close(at + 1)
            }
            Stage::Drain
                if devices
                    .iter()
                    .any(|device| self.devices[*device].counted > 0) =>
            {
                Stage::Drain
            }
            Stage::Drain => Stage::Switch,
            Stage::Switch => {
                self.switch(serial, &devices);
                Stage::Open(0)
            }
            Stage::Open(at) if at == devices.len() => return Ok(()),
            Stage::Open(at) => {
                self.open_gate(devices[at]);
                Stage::Open(at + 1)
            }
        };
        self.take = Some(Take {
            serial,
            devices,
            stage,
        });
        Ok(())
    }

    /// The take under way gives up, if it is still before its instant.
    pub(super) fn take_timeout(&mut self) {
        if matches!(&self.take, Some(take) if !matches!(take.stage, Stage::Open(_))) {
            let Some(take) = self.take.take() else { return };
            note!(self, "the take of snapshot {} gives up", take.serial);
            for device in take.devices {
                if self.devices[device].gate_closed {
                    self.open_gate(device);
                }
            }
            self.snapshots
                .retain(|snapshot| snapshot.serial != take.serial);
        }
    }

    /// Whether the device's history is ready for a take.
    pub(super) fn prepare(&mut self, device: usize) -> bool {
        let device = &mut self.devices[device];
        let mut id = [0; 16];
        id[..8].copy_from_slice(&device.history.number().to_le_bytes());
        let memory = self.no_memory.take();
        let ready =
            crate::alloc::failing(memory, || device.history.prepare(&device.marks, id)).is_ok();
        device.changes.prepare(ready);
        ready
    }

    /// The instant of the take: no write to any of the devices is in flight.
    fn switch(&mut self, serial: Serial, devices: &[usize]) {
        for device in devices {
            self.devices[*device].switch();
        }
        note!(self, "snapshot {serial} is taken");
        let Some(snapshot) = self
            .snapshots
            .iter_mut()
            .find(|snapshot| snapshot.serial == serial)
        else {
            return;
        };
        snapshot.state = State::Taken;
        for member in &mut snapshot.members {
            member.oracle = Oracle::new(self.devices[member.device].disk.clone());
        }
    }

    /// Destroys a snapshot that is not being taken.
    pub(super) fn destroy_some(&mut self, which: usize) -> Check {
        let taking = self.take.as_ref().map(|take| take.serial);
        let of = self.snapshots.len().max(1);
        let Some(snapshot) = self
            .snapshots
            .get(which % of)
            .filter(|snapshot| Some(snapshot.serial) != taking)
        else {
            return Ok(());
        };
        let serial = snapshot.serial;
        self.fail(serial, "destroyed")?;
        if let Some(snapshot) = self.snapshot(serial) {
            snapshot.state = State::Destroyed;
        }
        self.bury();
        Ok(())
    }

    /// Forgets destroyed snapshots that hold nothing any more. I/O under way for them finds nobody.
    pub(super) fn bury(&mut self) {
        self.snapshots.retain(|snapshot| {
            let held = |member: &Member| !member.parked.is_empty() || !member.engine.idle();
            snapshot.state != State::Destroyed || snapshot.members.iter().any(held)
        });
    }
}
