// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes and progress bars on stderr: bars on a terminal only, notes unless `--quiet`.

use std::io::{IsTerminal, stderr};

use blksnap_backup::{Observer, Task};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the work to a person.
#[derive(Debug)]
pub(crate) struct Screen {
    bars: MultiProgress,
    quiet: bool,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        let hidden = quiet || !stderr().is_terminal();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(8)
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            quiet,
        }
    }

    fn line(&self, text: &str) {
        // Lines go above the bars.
        self.bars.suspend(|| eprintln!("{text}"));
    }
}

impl Observer for Screen {
    fn note(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    fn warn(&self, text: &str) {
        self.line(&format!("warning: {text}"));
    }

    fn task(&self, label: &str, total_bytes: u64) -> Box<dyn Task> {
        let style = ProgressStyle::with_template(
            "{prefix:24!} {wide_bar} {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}",
        );
        let bar = ProgressBar::new(total_bytes).with_prefix(label.to_owned());
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Box::new(Bar(self.bars.add(bar)))
    }
}

struct Bar(ProgressBar);

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
