// SPDX-License-Identifier: GPL-2.0-only
//! The defects.

/// A change of text: file below `crates/`, what is there, what is put there.
pub(crate) type Edit = (&'static str, &'static str, &'static str);

/// A defect, and how it gets in.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) edits: &'static [Edit],
}

const MARKS: &str = "core/src/cbt/marks.rs";
const HISTORY: &str = "core/src/cbt/history.rs";
const RANKS: &str = "core/src/cbt/ranks.rs";
const SAVED: &str = "core/src/cow/saved.rs";
const ENTRY: &str = "core/src/cow/map/entry.rs";
const ENGINE: &str = "core/src/cow/engine/mod.rs";
const PLAN: &str = "core/src/cow/engine/plan.rs";
const EVENTS: &str = "core/src/cow/engine/events.rs";
const HELD: &str = "core/src/cow/engine/held.rs";
const COPIES: &str = "core/src/cow/engine/copies.rs";
const SPACE: &str = "core/src/store/space.rs";
const WRITES: &str = "sim/src/world/writes.rs";
const TAKE: &str = "sim/src/world/take.rs";
const WORK: &str = "sim/src/world/work.rs";
const IMAGE: &str = "sim/src/world/image.rs";

const fn mutant(name: &'static str, edits: &'static [Edit]) -> Mutant {
    Mutant { name, edits }
}

