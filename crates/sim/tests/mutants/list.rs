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
const CELLS: &str = "core/src/cbt/cells.rs";
const CONSUMERS: &str = "core/src/cbt/consumers.rs";
const RANKS: &str = "core/src/cbt/ranks.rs";
const STRIPES: &str = "core/src/cow/stripes.rs";
const SAVED: &str = "core/src/cow/saved.rs";
const ENTRY: &str = "core/src/cow/map/entry.rs";
const GROUP: &str = "core/src/cow/map/group.rs";
const ENGINE: &str = "core/src/cow/engine/mod.rs";
const PLAN: &str = "core/src/cow/engine/plan.rs";
const EVENTS: &str = "core/src/cow/engine/events.rs";
const HELD: &str = "core/src/cow/engine/held.rs";
const COPIES: &str = "core/src/cow/engine/copies.rs";
const SPACE: &str = "core/src/store/space.rs";
const WRITES: &str = "sim/src/world/writes.rs";
const TAKE: &str = "sim/src/world/take.rs";
const CHAIN: &str = "core/src/cow/engine/chain.rs";
const AHEAD: &str = "core/src/cow/engine/ahead.rs";
const IMAGES: &str = "core/src/cow/engine/images.rs";
const OVERLAY: &str = "core/src/cow/map/overlay.rs";
const STORES: &str = "sim/src/world/stores.rs";
const CHAINS: &str = "sim/src/world/chain.rs";
const IMAGE_WRITES: &str = "sim/src/world/image_writes.rs";
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
            "(sector.wrapping_add(sectors).wrapping_sub(1))",
            "sector.wrapping_add(sectors.saturating_sub(2))",
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
            "self.ranks.rank_of(self.number)",
            "self.ranks.rank_of(self.number + 1)",
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
            "self.exact_above = self.exact_above.max(number);",
            "self.exact_above = self.exact_above.max(number);\n to[old] = rank;\n continue;",
        )],
    ),
    mutant(
        "ranks are merged over a consumer's base",
        &[(
            RANKS,
            " || consumers.between(self.numbers[last], number)",
            "",
        )],
    ),
    mutant(
        "a base counts as between when it is the newer number",
        &[(
            CONSUMERS,
            "older <= base && base < newer",
            "older < base && base <= newer",
        )],
    ),
    mutant(
        "a rank is compared without its highest plane",
        &[(
            CELLS,
            "for (bit, plane) in planes.iter().enumerate().rev() {",
            "for (bit, plane) in planes.iter().enumerate().rev().skip(1) {",
        )],
    ),
    mutant(
        "a wider page forgets what it had",
        &[(
            CELLS,
            "to.zip(planes.word(word)).for_each(|(to, from)| *to = *from);",
            "let _ = (to, planes);",
        )],
    ),
    // ---- saved bits, map, store ----
    mutant(
        "a range is covered if one block of a word is",
        &[(SAVED, "& mask == mask", "& mask != 0")],
    ),
    mutant(
        "runs are joined that do not follow in the store",
        &[(ENTRY, "slot + self.len() == next_slot", "slot < next_slot")],
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
        &[(
            PLAN,
            "if let (Some(Place::Copy(copy)), _) = self.top.map.find(held.done, 1) {",
            "if let (Some(Place::Copy(copy)), _) = self.top.map.find(held.done, 1) {\n if copy % 2 == 1 {\n held.done += 1;\n continue;\n }",
        )],
    ),
    mutant(
        "a copy grows while it is being read",
        &[(
            PLAN,
            "(copy.state == State::Planned && free > 0)",
            "(free > 0)",
        )],
    ),
    mutant(
        "a held write is forgotten when its turn is over",
        &[(PLAN, "self.held.starve_last(id)", "self.held.unstarve(id)")],
    ),
    mutant(
        "the pool has no bound",
        &[(
            PLAN,
            "u64::from(self.limits.pool_blocks - self.pool_used);",
            "u64::from(self.limits.pool_blocks) + 1;",
        )],
    ),
    mutant(
        "an image read finds copies that are not read yet",
        &[(ENGINE, "Some(copy) if copy.in_memory() =>", "Some(copy) =>")],
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
        "held writes are not woken by the first copy alone",
        &[(
            EVENTS,
            "self.go_on(saved, id);\n        }\n        self.plan(saved)",
            "let _ = id;\n        }\n        self.plan(saved)",
        )],
    ),
    mutant(
        "the pool gets nothing back",
        &[(EVENTS, "self.pool_used -= blocks;", "")],
    ),
    mutant(
        "what lingers keeps those waiting that need its room",
        &[(EVENTS, " || self.held.most_starved().is_some()", "")],
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
            "if blocks > 0 && (blocks + count > limit || copy.epoch != epoch) {",
            "if false {",
        )],
    ),
    // ---- several snapshots of a device ----
    mutant(
        "a take does not wait for held writes",
        &[(
            CHAIN,
            "self.held.count() == 0 && (self.failed || self.copies.all_read())",
            "true",
        )],
    ),
    mutant(
        "a take does not wait for copies that are being read",
        &[(CHAIN, "(self.failed || self.copies.all_read())", "true")],
    ),
    mutant(
        "a take waits for the engine, and not for parked writes",
        &[(
            CHAINS,
            "shard.parked.is_empty() && shard.engine.quiet()",
            "shard.engine.quiet()",
        )],
    ),
    mutant(
        "an image looks through its own map alone",
        &[(
            ENGINE,
            "None => {}\n            }\n        }",
            "None => break,\n            }\n        }",
        )],
    ),
    mutant(
        "an image looks through the maps from the newest on",
        &[(
            CHAIN,
            "self.below.iter().skip(first).chain(top)",
            "top.into_iter().chain(self.below.iter().skip(first).rev())",
        )],
    ),
    mutant(
        "an image sees what another one was written",
        &[(ENGINE, "if level.id == epoch {", "if level.id >= epoch {")],
    ),
    mutant(
        "a copy in memory is entered for the newest epoch when it is stored",
        &[(
            EVENTS,
            "if let Some(level) = self.level_mut(epoch) {",
            "if let Some(level) = self.level_mut(self.top.id) {",
        )],
    ),
    mutant(
        "a store has copies of several epochs",
        &[(
            COPIES,
            "blocks + count > limit || copy.epoch != epoch",
            "blocks + count > limit",
        )],
    ),
    mutant(
        "a map goes with its snapshot though an older one is alive",
        &[
            (
                CHAIN,
                "let first = self.below.first().filter(|level| !level.live)?.id;",
                "let at = self.below.iter().position(|level| !level.live)?;\n        let first = self.below[at].id;",
            ),
            (
                CHAIN,
                "Some(self.below.remove(0).id)",
                "Some(self.below.remove(at).id)",
            ),
        ],
    ),
    mutant(
        "an epoch goes while its copies are being stored",
        &[(
            CHAIN,
            "self.batches.iter().any(storing)",
            "!self.batches.iter().any(|batch| storing(batch) || true)",
        )],
    ),
    mutant(
        "copies are dropped that an older snapshot needs",
        &[(
            CHAIN,
            "self.copies.drop_before(oldest)",
            "self.copies.drop_before(if oldest < epoch { Epoch(epoch.0 + 1) } else { oldest })",
        )],
    ),
    mutant(
        "dropped copies keep their room in the pool",
        &[(CHAIN, "self.pool_used -= dropped;", "")],
    ),
    mutant(
        "the last end does not let writers go",
        &[(
            CHAIN,
            "self.fail(saved);\n            return true;",
            "return true;",
        )],
    ),
    mutant(
        "an image read without a lock asks its own epoch alone",
        &[(CHAINS, "level.epoch >= epoch", "level.epoch == epoch")],
    ),
    mutant(
        "an image read without a lock forgets what the image has of its own",
        &[(IMAGE, "member.own.untouched(range) && ", "")],
    ),
    mutant(
        "a storage goes with its snapshot",
        &[(
            STORES,
            "store.owner.is_some() || !store.users.is_empty()",
            "store.owner.is_some()",
        )],
    ),
    // ---- copies ahead of writes ----
    mutant(
        "what was copied ahead counts again with each write to it",
        &[(
            SAVED,
            "word.fetch_and(!mask, Ordering::Relaxed)",
            "word.load(Ordering::Relaxed)",
        )],
    ),
    mutant(
        "there is no bound to copying ahead",
        &[(
            AHEAD,
            "let most = most.min(self.ahead.allowance(count));",
            "",
        )],
    ),
    mutant(
        "copies ahead count as needed",
        &[(AHEAD, "self.planned - self.used());", "0);")],
    ),
    mutant(
        "copies ahead take more than the pool has",
        &[(
            AHEAD,
            "(self.limits.pool_blocks / 2).saturating_sub(self.pool_used)",
            "self.limits.pool_blocks",
        )],
    ),
    mutant(
        "copies ahead take in what is saved",
        &[(AHEAD, "saved.clear_run(range.end(), gap)", "gap")],
    ),
    mutant(
        "copies ahead go beyond the device",
        &[(
            AHEAD,
            "(window * WINDOW + to).min(self.blocks)",
            "(window * WINDOW + to)",
        )],
    ),
    mutant(
        "copies ahead take in copies that lie before",
        &[(AHEAD, ".min(near.gap_before())", "")],
    ),
    // ---- what an image has of its own ----
    mutant(
        "zeros replace what was written",
        &[(
            OVERLAY,
            "Some((_, run)) => run,\n                None => {\n                    let run = one_run(at, near.gap().min(range.end() - at)).count;\n                    self.map.insert(&near, 0, run, Place::Zero)?;",
            "Some((_, run)) => {\n                    let run = run.min(range.end() - at);\n                    self.replace(&near, run, Place::Zero)?;\n                    run\n                }\n                None => {\n                    let run = one_run(at, near.gap().min(range.end() - at)).count;\n                    self.map.insert(&near, 0, run, Place::Zero)?;",
        )],
    ),
    mutant(
        "a run is split one block off",
        &[(
            OVERLAY,
            "let rest = part(end, old.end());",
            "let rest = part(end, old.end() - u64::from(old.end() > end + 1));",
        )],
    ),
    mutant(
        "the head of a split run is lost",
        &[(
            OVERLAY,
            "self.set(near, part(old.start(), at));\n",
            "self.set(near, part(at - 1, at));\n",
        )],
    ),
    mutant(
        "a run that cannot be split is lost",
        &[(OVERLAY, ".inspect_err(|_| self.set(near, old))?;", "?;")],
    ),
    mutant(
        "slots of a run do not follow each other",
        &[(
            OVERLAY,
            "Place::Stored(slot + (at - range.start))",
            "Place::Stored(slot)",
        )],
    ),
    mutant(
        "writes to one block of an image do not exclude each other",
        &[(
            IMAGES,
            "self.epoch == epoch && !apart",
            "false && self.epoch == epoch && !apart",
        )],
    ),
    mutant(
        "an image write that waits is not told when its turn comes",
        &[(
            IMAGES,
            "self.granted += u32::from(write.behind == 0);\n            }",
            "}",
        )],
    ),
    mutant(
        "a part of a block is written without the rest",
        &[(
            IMAGE_WRITES,
            "self.begin_read(at, which, (first, length), true, Some(number))?;",
            "let content = vec![data; length];\n self.write_blocks(number, blocks_of(first, length), content);\n self.image_piece_done(number)?;",
        )],
    ),
    mutant(
        "a block is filled from the origin",
        &[(
            IMAGE_WRITES,
            "self.begin_read(at, which, (first, length), true, Some(number))?;",
            "let device = self.snapshots[at].members[which].device;\n let content = self.devices[device].disk[first..first + length].to_vec();\n self.filled(number, first, content, false)?;",
        )],
    ),
    mutant(
        "an image write is entered before it is stored",
        &[(
            IMAGE_WRITES,
            "write.new.push((range, slot));",
            "write.new.push((range, slot));\n let (serial, which) = (write.serial, write.member);\n let at = self.snapshots.iter().position(|one| one.serial == serial).unwrap();\n let member = &self.snapshots[at].members[which];\n let (id, epoch) = (member.chain, member.epoch.unwrap());\n let chain = self.chains.iter_mut().find(|one| one.id == id).unwrap();\n let _ = chain.enter(&member.own, epoch, range, slot);",
        )],
    ),
    // ---- free space ----
    mutant(
        "writes pass over free blocks though another snapshot needs them",
        &[(
            IMAGES,
            "self.top.id == epoch && self.live().eq([epoch]);",
            "self.top.id == epoch;",
        )],
    ),
    mutant(
        "writes pass over blocks that were free for an older snapshot",
        &[(
            IMAGES,
            "self.top.id == epoch && self.live().eq([epoch]);",
            "self.live().next() == Some(epoch);",
        )],
    ),
    // ---- several engines ----
    mutant(
        "an engine is told of a whole write, whatever stripes that is in",
        &[(
            WRITES,
            ".part_of(which, saved, blocks_of(write.start, write.sectors));",
            ".parts(blocks_of(write.start, write.sectors))\n            .fold(blocks_of(write.start, 0), |sum, (_, part)| BlockRange { count: sum.count + part.count, ..sum });\n            let _ = which;",
        )],
    ),
    mutant(
        "a write to several stripes passes when the first part is saved",
        &[(
            WRITES,
            "if chain.saved().covers(range) || wrong {",
            "if chain.saved().covers(range) || write.again || wrong {",
        )],
    ),
    mutant(
        "the first stripe of a write is told again and again",
        &[(
            STRIPES,
            "let start = if start < range.end() { start } else { range.start };",
            "let start = range.start.min(start);",
        )],
    ),
    mutant(
        "a write is told to an engine whose blocks it has not",
        &[(
            STRIPES,
            "let count = if engine == which { part.count } else { 0 };",
            "let count = part.count;\n        let _ = (engine, which);",
        )],
    ),
    mutant(
        "stripes do not end",
        &[(
            STRIPES,
            "count: range.count.min(left),",
            "count: range.count.min(left.saturating_mul(2)),",
        )],
    ),
    mutant(
        "an image asks an engine for the blocks of another one",
        &[(
            CHAINS,
            "(&self.shards[self.stripes.of(block)].engine, part.count)",
            "(&self.shards[self.stripes.of(block)].engine, max.max(part.count))",
        )],
    ),
    mutant(
        "a take waits for one of the engines",
        &[(
            CHAINS,
            "let mut shards = self.shards.iter();\n        shards.all(",
            "let mut shards = self.shards.iter();\n        shards.by_ref().take(1).all(",
        )],
    ),
    mutant(
        "a failure is known to one of the engines",
        &[(
            WORK,
            "if chain.over && !chain.shards[which].engine.failed() {",
            "if chain.over && which == 0 && !chain.shards[which].engine.failed() {",
        )],
    ),
    // ---- what the shell has to do ----
    mutant(
        "a write is marked after it is complete",
        &[
            (
                WRITES,
                "                device.mark_write(write.start, write.sectors);\n",
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
                "            Stage::Late => {\n                device.mark_write(write.start, write.sectors);\n                self.writes.remove(&number);\n                return false;\n            }\n            stage => unreachable!",
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
                "                device.mark_write(write.start, write.sectors);\n",
                "",
            ),
            (
                WRITES,
                "                device.counted += 1;\n",
                "                device.mark_write(write.start, write.sectors);\n                device.counted += 1;\n",
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
            "device.mark_write(write.start, write.sectors);",
            "if !write.again {\n                    device.mark_write(write.start, write.sectors);\n                }",
        )],
    ),
    mutant(
        "a held write is not tested again",
        &[(
            WRITES,
            "if chain.saved().covers(range) ||",
            "if write.again || chain.saved().covers(range) ||",
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
            ".any(|device| self.devices[*device].counted > 0)",
            ".any(|device| false && self.devices[*device].counted > 0)",
        )],
    ),
    mutant(
        "the gates are not opened when a take gives up",
        &[(TAKE, "if self.devices[*device].gate_closed {", "if false {")],
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
            "if self.untouched(read.serial, read.member, read.start, data.len()) {",
            "if true {",
        )],
    ),
    mutant(
        "a range is untouched if one block of a word is",
        &[(
            SAVED,
            "page.word(word) & mask == 0",
            "page.word(word) & mask != mask",
        )],
    ),
    mutant(
        "a page that was given up is untouched",
        &[(SAVED, "None => !self.is_given_up(at),", "None => true,")],
    ),
    mutant(
        "a page that was given up is made anew, with no bit set",
        &[(SAVED, " && !self.is_given_up(page) {", " {")],
    ),
    mutant(
        "what was given up is copied all the same",
        &[(SAVED, "None if self.is_given_up(at) => u64::MAX,\n", "")],
    ),
    mutant(
        "a failed store counts as a good one",
        &[(
            WORK,
            "        if failed {\n            return self.fail(id, which, \"the store fails\");\n        }\n",
            "        let _ = failed;\n",
        )],
    ),
    mutant(
        "a store counts as done when it begins",
        &[
            (
                STORES,
                "self.start(Io::write(place, data",
                "self.store_done(id, which, batch, slot, false)?;\n            self.start(Io::write(place, data",
            ),
            (
                STORES,
                "What::Store(id, which, batch, slot)",
                "What::WriteStore(0, slot >> SLOT_BITS)",
            ),
        ],
    ),
    mutant(
        "pages are freed when their store begins",
        &[(
            WORK,
            "                shard.stores += 1;\n",
            "                shard.stores += 1;\n                let gone: Vec<_> = shard.engine.batch(batch).map(|(copy, _)| copy).collect();\n                for copy in gone {\n                    shard.pages.insert(copy, Vec::new());\n                }\n",
        )],
    ),
    mutant(
        "what is next: a quick look does not see writes to images",
        &[(EVENTS, "!= u32::MAX || self.images.any();", "!= u32::MAX;")],
    ),
    mutant(
        "what is next: a quick look does not see epochs that nobody needs",
        &[(
            EVENTS,
            "if !queued && !self.resume && self.below.is_empty()",
            "if !queued && !self.resume",
        )],
    ),
    mutant(
        "what is next: a quick look does not see writes that may go",
        &[(
            EVENTS,
            "self.copies.heads() & self.held.head() != u32::MAX",
            "self.copies.heads() != u32::MAX",
        )],
    ),
    mutant(
        "of two runs that are joined the wrong one goes",
        &[(
            GROUP,
            "self.entries.remove(second);",
            "self.entries.remove(first);",
        )],
    ),
];
