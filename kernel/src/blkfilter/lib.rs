// SPDX-License-Identifier: GPL-2.0-only

//! blkfilter.ko: filters above the request queue of live block devices.

#![no_std]
#![forbid(unsafe_code)]

struct Blkfilter;

impl kern::Module for Blkfilter {
    fn init() -> kern::Result<Self> {
        kern::pr_info!("loaded");
        Ok(Blkfilter)
    }
}

impl Drop for Blkfilter {
    fn drop(&mut self) {
        kern::pr_info!("unloaded");
    }
}

kern::module!(Blkfilter);
