// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Copy on write: old data is saved before it is written over, and found again.
//!
//! [`Saved`] answers writers without a lock; [`Engine`] does the rest, under one.
//!
//! # Where a block of the image is
//!
//! 1. **Origin**: not written since the take. The image reads the original device.
//! 2. **Reading**: its copy is under way. The image still reads the original device, which nobody may write there yet.
//! 3. **Memory**: the copy is in memory, the block's bit in [`Saved`] is set, and writers pass.
//! 4. **Store**: the copy lies in the difference storage.
//!
//! An image looks in its own epoch first and then in the later ones; and before all of them at what it has of its own: blocks that were written to it, or read
//! as zeros.
//!
//! A block only ever moves down this list, for each image. A reader of the image that found 1 or 2 reads the original device and then asks [`Engine::resolve`]
//! again: if the block still is 1 or 2, no write can have passed between, and the data is that of the take. Otherwise it reads again
//! from where the block now is.
//!
//! # Failure
//!
//! Whatever goes wrong with a device's snapshots ends in [`Engine::fail`]: all held writes are released, writers pass from then on,
//! and the images answer `EIO`. This path never allocates.

mod engine;
mod frames;
mod lazy;
mod map;
#[cfg(all(loom, test))]
mod model;
mod saved;
mod stripes;

pub use engine::{
    Action, BatchId, Clock, CopyId, Engine, Epoch, Limits, Lost, Over, Policy, Source, Stats, Token,
};
pub use frames::Frames;
pub use lazy::LazyCell;
pub use saved::{Saved, SavedPage};
pub use stripes::Stripes;
