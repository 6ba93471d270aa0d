// SPDX-License-Identifier: GPL-2.0-only
//! Where the instructions of a cell go: a count for each function, exact.
//!
//! The emulator is told, by its monitor, to cut its translation to single instructions and to log each; the log is a pipe that is counted
//! here, by address. fio says when its I/O begins and ends (`exec_prerun`, `exec_postrun`), so that its start is not counted. Addresses become
//! names by the guest's own `/proc/kallsyms`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode};

use crate::sh;

/// Where the profile of a cell is left.
pub(crate) fn file(cell: &str) -> PathBuf {
    sh::target().join(format!("bench/profile-{cell}.txt"))
}

/// Instructions by address.
type Counts = HashMap<u64, u64>;

/// What counts while a guest says so.
#[derive(Debug)]
pub(crate) struct Profiler {
    dir: PathBuf,
    monitor: Option<UnixStream>,
    /// The pipe's writing end, and what was counted up to each `END` in it.
    counter: Option<(File, Receiver<Counts>)>,
    counting: bool,
    /// The counts of the cells so far.
    done: Vec<Counts>,
}

impl Profiler {
    /// For a guest whose folder is `dir`: makes the pipe.
    pub(crate) fn new(dir: PathBuf) -> Result<Self> {
        let pipe = dir.join("trace");
        for name in [&pipe, &dir.join("monitor")] {
            let _ = fs::remove_file(name);
        }
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        Ok(Self {
            dir,
            monitor: None,
            counter: None,
            counting: false,
            done: Vec::new(),
        })
    }

    /// The emulator's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let dir = self.dir.display();
        vec![
            "-monitor".into(),
            format!("unix:{dir}/monitor,server=on,wait=off"),
        ]
    }

    /// The guest's I/O begins, or ends: counts from now on, or no more. Returns when the emulator has heard of it.
    pub(crate) fn mark(&mut self) -> Result<()> {
        if self.counter.is_none() {
            self.connect()?;
        }
        self.counting = !self.counting;
        if self.counting {
            self.tell("one-insn-per-tb on")?;
            return self.tell("log exec,nochain");
        }
        self.tell("log none")?;
        self.tell("one-insn-per-tb off")?;
        let (pipe, counts) = self.counter.as_mut().context("no counter")?;
        pipe.write_all(END)?;
        self.done.push(counts.recv()?);
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let mut monitor = UnixStream::connect(self.dir.join("monitor"))?;
        prompt(&mut monitor)?;
        self.monitor = Some(monitor);
        let path = self.dir.join("trace");
        // Both ends, so that opening it waits for nobody.
        let pipe = File::options().read(true).write(true).open(&path)?;
        let log = BufReader::with_capacity(1 << 20, pipe.try_clone()?);
        let (sender, counts) = mpsc::channel();
        thread::spawn(move || count(log, &sender));
        self.counter = Some((pipe, counts));
        self.tell(&format!("logfile {}", path.display()))
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        let monitor = self.monitor.as_mut().context("no monitor")?;
        writeln!(monitor, "{command}")?;
        prompt(monitor)
    }

    /// The table of the cell with this number: instructions for each of `ios` I/Os, by function.
    pub(crate) fn table(&self, cell: usize, kallsyms: &str, ios: u64) -> Result<String> {
        let counts = self.done.get(cell).context("it was not counted")?;
        ensure!(!counts.is_empty(), "nothing was counted");
        Ok(table(counts, &symbols(kallsyms), ios))
    }
}

/// Reads up to the monitor's prompt.
fn prompt(monitor: &mut UnixStream) -> Result<()> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"(qemu) ") {
        monitor.read_exact(&mut byte)?;
        text.extend(byte);
    }
    Ok(())
}

/// What the pipe says when a cell's I/O has ended.
const END: &[u8] = b"END\n";

