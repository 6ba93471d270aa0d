// SPDX-License-Identifier: GPL-2.0-only
//! The dearest places on each path, in `docs/performance.md`: from the profiles that `--profile` has left.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::profile;

/// The page, and what is around the tables in it.
const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- begin of what `cargo xtask bench --places` writes -->\n";
const END: &str = "<!-- end -->\n";

/// How many places of each path are named.
const DEAREST: usize = 10;

/// A path, and the cells whose profiles show it.
struct Way {
    title: &'static str,
    cell: &'static str,
    /// What is taken off; none: it has nothing to be compared with.
    raw: Option<&'static str>,
    /// Only functions of our modules.
    ours: bool,
    /// Only functions whose names have one of these; none: all.
    only: &'static [&'static str],
}

const WAYS: [Way; 11] = [
    way("tracked write", "ram_tracked_random", "ram_raw_random"),
    way(
        "first overwrite, sparse random 4 KiB, QD 1",
        "ram_device_sparse",
        "ram_raw_sparse",
    ),
    way("the same, QD 32", "ram_device_sparse32", "ram_raw_sparse32"),
    Way {
        title: "of that, storing: what blksnap's slow worker does, and the end of its writes",
        cell: "ram_device_sparse32",
        raw: Some("ram_raw_sparse32"),
        ours: true,
        only: &[
            "stor",
            "Stor",
            "slots",
            "Slots",
            "Leaf>::join",
            "Copies>::free",
            "Chain, 1>",
        ],
    },
    way(
        "first overwrite, sequential 1 MiB",
        "ram_device_seq",
        "ram_raw_seq",
    ),
    way("second overwrite", "ram_device_second", "ram_raw_second"),
    way(
        "image read, 1 MiB, nothing saved",
        "ram_device_image-clean",
        "ram_raw_image-clean",
    ),
    way(
        "image read, 1 MiB, all saved",
        "ram_device_image-saved",
        "ram_raw_image-saved",
    ),
    way(
        "null_blk, 100 µs: first overwrite, QD 32",
        "null_device_sparse32",
        "null_raw_sparse32",
    ),
    Way {
        title: "a take, of a device with an ext4 that is mounted: a whole run of the command",
        cell: "ram_tracked_take",
        raw: None,
        ours: true,
        only: &[],
    },
    Way {
        title: "backup of 8 MiB of data on an ext4 of 768 MiB: a whole run of the command",
        cell: "ram_tracked_backup",
        raw: None,
        ours: true,
        only: &[],
    },
];

const fn way(title: &'static str, cell: &'static str, raw: &'static str) -> Way {
    Way {
        title,
        cell,
        raw: Some(raw),
        ours: false,
        only: &[],
    }
}

/// Instructions and calls for each I/O.
type Costs = BTreeMap<String, (f64, f64)>;

/// What a profile says.
#[derive(Debug, Default, PartialEq)]
struct Profile {
    ios: u64,
    modules: Costs,
    functions: Costs,
}

