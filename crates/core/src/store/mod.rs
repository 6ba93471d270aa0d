// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The difference storage: where saved blocks are put.

mod circle;
mod rate;
mod space;

pub use circle::leads_back;
pub use space::{StoreSpace, MAX_SLOTS};
