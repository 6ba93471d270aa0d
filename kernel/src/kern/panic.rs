// SPDX-License-Identifier: GPL-2.0-only

//! A Rust panic is a bug of ours: it says where, and ends the task as `BUG()` does.

use core::arch::asm;

use crate::print::{print, Level};

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print(Level::Emergency, format_args!("{info}"));
    // The instruction stands here, not behind a C function: objtool looks at this object alone where the kernel has no IBT,
    // and must see that nothing follows.
    // SAFETY: an undefined instruction is the kernel's own way to stop a task that cannot go on.
    unsafe { asm!("ud2", options(noreturn)) }
}
