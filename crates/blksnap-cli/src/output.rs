// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command says: one JSON document on stdout, or text for people.

use std::io::{Write, stdout};
use std::time::Duration;

use blksnap::Error;
use serde_json::{Value, json};

use crate::args::Arguments;
use crate::observer::Screen;

/// Where and how things are said.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    /// JSON goes to stderr, because stdout belongs to another command.
    aside: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self {
            json: arguments.json,
            aside: arguments.runs_a_command(),
            quiet: arguments.quiet,
        }
    }

    /// Notes and progress on stderr.
    pub(crate) fn screen(&self) -> Screen {
        Screen::new(self.quiet)
    }

    /// The result: `value` with `--json`, else `text`.
    pub(crate) fn result(&self, value: &Value, text: impl FnOnce() -> String) {
        if self.json {
            self.document(value);
        } else if !self.aside {
            let _ = print(&text());
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Text that has a form of its own.
    pub(crate) fn text(&self, text: &str) {
        let _ = print(text);
    }

    /// One of many results: with `--json` a document on one line. Says whether anybody reads them.
    pub(crate) fn line(&self, value: &Value, text: impl FnOnce() -> String) -> bool {
        print(&if self.json {
            format!("{value}\n")
        } else {
            text()
        })
    }

    /// An error, on stderr; with `--json` also as the document.
    pub(crate) fn error(&self, error: &Error) {
        if self.json {
            let kind = format!("{:?}", error.kind());
            self.document(&json!({ "error": { "kind": snake(&kind), "message": error.chain(), "help": error.help() } }));
            if self.aside {
                return;
            }
        }
        eprintln!("error: {}", error.chain());
        if let Some(help) = error.help().filter(|help| !help.is_empty()) {
            eprintln!("  help: {help}");
        }
    }

    fn document(&self, value: &Value) {
        let text = format!("{value:#}\n");
        if self.aside {
            eprintln!("{value}");
        } else {
            let _ = print(&text);
        }
    }
}

/// A reader that went away (`| head`) is no error; says whether there is one.
fn print(text: &str) -> bool {
    stdout()
        .write_all(text.as_bytes())
        .and_then(|()| stdout().flush())
        .is_ok()
}

/// `ModuleMissing` as `module_missing`.
fn snake(camel: &str) -> String {
    let mut text = String::new();
    for character in camel.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A time for people.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_nanos() {
        0..1_000_000 => format!("{:.0} µs", seconds * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Reads a size: `512`, `64K`, `10G`, `1.5GiB`, in powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it as 512M, 10G or 1T");
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return Err(wrong()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes < 1.0 || bytes >= u64::MAX as f64 {
        Err(wrong())
    } else {
        Ok(bytes as u64)
    }
}

/// Columns, as wide as their widest cell; a column whose title begins with `>` goes to the right.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = titles
        .iter()
        .map(|title| title.trim_start_matches('>'))
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([names[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let right = titles[column].starts_with('>');
            let gap = if column == 0 { "" } else { "  " };
            line += &if right {
                format!("{gap}{pad}{cell}")
            } else {
                format!("{gap}{cell}{pad}")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1_600_000), "1.5 MiB");
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("64k"), Ok(65536));
        assert_eq!(parse_size("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_size("10MB"), Ok(10 << 20));
        for bad in ["", "G", "-1", "1X", "0", "99999999999P", "1.2.3"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(Duration::from_micros(250)), "250 µs");
        assert_eq!(time(Duration::from_micros(2500)), "2.5 ms");
        assert_eq!(time(Duration::from_millis(61_500)), "61.5 s");
    }

    #[test]
    fn columns() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["bbb".to_owned(), "22".to_owned()],
        ];
        assert_eq!(table(&["X", ">N"], &rows), "X     N\na     1\nbbb  22\n");
    }

    #[test]
    fn kinds() {
        assert_eq!(snake("ModuleMissing"), "module_missing");
        assert_eq!(snake("Io"), "io");
    }
}
