// SPDX-License-Identifier: GPL-2.0-only
//! How long takes hold writes.

use std::fmt::Write;

use super::results::{Results, Take};

/// The longest that a gate may stay closed after the last write in flight has ended.
const LIMIT_NS: u64 = 1_000_000;

/// The section of the report.
pub(crate) fn section(page: &mut String, results: &Results) {
    *page += "\n## Gate of the take\n\nHow long writes are held at a take, in µs, while random 4 KiB writes are under way at QD 32. To reach: no more than \
              1000 µs longer than the slowest write in flight. When the last of them has ended, the kernel's own trace of requests says; from there to the \
              gate's opening is what counts. On one processor the load stands still while the command that takes runs: mostly nothing is in flight there.\n\n\
              | load | takes | with writes in flight | most of them | gate, median | longest | beyond the last write, median | longest | |\n\
              |---|---|---|---|---|---|---|---|---|\n";
    for gate in results.gates.iter().filter(|gate| !gate.takes.is_empty()) {
        let gates = sorted(&gate.takes, |take| take.gate_ns);
        let beyond = sorted(&gate.takes, |take| take.beyond_ns);
        let us = |ns: Option<&u64>| ns.map_or(0, |ns| ns / 1000);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            gate.name,
            gate.takes.len(),
            gate.takes.iter().filter(|take| take.in_flight > 0).count(),
            gate.takes
                .iter()
                .map(|take| take.in_flight)
                .max()
                .unwrap_or(0),
            us(gates.get(gates.len() / 2)),
            us(gates.last()),
            us(beyond.get(beyond.len() / 2)),
            us(beyond.last()),
            verdict(&gate.takes),
        );
    }
}

fn sorted(takes: &[Take], time: impl Fn(&Take) -> u64) -> Vec<u64> {
    let mut times: Vec<u64> = takes.iter().map(time).collect();
    times.sort_unstable();
    times
}

/// Takes that nothing was in flight at prove nothing.
fn verdict(takes: &[Take]) -> &'static str {
    if takes.iter().any(|take| take.beyond_ns > LIMIT_NS) {
        "**missed**"
    } else if takes.iter().any(|take| take.in_flight > 0) {
        "reached"
    } else {
        "nothing in flight"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_time_after_the_last_write() {
        let take = |gate_ns, in_flight, beyond_ns| Take {
            gate_ns,
            in_flight,
            beyond_ns,
        };
        assert_eq!(verdict(&[take(9_000_000, 3, 900_000)]), "reached");
        assert_eq!(
            verdict(&[take(9_000, 3, 9_000), take(1_100_000, 0, 1_100_000)]),
            "**missed**"
        );
        assert_eq!(verdict(&[take(9_000, 0, 9_000)]), "nothing in flight");
    }
}
