// SPDX-License-Identifier: GPL-2.0-only
//! The modules' lock-free parts in all interleavings that matter, and with all reorderings that the memory model allows.
//!
//! | Model | Of what | Whose code runs |
//! |---|---|---|
//! | `table_model` | `kernel/src/kern/hook/table.rs`: attachments are found without a lock | the kernel's own file |
//! | `gate_model` | `kernel/src/blkfilter/attachment/mod.rs`, `kernel/shim/hook_sync.c`: a bio is counted, then looks at the gate | a copy of its steps |
//! | `worker_model` | `kernel/shim/worker.c`: IDLE, QUEUED, RUNNING, AGAIN | a copy of its steps |
//!
//! Each model has defects that it is asked for, too, and must find. The core's own are beside its code (`crates/core/src/*/model.rs`).
//! Without `--cfg loom` there is nothing here.
#![cfg(loom)]

extern crate std as rust_alloc;

mod hook;
mod sync;

mod gate_model;
mod table_model;
mod worker_model;
