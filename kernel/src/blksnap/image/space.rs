// SPDX-License-Identifier: GPL-2.0-only

//! Blocks that nobody needs as they were at the take: the file system's free space, and the blocks of a storage's own file.

use core::sync::atomic::Ordering;

use blksnap_core::cow::Epoch;
use blksnap_core::BlockRange;
use kern::errno::{Errno, Result};

use super::write::ZERO_MOST;
use super::{Image, BLOCK};

impl Image {
    /// Whole blocks of a range read as zeros from now on, and are not saved where no other snapshot needs them. Bytes from the start of the device;
    /// how many bytes. `ESRCH` before the take, `EINVAL`: the range reaches past the device. Sleeps for locks alone.
    pub(crate) fn free(&self, offset: u64, length: u64) -> Result<u64> {
        let end = offset.checked_add(length).ok_or(Errno::EINVAL)?;
        if end > self.chain.sectors() * 512 {
            return Err(Errno::EINVAL);
        }
        if self.epoch() == Epoch(0) {
            return Err(Errno::ESRCH);
        }
        let (mut block, end) = (offset.div_ceil(BLOCK), end / BLOCK);
        let mut freed = 0;
        while block < end {
            let count = (end - block).min(ZERO_MOST);
            freed += self.chain.free(&self.own, self.epoch(), BlockRange { start: block, count })?;
            block += count;
        }
        self.free_blocks.fetch_add(freed, Ordering::Relaxed);
        Ok(freed * BLOCK)
    }
}