pub(crate) const MUTANTS: &[Mutant] = &[
    // ---- change tracking ----
    mutant(
        "the last word of a range is not marked",
        &[(
            MARKS,
            "set(map.get(tail), bits(0, last % 64 + 1));",
            "let _ = tail;",
        )],
    ),
    mutant(
        "a range that ends within a tracking block is rounded down",
        &[(
            MARKS,
            "sector.saturating_add(sectors - 1)",
            "sector.saturating_add(sectors - 1).saturating_sub(1)",
        )],
    ),
    mutant(
        "the fold leaves the bits set",
        &[(
            HISTORY,
            "words.for_each(|word| marks.clear_idle(word));",
            "drop(words);",
        )],
    ),
    mutant(
        "the fold takes the number of the next take",
        &[(
            HISTORY,
            ".rank_of(self.number, ",
            ".rank_of(self.number + 1, ",
        )],
    ),
    mutant(
        "readers of changes forget the last take",
        &[(HISTORY, "(cells | marks.idle(word))", "cells")],
    ),
    mutant(
        "a base counts as changed since itself",
        &[(RANKS, "*number <= base", "*number < base")],
    ),
    mutant(
        "merged ranks take the older number",
        &[(
            RANKS,
            "if rank == 1 || rank >= merged {",
            "if rank >= merged {",
        )],
    ),
    // ---- saved bits, map, store ----
    mutant(
        "a range is covered if one block of a word is",
        &[(SAVED, "& mask == mask", "& mask != 0")],
    ),
    mutant(
        "runs are joined that do not follow in the store",
        &[(ENTRY, " && slot + self.len() == next_slot", "")],
    ),
    mutant(
        "slots are handed out twice",
        &[(
            SPACE,
            "self.used += count;",
            "self.used += count.saturating_sub(1);",
        )],
    ),
    mutant(
        "a store with too little room does not grow",
        &[(SPACE, ".max(self.missed)", "")],
    ),
    // ---- engine ----
    mutant(
        "a write is released before its copy is read",
        &[(PLAN, "Kind::Origin if in_memory", "Kind::Origin")],
    ),
    mutant(
        "an image write does not wait for the store",
        &[(PLAN, "Kind::Origin if in_memory", "_ if in_memory")],
    ),
    mutant(
        "a copy grows while it is being read",
        &[(PLAN, "copy.state == State::Planned && free > 0", "free > 0")],
    ),
    mutant(
        "a held write is forgotten when its turn is over",
        &[(
            PLAN,
            "self.held.starve(id);\n                continue;",
            "continue;",
        )],
    ),
    mutant(
        "the pool has no bound",
        &[(
            PLAN,
            "self.limits.pool_blocks - self.pool_used;",
            "self.limits.pool_blocks + 1;",
        )],
    ),
    mutant(
        "an image read finds copies that are not read yet",
        &[
            (ENGINE, "None | Some(Place::Reading(_)) =>", "None =>"),
            (
                ENGINE,
                "Some(Place::Memory(copy)) =>",
                "Some(Place::Memory(copy) | Place::Reading(copy)) =>",
            ),
        ],
    ),
    mutant(
        "the bits of a copy are not set",
        &[(EVENTS, "saved.set(range);", "")],
    ),
    mutant(
        "a batch is thought to lie the other way round",
        &[(
            EVENTS,
            "slot += u64::from(count);",
            "slot += u64::from(count) ^ 1;",
        )],
    ),
    mutant(
        "image writers are not woken",
        &[(
            EVENTS,
            "storers.pop(&mut self.held.slab) {\n self.wake(id);",
            "storers.pop(&mut self.held.slab) {\n let _ = id;",
        )],
    ),
    mutant(
        "the pool gets nothing back",
        &[(EVENTS, "self.pool_used -= blocks;", "")],
    ),
    mutant(
        "failure forgets those it holds",
        &[(EVENTS, "self.held.release_all();", "")],
    ),
    mutant(
        "a batch begins where another is under way",
        &[(
            EVENTS,
            ".position(|batch| batch.blocks == 0)",
            ".position(|_| true)",
        )],
    ),
    mutant(
        "a bad read counts as a good one",
        &[(EVENTS, "if !ok {", "if false {")],
    ),
    mutant(
        "a released write stays among the starved",
        &[(
            HELD,
            "self.unstarve(id);\n        self.released",
            "self.released",
        )],
    ),
    mutant(
        "a batch has no bound",
        &[(
            COPIES,
            "if blocks > 0 && blocks + count > limit {",
            "if false {",
        )],
    ),
    // ---- what the shell has to do ----
    mutant(
        "a write is marked after it is complete",
        &[
            (
                WRITES,
                "                device.mark(write.start, write.sectors);\n",
                "",
            ),
            (
                WRITES,
                "    Passed,\n}",
                "    Passed,\n    /// Complete.\n    Late,\n}",
            ),
            (
                WRITES,
                "            stage => unreachable!",
                "            Stage::Late => {\n                device.mark(write.start, write.sectors);\n                self.writes.remove(&number);\n                return false;\n            }\n            stage => unreachable!",
            ),
            (
                WRITES,
                "if let Some(write) = self.writes.remove(&number) {",
                "if let Some(write) = self.writes.get_mut(&number) {\n            write.stage = Stage::Late;\n            self.runnable.push(number);",
            ),
        ],
    ),
    mutant(
        "a write is marked before it counts as in flight",
        &[
            (
                WRITES,
                "                device.mark(write.start, write.sectors);\n",
                "",
            ),
            (
                WRITES,
                "                device.counted += 1;\n",
                "                device.mark(write.start, write.sectors);\n                device.counted += 1;\n",
            ),
            (
                WRITES,
                "            if let Some(write) = self.writes.get_mut(&number) {\n                write.stage = Stage::Arrived;",
                "            if let Some(write) = self.writes.get_mut(&number) {\n                self.devices[device].counted += 1;\n                write.stage = Stage::Counted;",
            ),
        ],
    ),
    mutant(
        "a held write is not marked again",
        &[(
            WRITES,
            "device.mark(write.start, write.sectors);",
            "if !write.again {\n                    device.mark(write.start, write.sectors);\n                }",
        )],
    ),
    mutant(
        "a held write is not tested again",
        &[(
            WRITES,
            "snapshot.state == State::Taken)",
            "snapshot.state == State::Taken && !write.again)",
        )],
    ),
    mutant(
        "parked writes of a failed snapshot are forgotten",
        &[(
            WRITES,
            "            self.send_on(number);\n            return Ok(true);",
            "            return Ok(true);",
        )],
    ),
    mutant(
        "the gate is looked at before the write is counted",
        &[
            (
                WRITES,
                "            Stage::Arrived => {\n                device.counted += 1;\n                write.stage = Stage::Counted;\n            }\n",
                "",
            ),
            (
                WRITES,
                "            Stage::Counted if device.gate_closed => {\n                device.counted -= 1;\n",
                "            Stage::Arrived if device.gate_closed => {\n",
            ),
            (
                WRITES,
                "            Stage::Counted => write.stage = Stage::Open,\n",
                "            Stage::Arrived => write.stage = Stage::Counted,\n            Stage::Counted => {\n                device.counted += 1;\n                write.stage = Stage::Open;\n            }\n",
            ),
        ],
    ),
    mutant(
        "the epoch is switched before the drain",
        &[(
            TAKE,
            "Stage::Drain if devices.iter()",
            "Stage::Drain if false && devices.iter()",
        )],
    ),
    mutant(
        "the gates are not opened when a take gives up",
        &[(TAKE, "if self.devices[device].gate_closed {", "if false {")],
    ),
    mutant(
        "the snapshot begins when the gates are open",
        &[
            (TAKE, "        snapshot.state = State::Taken;\n", ""),
            (
                TAKE,
                "Stage::Open(at) if at == devices.len() => return Ok(()),",
                "Stage::Open(at) if at == devices.len() => {\n                if let Some(snapshot) = self.snapshot(serial) {\n                    snapshot.state = State::Taken;\n                }\n                return Ok(());\n            }",
            ),
        ],
    ),
    mutant(
        "an image read does not look again",
        &[(
            IMAGE,
            "self.read_piece(number, at, data.len(), Some(data))?;",
            "self.check_read(number, at, data)?;",
        )],
    ),
    mutant(
        "an image read without a lock does not look again",
        &[(
            IMAGE,
            "member.is_some_and(|member| member.saved.untouched(range))",
            "member.is_some() && range.count > 0",
        )],
    ),
    mutant(
        "a range is untouched if one block of a word is",
        &[(
            SAVED,
            "word.load(Ordering::Acquire) & mask == 0",
            "word.load(Ordering::Acquire) & mask != mask",
        )],
    ),
    mutant(
        "a failed store counts as a good one",
        &[(
            WORK,
            "        if failed {\n            return self.fail(serial, \"the store fails\");\n        }\n",
            "        let _ = failed;\n",
        )],
    ),
    mutant(
        "a store counts as done when it begins",
        &[
            (
                WORK,
                "self.start(Io::write(slot",
                "self.store_done(serial, which, batch, slot, false)?;\n            self.start(Io::write(slot",
            ),
            (
                WORK,
                "What::Store(serial, which, batch, slot)",
                "What::WriteStore(0, serial)",
            ),
        ],
    ),
    mutant(
        "pages are freed when their store begins",
        &[(
            WORK,
            "                member.stores += 1;\n",
            "                member.stores += 1;\n                let gone: Vec<_> = member.engine.batch(batch).map(|(copy, _)| copy).collect();\n                for copy in gone {\n                    member.pages.insert(copy, Vec::new());\n                }\n",
        )],
    ),
];