/// Counts lines `Trace CPU: HOST [CS/PC/FLAGS/…] NAME` up to each `END`, as long as there are any and somebody wants to know.
fn count(mut log: impl BufRead, counts: &Sender<Counts>) {
    let mut now = Counts::new();
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if line == END {
            if counts.send(std::mem::take(&mut now)).is_err() {
                return;
            }
        } else if let Some(address) = address(&line) {
            *now.entry(address).or_default() += 1;
        }
        line.clear();
    }
}

fn address(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("Trace ")?;
    let word = text.split_once('[')?.1.split('/').nth(1)?;
    u64::from_str_radix(word, 16).ok()
}

/// Names of functions by their first address, with the module in brackets.
fn symbols(kallsyms: &str) -> BTreeMap<u64, String> {
    kallsyms
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let start = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = rustc_demangle::demangle(words.next()?);
            let module = words.next().unwrap_or_default();
            "tTwW"
                .contains(kind)
                .then(|| (start, format!("{name:#} {module}").trim_end().to_owned()))
        })
        .collect()
}

/// Instructions and calls of a function or a module.
#[derive(Debug, Default)]
struct Share {
    instructions: u64,
    calls: u64,
}

fn table(counts: &Counts, symbols: &BTreeMap<u64, String>, ios: u64) -> String {
    let mut places: BTreeMap<&str, Share> = BTreeMap::new();
    let mut modules: BTreeMap<&str, Share> = BTreeMap::new();
    for (&address, &count) in counts {
        let function = symbols.range(..=address).next_back();
        let (place, module, first) = match function {
            Some((first, name)) if address >> 63 == 1 => {
                let module = name
                    .rsplit_once(" [")
                    .map_or("kernel", |(_, m)| m.trim_end_matches(']'));
                (name.as_str(), module, *first == address)
            }
            _ => ("fio itself", "user space", false),
        };
        let calls = if first { count } else { 0 };
        for share in [
            places.entry(place).or_default(),
            modules.entry(module).or_default(),
        ] {
            share.instructions += count;
            share.calls += calls;
        }
    }
    let total: u64 = counts.values().sum();
    let each = |count: u64| count as f64 / ios as f64;
    let mut text = format!(
        "{ios} I/Os, {:.0} instructions each\n\ninstructions, part, calls\n",
        each(total)
    );
    for list in [modules, places] {
        let mut list: Vec<_> = list.into_iter().collect();
        list.sort_by_key(|(name, share)| (Reverse(share.instructions), *name));
        for (name, share) in list {
            let part = share.instructions as f64 * 100.0 / total as f64;
            let _ = writeln!(
                text,
                "{:9.1}  {part:5.1} %  {:8.2}  {name}",
                each(share.instructions),
                each(share.calls)
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_counted_by_function() {
        let log = "Trace 0: 0x7f10 [0000000000000000/ffffffff81000010/00000014/ff000000] a\n\
                   Trace 0: 0x7f11 [0000000000000000/ffffffff81000014/00000014/ff000000] a\n\
                   Trace 0: 0x7f12 [0000000000000000/ffffffffc0000100/00000014/ff000000] b\n\
                   Trace 0: 0x7f13 [0000000000000000/0000000000401000/00000014/ff000000]\n\
                   something else\nEND\n";
        let (sender, counts) = mpsc::channel();
        count(log.as_bytes(), &sender);
        let counts = counts.recv().unwrap();
        let symbols = symbols(
            "ffffffff81000000 T submit\nffffffff81000012 d data\nffffffffc0000100 t hook\t[blkfilter]\n",
        );
        let text = table(&counts, &symbols, 1);
        assert!(text.contains("4 instructions each"), "{text}");
        assert!(text.contains("2.0   50.0 %      0.00  submit\n"), "{text}");
        assert!(
            text.contains("1.0   25.0 %      1.00  hook [blkfilter]\n"),
            "{text}"
        );
        assert!(
            text.contains("1.0   25.0 %      1.00  blkfilter\n"),
            "{text}"
        );
        assert!(
            text.contains("1.0   25.0 %      0.00  fio itself\n"),
            "{text}"
        );
    }
}
