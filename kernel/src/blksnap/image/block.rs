// SPDX-License-Identifier: GPL-2.0-only

//! Blocks and requests: which bytes of a request are of which blocks, and a block as the image has it.

use blksnap_core::cow::Source;
use blksnap_core::BLOCK_SECTORS;
use kern::bio::Bio;
use kern::errno::{Errno, Result};
use kern::io::Io;
use kern::page::Page;

use super::{Image, BLOCK};
use crate::chain::Place;

/// Bytes of a request's data that lie in a run of blocks, and where the run's data begins in the request.
pub(crate) struct Cut {
    pub(crate) from: u32,
    pub(crate) len: u32,
    /// First byte within the run's first block.
    pub(crate) skip: u64,
}

pub(super) fn cut(bio: &Bio, block: u64, count: u64) -> Cut {
    let (first, end) = (bio.sector(), bio.sector() + bio.sectors());
    let run = (block * BLOCK_SECTORS, (block + count) * BLOCK_SECTORS);
    let (a, b) = (run.0.max(first), run.1.min(end));
    Cut {
        from: (a.saturating_sub(first) * 512) as u32,
        len: (b.saturating_sub(a) * 512) as u32,
        skip: (a.saturating_sub(run.0)) * 512,
    }
}

/// Where a block was found.
enum Found {
    /// It is read.
    Done,
    Origin,
    Zero,
    Store(Place),
}

impl Image {
    /// Reads a whole block as the image has it. Sleeps, with I/O.
    pub(super) fn read_block(&self, block: u64, page: &mut Page) -> Result {
        let mut read_origin = false;
        loop {
            if self.is_over() {
                return Err(Errno::EIO);
            }
            let step = self.chain.look_up(self.epoch(), block, 1, |source, run, pages| match source {
                Source::Origin => Ok(Found::Origin),
                Source::Zero => Ok(Found::Zero),
                Source::Store { slot } => pages.place(slot, run).map(Found::Store),
                Source::Memory { copy, index } => pages.page(copy, index).map(|from| {
                    page.copy_of(from);
                    Found::Done
                }),
            })?;
            match step {
                Found::Done => return Ok(()),
                Found::Zero => {
                    page.zero(0, BLOCK as u32);
                    return Ok(());
                }
                Found::Store(place) => return place.store.backend().read_page(&self.waited, place.slot, page),
                // Nobody wrote there while it was read.
                Found::Origin if read_origin => return Ok(()),
                Found::Origin => {
                    let sector = block * BLOCK_SECTORS;
                    let bytes = self.chain.sectors().saturating_sub(sector).min(BLOCK_SECTORS) * 512;
                    page.zero(bytes as u32, (BLOCK - bytes) as u32);
                    let origin = self.chain.origin()?;
                    Io::pages(&self.waited, &origin, false, sector, bytes, true, core::iter::once(&*page))?.run()?;
                    read_origin = true;
                }
            }
        }
    }
}