impl Profile {
    fn read(cell: &str) -> Result<Self> {
        let file = profile::file(cell);
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "no {}: cargo xtask bench --cells {cell} --profile 400",
                file.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("{}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split("\n\n");
        let mut next = || parts.next().context("it is cut off");
        let ios = next()?.split(' ').next().unwrap_or_default().parse()?;
        let (modules, functions) = (costs(next()?), costs(next()?));
        ensure!(!functions.is_empty(), "no functions");
        Ok(Self {
            ios,
            modules,
            functions,
        })
    }

    /// What is more than in `raw`; user space is not of interest: fio's own end is in it.
    fn less(mut self, raw: &Self) -> Self {
        for (costs, less) in [
            (&mut self.modules, &raw.modules),
            (&mut self.functions, &raw.functions),
        ] {
            for (name, (instructions, calls)) in less {
                let cost = costs.entry(name.clone()).or_default();
                cost.0 -= instructions;
                cost.1 -= calls;
            }
        }
        self
    }
}

/// Lines `INSTRUCTIONS PART % CALLS NAME`.
fn costs(text: &str) -> Costs {
    text.lines()
        .filter_map(|line| {
            let (numbers, name) = line.split_at_checked(30)?;
            let mut words = numbers.split_whitespace();
            let instructions = words.next()?.parse().ok()?;
            let calls = words.nth(2)?.parse().ok()?;
            Some((name.trim().to_owned(), (instructions, calls)))
        })
        .collect()
}

/// Writes the tables into the page.
pub(crate) fn write() -> Result<()> {
    let mut tables = String::new();
    for way in &WAYS {
        let profile = Profile::read(way.cell)?;
        let profile = match way.raw {
            Some(raw) => profile.less(&Profile::read(raw)?),
            None => profile,
        };
        tables += &table(way, &profile);
    }
    let page = Path::new(PAGE);
    let text = fs::read_to_string(page)?;
    Ok(fs::write(page, inserted(&text, &tables)?)?)
}

/// The page with these tables instead of those that are in it.
fn inserted(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the tables' begin")?;
    let (_, after) = rest.split_once(END).context("the tables' end")?;
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

fn table(way: &Way, profile: &Profile) -> String {
    let of_ours = |name: &str| name.ends_with("[blksnap]") || name.ends_with("[blkfilter]");
    let wanted = |name: &str| {
        name != USER
            && (!way.ours || of_ours(name))
            && (way.only.is_empty() || way.only.iter().any(|part| name.contains(part)))
    };
    let mut list: Vec<_> = profile
        .functions
        .iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    list.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let sum = |costs: &Costs| -> f64 {
        let some = costs.iter().filter(|(name, _)| *name != USER);
        some.map(|(_, cost)| cost.0).sum()
    };
    let of = |module: &str| profile.modules.get(module).map_or(0.0, |cost| cost.0);
    let more = match way.raw {
        Some(_) => " more than on the raw device",
        None => "",
    };
    let mut text = format!("\n### {}\n\n", title(way.title));
    let _ = if way.only.is_empty() {
        writeln!(
            text,
            "{} counted, {:.0} instructions each{more}; blksnap {:.0}, blkfilter {:.0}.{}",
            profile.ios,
            sum(&profile.functions),
            of("blksnap"),
            of("blkfilter"),
            if way.ours { " Of ours:" } else { "" },
        )
    } else {
        let all: f64 = list.iter().map(|(_, cost)| cost.0).sum();
        writeln!(text, "{all:.0} instructions each.")
    };
    text += "\n| | instructions | calls |\n|---|---|---|\n";
    for (name, (instructions, calls)) in list.into_iter().take(DEAREST) {
        if *instructions >= 0.5 {
            let _ = writeln!(
                text,
                "| `{}` | {instructions:.0} | {calls:.2} |",
                short(name)
            );
        }
    }
    text
}

/// What a profile calls all of user space.
const USER: &str = "fio itself";

fn title(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// A function's name without our crates.
fn short(name: &str) -> String {
    [
        "blksnap_mod::",
        "blkfilter_mod::",
        "blksnap_core::",
        "kern::",
    ]
    .iter()
    .fold(name.to_owned(), |name, part| name.replace(part, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(ours: &str) -> Profile {
        Profile::parse(&format!(
            "400 I/Os, 170 instructions each\n\ninstructions, part, calls\n     50.0   33.3 %      1.00  blksnap\n\n\
             \x20   100.0   66.7 %      0.00  fio itself\n{ours}\n"
        ))
        .unwrap()
    }

    #[test]
    fn a_table_has_what_is_more_than_on_the_raw_device() {
        let raw = profile("     20.0   11.1 %      2.00  submit\n");
        let more = profile(
            "     50.0   11.1 %      1.00  <blksnap_mod::Device>::mark [blksnap]\n     21.0   11.1 %      3.00  submit\n",
        );
        let text = table(&WAYS[0], &more.less(&raw));
        assert!(text.contains("### Tracked write\n"), "{text}");
        assert!(
            text.contains(
                "400 counted, 51 instructions each more than on the raw device; blksnap 0"
            ),
            "{text}"
        );
        assert!(
            text.contains("| `<Device>::mark [blksnap]` | 50 | 1.00 |\n| `submit` | 1 | 1.00 |\n"),
            "{text}"
        );
        assert!(!text.contains("fio"), "{text}");
    }

    #[test]
    fn a_table_may_have_some_functions_only() {
        let all = profile(
            "     50.0   11.1 %      1.00  blksnap_mod::store::put [blksnap]\n     21.0   11.1 %      3.00  store_it\n",
        );
        let text = table(&WAYS[3], &all);
        assert!(
            text.contains("`store::put [blksnap]`") && !text.contains("store_it"),
            "{text}"
        );
    }

    #[test]
    fn the_rest_of_the_page_stays() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(
            inserted(&page, "new\n").unwrap(),
            format!("a\n{BEGIN}new\n{END}b\n")
        );
        assert!(inserted("a\n", "").is_err());
    }
}
