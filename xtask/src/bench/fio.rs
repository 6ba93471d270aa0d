// SPDX-License-Identifier: GPL-2.0-only
//! What fio says, as JSON, of one job; or, more shortly, a program that is measured in its place.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Report {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Job {
    error: i32,
    read: Side,
    write: Side,
}

/// Reads or writes of a job.
#[derive(Debug, Deserialize)]
struct Side {
    io_bytes: u64,
    total_ios: u64,
    /// Milliseconds, rounded up.
    runtime: u64,
    lat_ns: Latency,
}

#[derive(Debug, Deserialize)]
struct Latency {
    mean: f64,
    percentile: Option<Percentiles>,
}

#[derive(Debug, Deserialize)]
struct Percentiles {
    #[serde(rename = "50.000000")]
    p50: u64,
    #[serde(rename = "99.000000")]
    p99: u64,
}

/// What a cell took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    pub(crate) ios: u64,
    /// Bytes moved.
    pub(crate) bytes: u64,
    /// I/Os a second of the guest's time.
    pub(crate) rate: f64,
    /// Nanoseconds an I/O, from its submission to its end.
    pub(crate) mean_ns: f64,
    /// The median and others, of single ones: fio's alone.
    pub(crate) spread: Option<Spread>,
}

/// Latencies, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

/// What a program did: `COUNT` transactions or runs, in `NS` nanoseconds.
#[derive(Debug, Deserialize)]
struct Program {
    count: u64,
    ns: u64,
}

/// Reads what a program said.
pub(crate) fn parse_program(text: &str) -> Result<Taken> {
    let Program { count, ns } = serde_json::from_str(text)?;
    ensure!(count > 0 && ns > 0, "nothing was done");
    Ok(Taken {
        ios: count,
        bytes: 0,
        rate: count as f64 * 1e9 / ns as f64,
        mean_ns: ns as f64 / count as f64,
        spread: None,
    })
}

/// Reads a report of one job, or of several reported as one. In a mix of reads and writes the rate is that of both, and the latency
/// that of the writes. What fio says before the report, such as that it was told to end, is passed over.
pub(crate) fn parse(text: &str) -> Result<Taken> {
    let begin = text.find('{').context("no report")?;
    let report: Report = serde_json::from_str(&text[begin..])?;
    let job = report.jobs.first().context("no job")?;
    ensure!(job.error == 0, "fio's job failed with {}", job.error);
    let sides: Vec<&Side> = [&job.write, &job.read]
        .into_iter()
        .filter(|side| side.total_ios > 0)
        .collect();
    let first = sides.first().context("no I/O")?;
    let ios: u64 = sides.iter().map(|side| side.total_ios).sum();
    let milliseconds = sides.iter().map(|side| side.runtime).max().unwrap_or(0);
    ensure!(milliseconds > 0, "no time");
    let percentile = first.lat_ns.percentile.as_ref().context("no percentiles")?;
    Ok(Taken {
        ios,
        bytes: sides.iter().map(|side| side.io_bytes).sum(),
        // Half of the last millisecond, on average.
        rate: ios as f64 * 1e3 / (milliseconds as f64 - 0.5),
        mean_ns: first.lat_ns.mean,
        spread: Some(Spread {
            p50_ns: percentile.p50,
            p99_ns: percentile.p99,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{ "fio version": "fio-3.39", "jobs": [ { "jobname": "cell", "error": 0,
        "read": { "io_bytes": 0, "total_ios": 0, "runtime": 0, "lat_ns": { "mean": 0.0, "max": 0 } },
        "write": { "io_bytes": 4096000, "total_ios": 1000, "runtime": 101,
            "lat_ns": { "mean": 5500.5, "max": 12000, "percentile": { "50.000000": 5400, "99.000000": 9000 } } } } ] }"#;

    #[test]
    fn a_report_is_read() {
        let taken = parse(TEXT).unwrap();
        assert_eq!(taken.bytes, 4_096_000);
        assert!((taken.rate - 1e6 / 100.5).abs() < 1e-6);
        assert_eq!(taken.mean_ns, 5500.5);
        let spread = taken.spread.unwrap();
        assert_eq!((spread.p50_ns, spread.p99_ns), (5400, 9000));
    }

    #[test]
    fn a_program_is_read() {
        let taken = parse_program(r#"{ "count": 500, "ns": 250000 }"#).unwrap();
        assert_eq!((taken.rate, taken.mean_ns), (2e6, 500.0));
        assert!(parse_program(r#"{ "count": 0, "ns": 250000 }"#).is_err());
    }

    #[test]
    fn a_report_of_a_job_that_was_ended_is_read() {
        let text = format!("\nfio: terminating on signal 2\n{TEXT}");
        assert_eq!(parse(&text).unwrap(), parse(TEXT).unwrap());
    }

    #[test]
    fn a_job_that_failed_or_did_nothing_is_no_result() {
        assert!(parse(&TEXT.replace("\"error\": 0", "\"error\": 5")).is_err());
        assert!(parse(&TEXT.replace("\"total_ios\": 1000", "\"total_ios\": 0")).is_err());
    }
}
