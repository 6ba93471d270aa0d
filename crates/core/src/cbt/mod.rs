// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Changed block tracking: which blocks differ between two takes.
//!
//! [`Marks`] is what writes touch: two flat bitmaps, of which one is being marked. [`History`] is what takes and readers touch:
//! for each tracking block the number of the last take before which it was written.
//!
//! # A take
//!
//! ```
//! # use blksnap_core::cbt::{History, Marks};
//! let marks = Marks::new(1 << 20, 16)?;                       // 512 MiB in blocks of 64 KiB
//! let mut history = History::new(&marks, [1; 16], [2; 16])?;
//! marks.mark_write(300, 8);                                         // any CPU, any context, before the write is passed on
//!
//! history.prepare(&marks, [3; 16])?;                          // before the gate; may fail, then the take fails
//! // the gate is closed, no write is in flight
//! history.switch(&marks);                                     // a constant number of steps, cannot fail
//! // the gate is opened
//!
//! let mut seen = Vec::new();
//! history.changed_since(&marks, 0, 0, &mut |block, count| { seen.push((block, count)); true });
//! assert_eq!(seen, [(2, 1)]);
//! # Ok::<(), blksnap_core::NoMemory>(())
//! ```
//!
//! The bitmap that a take set aside stays where it is, as a layer above the cells of [`History`], until the next take's `prepare`
//! folds it in. So nothing is allocated between the gate and the answer, and no failure can cost the history.
//!
//! # Numbers
//!
//! A write is marked with the number the next take will have. Change numbers have 64 bits and never wrap; the cells have 8 at most.
//! A cell is a *rank*, an index in a table of change numbers. When the ranks run out, unused ones are dropped, and then the oldest
//! are merged towards the newer number: a delta from a base about 190 takes ago or older may then name blocks that changed shortly
//! before that base. It never misses one, and never names a block that was not written in this generation. The base of a named consumer
//! ([`History::set_consumer`]) stays exact.
//!
//! # Memory
//!
//! Two bits a tracking block for the marks, and of the cells as many bits as the ranks of a page of 4096 blocks need, none where they are all the same. All
//! together at most a byte a tracking block: 16 MiB per TiB at 64 KiB, and 64 KiB more for a small device. Where cells would pass that, the oldest ranks are
//! merged until five bits are enough for the next ones: with changes of more than 31 takes in each page of the device, deltas are exact for at least the
//! last 15 takes, and the upstream view may begin anew before its 255th.
//!
//! Less is not to be had for more: "as it stood at the last take" beside the marks of the next one, exact for 255 takes, has 512 states a block, which are 9 bits.

mod cells;
mod consumers;
mod history;
mod marks;
#[cfg(all(loom, test))]
mod model;
mod ranks;

pub use consumers::ConsumerError;
pub use history::{History, Upstream};
pub use marks::Marks;
