// SPDX-License-Identifier: GPL-2.0-only
//! The load: threads that write stamped sectors at random places until told to stop.
//!
//! Each thread owns its own 64 KiB stripes of the range, so that no two writes to a sector are ever in flight at once
//! and the order of the writes to a sector is the order of their sequence numbers.

use std::fs::{self, File, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::journal::{self, Entry};
use crate::sector::{self, SECTOR, Stamp};

/// Sectors of a stripe.
const STRIPE: u64 = 128;
const ALIGN: usize = 4096;
/// So many writes are begun before the time is over, on a machine that is too busy for more, too.
const LEAST: u64 = 16;

/// Writes stamped sectors to a device or file.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// The device or file
    target: PathBuf,
    /// Where to keep the journal; beside it, JOURNAL.writes says meanwhile how many writes were begun
    #[arg(long)]
    journal: PathBuf,
    /// Go around the page cache
    #[arg(long)]
    direct: bool,
    /// Try each write with RWF_NOWAIT first
    #[arg(long)]
    nowait: bool,
    /// Writers at once
    #[arg(long, default_value_t = 4)]
    jobs: u64,
    /// Seconds to go on, and until some writes were begun
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Stop when this file appears
    #[arg(long)]
    stop: Option<PathBuf>,
    /// Only the first bytes of the target (default: all of it)
    #[arg(long)]
    range: Option<u64>,
    /// The smallest unit of a write in bytes
    #[arg(long, default_value_t = 4096)]
    unit: u64,
    /// The longest write in bytes, up to 64 KiB
    #[arg(long, default_value_t = 32768)]
    longest: u64,
    /// Number of the first write [default: the time in nanoseconds, so that later loads have greater numbers]
    #[arg(long)]
    first: Option<u64>,
    /// The random numbers' seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pause after each write, in microseconds
    #[arg(long, default_value_t = 0, overrides_with = "pause")]
    pause: u64,
    /// Writes of each writer, at most
    #[arg(long, default_value_t = u64::MAX)]
    writes: u64,
}

/// Now, on the clock that all processes of the machine share.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A small generator: the same seed, the same load.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

impl Load {
    /// Runs the load and writes its journal.
    pub(crate) fn run(&self) -> Result<()> {
        if self.unit == 0
            || !self.unit.is_multiple_of(512)
            || self.longest > STRIPE * 512
            || self.longest < self.unit
        {
            bail!("--unit is a multiple of 512, --longest at least that and at most 65536");
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if self.direct {
            options.custom_flags(i32::try_from(OFlags::DIRECT.bits())?);
        }
        let file = options
            .open(&self.target)
            .with_context(|| format!("cannot open {}", self.target.display()))?;
        let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
        let stripes = self.range.unwrap_or(size).min(size) / (STRIPE * 512);
        if stripes < self.jobs {
            bail!(
                "{} is too small for {} writers",
                self.target.display(),
                self.jobs
            );
        }
        let first = self.first.unwrap_or_else(now_ns);
        let sequence = AtomicU64::new(first);
        let stop = AtomicBool::new(false);
        let results = thread::scope(|scope| -> Result<Vec<Result<Vec<Entry>>>> {
            let writers: Vec<_> = (0..self.jobs)
                .map(|job| {
                    let (file, sequence, stop) = (&file, &sequence, &stop);
                    scope.spawn(move || self.writer(file, job, stripes, sequence, stop))
                })
                .collect();
            let end = Instant::now() + Duration::from_secs_f64(self.seconds);
            let mut told = Ok(());
            let begun = || sequence.load(Ordering::Relaxed) - first;
            while told.is_ok()
                && (Instant::now() < end || begun() < LEAST)
                && !self.stop.as_ref().is_some_and(|file| file.exists())
                && !writers.iter().all(thread::ScopedJoinHandle::is_finished)
            {
                told = self.tell(begun());
                thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
            told?;
            let joined = writers.into_iter().map(thread::ScopedJoinHandle::join);
            Ok(joined
                .map(|writer| writer.unwrap_or_else(|_| bail!("a writer panicked")))
                .collect())
        })?;
        let mut entries = Vec::new();
        let mut failure = None;
        for result in results {
            match result {
                Ok(list) => entries.extend(list),
                Err(error) => failure = Some(error),
            }
        }
        entries.sort_by_key(|e| e.sequence);
        journal::save(&self.journal, &entries)?;
        if let Some(error) = failure {
            return Err(error);
        }
        let slowest = entries
            .iter()
            .map(|e| e.end_ns - e.begin_ns)
            .max()
            .unwrap_or(0);
        println!(
            "{} writes, {} bytes, last sequence {}, slowest {} us",
            entries.len(),
            entries.iter().map(|e| e.sectors * 512).sum::<u64>(),
            entries
                .last()
                .map_or(first.saturating_sub(1), |e| e.sequence),
            slowest / 1000
        );
        Ok(())
    }

    /// Writes to `JOURNAL.writes` how many writes were begun, for whoever waits for the load to get on.
    fn tell(&self, begun: u64) -> Result<()> {
        let beside = |word: &str| {
            let mut name = self.journal.clone().into_os_string();
            name.push(word);
            name
        };
        let (new, name) = (beside(".writes.new"), beside(".writes"));
        // Named when it is whole: nobody reads an empty file.
        fs::write(&new, begun.to_string())
            .and_then(|()| fs::rename(&new, &name))
            .with_context(|| format!("cannot write {}", name.display()))
    }

    fn writer(
        &self,
        file: &File,
        job: u64,
        stripes: u64,
        sequence: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut random = Random::new(self.seed.wrapping_mul(1000).wrapping_add(job + 1));
        let unit = self.unit / 512;
        // Aligned for O_DIRECT: the buffer is made larger, and begins where the alignment is right.
        let mut memory = vec![0u8; usize::try_from(self.longest)? + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        let mine = (stripes - job).div_ceil(self.jobs);
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) && count < self.writes {
            count += 1;
            let stripe = random.below(mine) * self.jobs + job;
            let sectors = (1 + random.below(self.longest / 512 / unit)) * unit;
            let offset = random.below((STRIPE - sectors) / unit + 1) * unit;
            let first = stripe * STRIPE + offset;
            let number = sequence.fetch_add(1, Ordering::Relaxed);
            let begin_ns = now_ns();
            let length = usize::try_from(sectors * 512)?;
            let buffer = &mut memory[start..start + length];
            for (i, bytes) in buffer.chunks_exact_mut(SECTOR).enumerate() {
                sector::write(
                    bytes,
                    Stamp {
                        sector: first + i as u64,
                        sequence: number,
                        time_ns: begin_ns,
                    },
                );
            }
            let result = self.one(file, buffer, first * 512);
            let end_ns = if result.is_ok() { now_ns() } else { u64::MAX };
            entries.push(Entry {
                sector: first,
                sectors,
                sequence: number,
                begin_ns,
                end_ns,
            });
            result.with_context(|| format!("a write to {} failed", self.target.display()))?;
            if self.pause > 0 {
                thread::sleep(Duration::from_micros(self.pause));
            }
        }
        Ok(entries)
    }

    fn one(&self, file: &File, buffer: &[u8], offset: u64) -> Result<()> {
        if self.nowait {
            match rustix::io::pwritev2(
                file,
                &[IoSlice::new(buffer)],
                offset,
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(done) if done == buffer.len() => return Ok(()),
                // A device that is busy may say so; then the write is made the other way.
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(file.write_all_at(buffer, offset)?)
    }
}
