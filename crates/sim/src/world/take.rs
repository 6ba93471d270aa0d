// SPDX-License-Identifier: GPL-2.0-only
//! Snapshots come and go: create, take with its gates, destroy; and all at once, when their holder crashes.

use blksnap_core::cbt::{History, Marks};
use blksnap_core::cow::Engine;
use blksnap_core::{BLOCK_SECTORS, NoMemory};

use super::chain::{Bits, Chain, ChainId, Level};
use super::changes::Changes;
use super::oracle::Oracle;
use super::writes::{call, violation};
use super::{BLOCK, Check, Device, FRESH, Member, Serial, Snapshot, State, What, World, note};

/// How far the take under way is.
enum Stage {
    /// Room is made for history and copies; so many devices are ready.
    Prepare(usize),
    /// So many gates are closed.
    Close(usize),
    /// All gates are closed; the writes that passed have to end, and so have those that are held.
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
            disk: vec![FRESH; sectors],
            gate_closed: false,
            counted: 0,
            waiting: Vec::new(),
            own: Vec::new(),
            consumers: Vec::new(),
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
    pub(super) fn create(&mut self, which: usize) {
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
        let serial = self.number() as Serial;
        note!(self, "snapshot {serial} of devices {devices:?} is created");
        let store = self.new_store(serial);
        self.snapshots.push(Snapshot {
            serial,
            state: State::Created,
            members: Vec::new(),
            store,
        });
        self.take = Some(Take {
            serial,
            devices,
            stage: Stage::Prepare(0),
        });
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
                if !self.prepare(devices[at]) || self.join_chain(serial, devices[at]).is_err() {
                    note!(self, "the take of snapshot {serial} has no memory");
                    self.give_up(serial, &devices);
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
                    .any(|device| self.devices[*device].counted > 0)
                    || !self.quiet(serial) =>
            {
                Stage::Drain
            }
            Stage::Drain => Stage::Switch,
            Stage::Switch if self.chains_failed(serial) => {
                self.give_up(serial, &devices);
                return Ok(());
            }
            Stage::Switch => {
                self.check_drained(serial, &devices)?;
                self.switch(serial)?;
                for device in &devices {
                    self.compare_changes(*device, self.devices[*device].changes.last())?;
                }
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
            self.give_up(take.serial, &take.devices);
        }
    }

    fn give_up(&mut self, serial: Serial, devices: &[usize]) {
        note!(self, "the take of snapshot {serial} gives up");
        for device in devices {
            if self.devices[*device].gate_closed {
                self.open_gate(*device);
            }
        }
        for id in self.chains_of(serial) {
            if let Some(chain) = self.chain(id) {
                chain.fresh = None;
                let shards = chain.shards.iter_mut();
                shards.for_each(|shard| shard.engine.unprepare());
            }
        }
        // Chains that were to begin with this take.
        self.chains.retain(|chain| !chain.levels.is_empty());
        self.snapshots.retain(|snapshot| snapshot.serial != serial);
        self.disown(serial);
    }

    fn chains_of(&self, serial: Serial) -> Vec<ChainId> {
        let snapshot = self.snapshots.iter().find(|one| one.serial == serial);
        let members = snapshot.map_or(&[][..], |snapshot| &snapshot.members);
        members.iter().map(|member| member.chain).collect()
    }

    /// Whether nothing of the chains that the snapshot joins is parked, held or being copied. With the gate closed this stays so.
    fn quiet(&self, serial: Serial) -> bool {
        let chains = self.chains_of(serial);
        let joined = |chain: &&Chain| chains.contains(&chain.id);
        self.chains.iter().filter(joined).all(Chain::quiet)
    }

    fn chains_failed(&self, serial: Serial) -> bool {
        let alive = |chain: &Chain| !chain.over;
        self.chains_of(serial).iter().any(|id| {
            !self
                .chains
                .iter()
                .any(|chain| chain.id == *id && alive(chain))
        })
    }

    /// Prepares the chain of a device for the take of a snapshot; a new one, if there is none.
    fn join_chain(&mut self, serial: Serial, device: usize) -> Result<(), NoMemory> {
        let blocks = (self.devices[device].disk.len() as u64).div_ceil(BLOCK_SECTORS);
        let stripes = self.config.stripes();
        let at = match self.current(device) {
            Some(at) => at,
            None => {
                let id = self.number() as ChainId;
                let limits = self.config.limits_of_one();
                let engines = call(&mut self.no_memory, || {
                    let engines = (0..stripes.engines()).map(|_| Engine::new(blocks, limits, || 0));
                    engines.collect::<Result<_, _>>()
                })?;
                self.chains.push(Chain::new(id, device, stripes, engines));
                self.chains.len() - 1
            }
        };
        let chain = &mut self.chains[at];
        let (fresh, own) = call(&mut self.no_memory, || {
            let mut shards = chain.shards.iter_mut();
            shards.try_for_each(|shard| shard.engine.prepare())?;
            Ok((Bits::striped(blocks, stripes)?, Bits::own(blocks)?))
        })?;
        chain.fresh = Some(fresh);
        let (chain, oracle) = (chain.id, Oracle::default());
        if let Some(snapshot) = self.snapshot(serial) {
            snapshot.members.push(Member {
                device,
                chain,
                epoch: None,
                lost: false,
                own,
                oracle,
            });
        }
        Ok(())
    }

    /// Whether the device's history is ready for a take.
    pub(super) fn prepare(&mut self, device: usize) -> bool {
        let device = &mut self.devices[device];
        let mut id = [1; 16];
        id[..8].copy_from_slice(&device.history.number().to_le_bytes());
        let memory = self.no_memory.take();
        let ready =
            crate::alloc::failing(memory, || device.history.prepare(&device.marks, id)).is_ok();
        let anew = device.history.upstream().generation == id;
        let counts = device.changes.prepared(anew);
        ready && counts
    }

    /// What has to be at the instant of a take: nothing writes to its devices, and nothing is read there for a copy of an earlier epoch.
    fn check_drained(&self, serial: Serial, devices: &[usize]) -> Check {
        let chains = self.chains_of(serial);
        let busy = self.ios.iter().any(|io| match io.what {
            What::Write(number) => {
                let write = self.writes.get(&number);
                write.is_some_and(|write| devices.contains(&write.device))
            }
            What::Copy(id, ..) => chains.contains(&id),
            _ => false,
        });
        violation(!busy, || {
            format!(
                "P1: a write or a copy is under way at the instant of the take of snapshot {serial}"
            )
        })
    }

    /// The instant of the take: no write to any of the devices is in flight.
    fn switch(&mut self, serial: Serial) -> Check {
        let Self {
            devices,
            chains,
            snapshots,
            ..
        } = self;
        let snapshot = snapshots.iter_mut().find(|one| one.serial == serial);
        let snapshot = snapshot.ok_or("a take without a snapshot")?;
        for member in &mut snapshot.members {
            let device = &mut devices[member.device];
            device.switch();
            let chain = chains.iter_mut().find(|chain| chain.id == member.chain);
            let chain = chain.ok_or("a take without a chain")?;
            let mut epochs = Vec::new();
            for shard in &mut chain.shards {
                let (epoch, free) = crate::alloc::forbidden(|| shard.engine.take());
                violation(free, || "take allocates".into())?;
                epochs.push(epoch.ok_or("a take that was prepared and drained is refused")?);
            }
            let epoch = epochs[0];
            violation(epochs.iter().all(|one| *one == epoch), || {
                format!("the engines of a chain take {epochs:?}")
            })?;
            chain.levels.push(Level {
                epoch,
                saved: chain.fresh.take().ok_or("a take without bits")?,
                slots: Vec::new(),
                users: chain.shards.len(),
            });
            let mut oracle = Oracle::new(device.disk.clone());
            let alone = chain.levels.len() == 1;
            let free = if alone { &device.own[..] } else { &[] };
            chain
                .tally
                .new_epoch(device.disk.len().div_ceil(BLOCK), free);
            // What lies in the ranges of a storage is nobody's, before anything is stored there.
            for range in &device.own {
                let freed = chain.free(&member.own, epoch, *range);
                freed.map_err(|_| "no memory where there is some")?;
                (range.start..range.end()).for_each(|block| {
                    oracle.freed(block as usize);
                });
            }
            (member.oracle, member.epoch) = (oracle, Some(epoch));
        }
        snapshot.state = State::Taken;
        note!(self, "snapshot {serial} is taken");
        Ok(())
    }

    /// Destroys a snapshot that is not being taken.
    pub(super) fn destroy_some(&mut self, which: usize) -> Check {
        let taking = self.take.as_ref().map(|take| take.serial);
        let of = self.snapshots.len().max(1);
        // Those that are lost go first, mostly.
        let lost = |snapshot: &Snapshot| snapshot.members.iter().any(|member| member.lost);
        let lost = self.snapshots.iter().find(|snapshot| lost(snapshot));
        let lost = lost.filter(|_| !(which / 16).is_multiple_of(4));
        let snapshot = lost.or(self.snapshots.get(which % of));
        let Some(snapshot) = snapshot.filter(|snapshot| Some(snapshot.serial) != taking) else {
            return Ok(());
        };
        let serial = snapshot.serial;
        self.destroy(serial)
    }

    /// Whoever holds the snapshots is gone: a take before its instant gives up, one behind it lets the writes go, and all snapshots
    /// end, the oldest first or last.
    pub(super) fn crash(&mut self, which: usize) -> Check {
        note!(self, "the holder of the snapshots crashes");
        self.take_timeout();
        while self.take.is_some() {
            self.take_step()?;
        }
        while let Some(last) = self.snapshots.len().checked_sub(1) {
            let at = if which.is_multiple_of(2) { 0 } else { last };
            let serial = self.snapshots[at].serial;
            self.destroy(serial)?;
        }
        Ok(())
    }

    fn destroy(&mut self, serial: Serial) -> Check {
        let Some(snapshot) = self.snapshots.iter().find(|one| one.serial == serial) else {
            return Ok(());
        };
        note!(self, "snapshot {serial} is destroyed");
        let members = snapshot.members.iter();
        let ends: Vec<_> = members
            .map(|one| (one.chain, one.epoch, one.lost))
            .collect();
        for (which, (id, epoch, lost)) in ends.into_iter().enumerate() {
            self.end_image_io(serial, which);
            let (Some(epoch), Some(chain)) = (epoch, self.chain(id)) else {
                continue;
            };
            if lost || chain.over {
                continue;
            }
            let Chain { shards, levels, .. } = chain;
            let saved = &levels.last().ok_or("a chain without a take")?.saved;
            let mut over = Vec::new();
            for shard in shards {
                let (last, free) = crate::alloc::forbidden(|| shard.engine.end(saved, epoch));
                violation(free, || "end allocates".into())?;
                violation(!last || shard.engine.failed(), || {
                    "the last end lets no writer go".into()
                })?;
                over.push(last);
            }
            chain.ended = true;
            chain.over = over[0];
            violation(over.iter().all(|one| *one == over[0]), || {
                format!("the engines of chain {id} do not agree that it is over")
            })?;
            if chain.over {
                let shards = chain.shards.iter_mut();
                shards.for_each(|shard| shard.waiting.clear());
                note!(self, "chain {id} is over");
            }
        }
        self.snapshots.retain(|snapshot| snapshot.serial != serial);
        self.disown(serial);
        // Stores that waited for room there may have to give up.
        let chains: Vec<ChainId> = self.chains.iter().map(|chain| chain.id).collect();
        for id in chains {
            self.start_stores(id)?;
        }
        self.bury();
        Ok(())
    }
}
