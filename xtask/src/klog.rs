// SPDX-License-Identifier: GPL-2.0-only
//! What a kernel's log may not hold.

/// Any of these words, a line each, is a complaint. The guest has the same list, to blame the test.
const BAD: &str = include_str!("../../tests/vm/complaints.txt");

/// But these lines are known and say nothing about us.
const FINE: &[&str] = &[
    // The processor model of the emulator, at boot.
    "Spectre",
    "RETBleed",
    "Speculative",
    "SRSO",
    "TAA",
    "MDS",
    "MMIO Stale",
    "Register File Data Sampling",
    "Transient Scheduler",
    "VMSCAPE",
    "ITS:",
    "unprivileged eBPF",
    // Kernel threads and the like that carry such words in their names.
    "kfence: initialized",
    "Command line:",
    "Kernel command line:",
];

/// The first complaint of a log and what follows it, or none.
pub(crate) fn complaint(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.iter().position(|line| bad(line))?;
    let from = first.saturating_sub(3);
    let to = lines.len().min(first + 40);
    Some(lines[from..to].join("\n"))
}

fn bad(line: &str) -> bool {
    let known = FINE.iter().any(|fine| line.contains(fine));
    BAD.lines().any(|bad| line.contains(bad)) && !known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_boot_chatter() {
        assert_eq!(
            complaint(
                "[0.1] RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable\n[1] ok"
            ),
            None
        );
        assert_eq!(
            complaint("[0.1] Kernel command line: oops=panic BUG: \n"),
            None
        );
        let text =
            complaint("a\n[5.0] WARNING: CPU: 1 PID: 7 at block/bio.c:1\n[5.0] Call Trace:\n")
                .unwrap();
        assert!(text.starts_with("a\n[5.0] WARNING"));
        assert!(complaint("[5] UBSAN: shift-out-of-bounds in x").is_some());
        assert!(complaint("INFO: task fio:12 blocked for more than 60 seconds.").is_some());
        assert!(complaint("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:").is_some());
    }
}
