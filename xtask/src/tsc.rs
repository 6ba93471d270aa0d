// SPDX-License-Identifier: GPL-2.0-only
//! The rate of this processor's time stamp counter, which is an emulated guest's too. A guest that measures it itself while the
//! machine is busy may be wrong by a factor of ten, and then its clock runs so much too fast.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Kilohertz. Measured once, over a fifth of a second.
pub(crate) fn khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(|| {
        let (from, at) = sample();
        std::thread::sleep(Duration::from_millis(200));
        let (to, then) = sample();
        let nanoseconds = then.duration_since(at).as_nanos().max(1);
        u64::try_from(u128::from(to - from) * 1_000_000 / nanoseconds).unwrap_or(0)
    })
}

/// The counter and the clock at one instant: of many tries the one in which the least time passed.
fn sample() -> (u64, Instant) {
    let tries = (0..1000).map(|_| {
        let at = Instant::now();
        let ticks = counter();
        (at.elapsed(), ticks, at)
    });
    tries
        .min_by_key(|&(passed, ..)| passed)
        .map_or((0, Instant::now()), |(_, ticks, at)| (ticks, at))
}

#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "the counter is read by an instruction of its own"
)]
fn counter() -> u64 {
    // SAFETY: every x86_64 processor has the instruction, and Linux lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_counter_runs() {
        let khz = super::khz();
        assert!((100_000..20_000_000).contains(&khz), "{khz} kHz");
    }
}
