// SPDX-License-Identifier: GPL-2.0-only
//! How the cost of a write or read grows with sizes and numbers.

use std::fmt::Write;

use super::kinds::THIN;
use super::results::Results;

/// The most that a cost may grow while what it depends on grows tenfold, as a part.
const LIMIT: f64 = 0.10;

/// What grows, and the cells (state, work) that show it, the smallest first.
struct Series {
    title: &'static str,
    cells: &'static [(f64, &'static str, &'static str)],
}

const SERIES: [Series; 5] = [
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
        title: "image read, by the device's size in GiB",
        cells: &[
            (1.0, "1g", "look"),
            (32.0, "32g", "look"),
            (1024.0, "1t", "look"),
            (16384.0, "16t", "look"),
        ],
    },
    Series {
        title: "first overwrite, by the blocks saved before",
        cells: &[
            (1e3, "zero", "saved3"),
            (1e4, "zero", "saved4"),
            (1e5, "zero", "saved5"),
            (1e6, "zero", "saved6"),
            (1e7, "zero128", "saved7"),
        ],
    },
    Series {
        title: "image read of saved blocks, by their number",
        cells: &[
            (1e3, "zero", "look3"),
            (1e5, "zero", "look5"),
            (1e6, "zero", "look6"),
            (1e7, "zero128", "look7"),
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
    *page += "\n## How it grows\n\nMean latency of a random 4 KiB write or read at QD 1, of a device that takes no time itself (dm-zero). To reach: no more than \
              10 % for each tenfold, between any two neighbours; the worst of these steps is told. What is saved before is \
              written by the MiB; the core by itself has been measured with 10⁸ blocks at random.\n\n| | | for each tenfold | |\n|---|---|---|---|\n";
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

/// By what part the second numbers grow while the first grow tenfold: from one point to the next, where that is most.
fn tenfold(points: &[(f64, f64)]) -> Option<f64> {
    points
        .windows(2)
        .filter_map(|pair| {
            let [(from, before), (to, after)] = pair else {
                return None;
            };
            Some((after / before).powf(1.0 / (to / from).log10()) - 1.0)
        })
        .reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_decade() {
        let part = tenfold(&[(1.0, 10.0), (10.0, 11.0), (100.0, 12.1)]).unwrap();
        assert!((part - 0.1).abs() < 1e-9);
        // A step that the others make up for is none the smaller.
        let part = tenfold(&[(1.0, 10.0), (100.0, 10.0), (1000.0, 12.0)]).unwrap();
        assert!((part - 0.2).abs() < 1e-9);
        assert!(tenfold(&[(1.0, 10.0), (10.0, 9.0)]).unwrap() < 0.0);
        assert!(tenfold(&[(1.0, 10.0)]).is_none());
    }
}
