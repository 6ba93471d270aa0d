// SPDX-License-Identifier: GPL-2.0-only
//! How a write's cost grows with sizes and numbers.

use std::fmt::Write;

use super::plan::THIN;
use super::results::Results;

/// The most that a cost may grow while what it depends on grows tenfold, as a part.
const LIMIT: f64 = 0.10;

/// What grows, and the cells (state, work) that show it.
struct Series {
    title: &'static str,
    cells: &'static [(f64, &'static str, &'static str)],
}

const SERIES: [Series; 3] = [
    Series {
        title: "first overwrite, by the device's size in GiB",
        cells: &[
            (1.0, "1g", "wide"),
            (32.0, "32g", "wide"),
            (1024.0, "1t", "wide"),
            (16384.0, "16t", "wide"),
        ],
    },
    Series {
        title: "first overwrite, by the blocks saved before",
        cells: &[
            (1e3, "zero", "saved3"),
            (1e4, "zero", "saved4"),
            (1e5, "zero", "saved5"),
            (1e6, "zero", "saved6"),
        ],
    },
    Series {
        title: "tracked write, by the devices tracked",
        cells: &[
            (1.0, "devices1", "wide"),
            (16.0, "devices16", "wide"),
            (256.0, "devices256", "wide"),
        ],
    },
];

/// The section of the report.
pub(crate) fn section(page: &mut String, results: &Results) {
    *page += "\n## How it grows\n\nMean latency of a random 4 KiB write at QD 1 to a device that takes no time itself (dm-zero). To reach: no more than 10 % for \
              each tenfold.\n\n| | | for each tenfold | |\n|---|---|---|---|\n";
    for series in &SERIES {
        let points: Vec<(f64, f64)> = series
            .cells
            .iter()
            .filter_map(|(x, state, work)| Some((*x, results.get(&THIN, state, work)?.mean_ns)))
            .collect();
        let Some(part) = tenfold(&points) else {
            continue;
        };
        let values: Vec<String> = points
            .iter()
            .map(|(x, ns)| format!("{x}: {:.2} µs", ns / 1e3))
            .collect();
        let verdict = if part <= LIMIT {
            "reached"
        } else {
            "**missed**"
        };
        let _ = writeln!(
            page,
            "| {} | {} | {:+.1} % | {verdict} |",
            series.title,
            values.join(", "),
            part * 100.0
        );
    }
}

/// By what part the second numbers grow while the first grow tenfold, from the first point to the worst of the others.
fn tenfold(points: &[(f64, f64)]) -> Option<f64> {
    let (&(x, y), others) = points.split_first()?;
    others
        .iter()
        .map(|&(there, value)| (value / y).powf(1.0 / (there / x).log10()) - 1.0)
        .reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_decade() {
        let part = tenfold(&[(1.0, 10.0), (10.0, 11.0), (100.0, 12.1)]).unwrap();
        assert!((part - 0.1).abs() < 1e-9);
        assert!(tenfold(&[(1.0, 10.0), (10.0, 9.0)]).unwrap() < 0.0);
        assert!(tenfold(&[(1.0, 10.0)]).is_none());
    }
}
