// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live screen: on a terminal it is drawn anew in place, into a pipe one after the other.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use blksnap::{Image, SnapshotInfo};
use rustix::termios::tcgetwinsize;

use super::sample::{Held, Sample};
use crate::commands::snapshot::show::full_in;
use crate::output::{Output, size, table, time};

/// Another screen, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Where it is drawn. Leaves the terminal as it was.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(super) fn new(output: &Output) -> Self {
        let terminal = stdout().is_terminal() && !output.is_json();
        if terminal {
            let _ = write(ENTER);
        }
        Self { terminal }
    }

    /// Says whether anybody looks.
    pub(super) fn show(&mut self, now: &Sample, before: Option<&Sample>, output: &Output) -> bool {
        if !self.terminal {
            return output.line(&now.value(), || draw(now, before) + "\n");
        }
        let text = draw(now, before);
        let window = tcgetwinsize(stdout())
            .ok()
            .filter(|window| window.ws_col > 0);
        let (rows, columns) = window.map_or((24, 80), |window| (window.ws_row, window.ws_col));
        // Home; each line as far as it fits, and the rest of it cleared; then what is below.
        let mut screen = "\x1b[H".to_owned();
        for line in text.lines().take(usize::from(rows).saturating_sub(1)) {
            screen.extend(line.chars().take(usize::from(columns)));
            screen += "\x1b[K\r\n";
        }
        write(&(screen + "\x1b[J"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write(LEAVE);
        }
    }
}

/// A terminal that went away is no error.
fn write(text: &str) -> bool {
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

fn draw(now: &Sample, before: Option<&Sample>) -> String {
    let mut text = format!(
        "blksnap {} on {}   {}   memory {}\n\n",
        now.module,
        now.kernel,
        humantime::format_rfc3339_seconds(std::time::SystemTime::now()),
        size(now.memory_bytes())
    );
    text += &devices(now);
    for held in &now.snapshots {
        text += "\n";
        text += &snapshot(held, now, before);
    }
    if now.snapshots.is_empty() {
        text += "\nthere is no snapshot\n";
    }
    text
}

fn devices(now: &Sample) -> String {
    if now.devices.is_empty() {
        return "no device is attached\n".to_owned();
    }
    let row = |(device, tracking): &(blksnap::Attached, Option<blksnap::Tracking>)| {
        let path = device.path.as_ref();
        let memory = tracking.as_ref().map(|tracking| tracking.memory_bytes);
        vec![
            path.map_or_else(
                || device.number.to_string(),
                |path| path.display().to_string(),
            ),
            size(device.size_bytes),
            device.change_id.number.to_string(),
            device.snapshots.to_string(),
            memory.map_or_else(|| "-".to_owned(), size),
        ]
    };
    let rows: Vec<_> = now.devices.iter().map(row).collect();
    table(
        &["DEVICE", ">SIZE", ">TAKES", ">SNAPSHOTS", ">MEMORY"],
        &rows,
    )
}

fn snapshot(held: &Held, now: &Sample, before: Option<&Sample>) -> String {
    let info = &held.info;
    let mut text = format!(
        "snapshot {}  {}{}\n",
        info.id,
        info.state.as_str(),
        info.failure()
            .map_or_else(String::new, |failure| format!(": {}", failure.chain()))
    );
    text += &format!("  store {}  {}\n", bar(info), full_in(info));
    let elapsed = before.map(|before| now.at.duration_since(before.at));
    let rows: Vec<_> = held
        .members
        .iter()
        .map(|(member, image)| {
            let then = before.and_then(|before| before.image(info.id, member));
            let device = member.shown().display().to_string();
            let Some(image) = image else {
                return vec![device, "-".to_owned()];
            };
            let rate = |of: fn(&Image) -> u64| rate(of(image), then.map(of), elapsed);
            let bytes =
                |of| rate(of).map_or_else(|| "-".to_owned(), |rate| format!("{}/s", size(rate)));
            let count = |of| rate(of).map_or_else(|| "-".to_owned(), |rate| format!("{rate}/s"));
            vec![
                device,
                image.path.display().to_string(),
                size(image.saved_blocks * 4096),
                bytes(|image| image.copy_read_bytes),
                bytes(|image| image.store_bytes),
                count(|image| image.held),
                count(|image| image.image_reads),
                format!("{} of {}", size(image.pool_bytes), size(image.pool_limit)),
                waited(image),
            ]
        })
        .collect();
    let titles = [
        "DEVICE",
        "IMAGE",
        ">SAVED",
        ">COPIED",
        ">STORED",
        ">HELD",
        ">IMAGE READS",
        ">NOT STORED YET",
        ">WAITED AT THAT BOUND",
    ];
    for line in table(&titles, &rows).lines() {
        text += &format!("  {line}\n");
    }
    text
}

/// How many writes waited for room in the memory for copies, and for how long all together.
fn waited(image: &Image) -> String {
    match image.pool_waits {
        0 => "-".to_owned(),
        writes => format!("{writes} for {}", time(image.pool_wait)),
    }
}

/// `[#####…………] 24 %  1.2 GiB of 5 GiB`
fn bar(info: &SnapshotInfo) -> String {
    const WIDTH: u64 = 30;
    let most = info.store_limit.max(info.store_capacity);
    let share = |of: u64| {
        let part = u128::from(info.store_used.min(most)) * u128::from(of);
        u64::try_from(part.checked_div(u128::from(most)).unwrap_or(0)).unwrap_or(of)
    };
    let full = usize::try_from(share(WIDTH)).unwrap_or(0);
    format!(
        "[{}{}] {} %  {} of {}",
        "#".repeat(full),
        ".".repeat(WIDTH as usize - full),
        share(100),
        size(info.store_used),
        size(most)
    )
}

/// By how much a counter grew in a second.
fn rate(now: u64, then: Option<u64>, elapsed: Option<Duration>) -> Option<u64> {
    let elapsed = elapsed.filter(|elapsed| !elapsed.is_zero())?;
    let grown = now.saturating_sub(then?) as f64;
    Some((grown / elapsed.as_secs_f64()).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let second = Some(Duration::from_secs(2));
        assert_eq!(rate(300, Some(100), second), Some(100));
        assert_eq!(
            rate(100, Some(300), second),
            Some(0),
            "another image's counter"
        );
        assert_eq!(rate(300, None, second), None);
        assert_eq!(rate(300, Some(100), Some(Duration::ZERO)), None);
    }
}
