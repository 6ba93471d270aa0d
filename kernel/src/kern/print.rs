// SPDX-License-Identifier: GPL-2.0-only

//! The kernel log: [`pr_err!`](crate::pr_err!), [`pr_warn!`](crate::pr_warn!), [`pr_info!`](crate::pr_info!),
//! [`pr_debug!`](crate::pr_debug!), as `format!` takes its arguments.
//!
//! The module's name stands before each line; a newline is added. A line has room for 240 bytes, the rest is cut. Atomic.

use core::ffi::c_int;
use core::fmt::{self, Write};

use crate::sys;

/// How grave a line is; the numbers are the kernel's.
#[derive(Clone, Copy)]
pub enum Level {
    /// The kernel is about to stop a task.
    Emergency = 0,
    /// Something failed.
    Error = 3,
    /// Something is odd.
    Warning = 4,
    /// Something happened.
    Info = 6,
    /// For developers: shown when dynamic debugging asks for it.
    Debug = 7,
}

/// A line being formatted on the stack.
pub(crate) struct Line {
    text: [u8; 240],
    len: usize,
}

impl Line {
    pub(crate) fn of(args: fmt::Arguments<'_>) -> Line {
        let mut line = Line { text: [0; 240], len: 0 };
        // An error only says that the line was cut.
        let _ = line.write_fmt(args);
        line
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for &byte in s.as_bytes() {
            match self.text.get_mut(self.len) {
                Some(place) => *place = byte,
                None => return Err(fmt::Error),
            }
            self.len += 1;
        }
        Ok(())
    }
}

/// Writes one line. The macros call this.
#[doc(hidden)]
#[inline(never)]
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    let line = Line::of(args);
    let text = line.bytes();
    // SAFETY: the text is valid for its length during the call.
    unsafe { sys::bsk_print(level as c_int, text.as_ptr(), text.len()) }
}

/// A line that says that something failed.
#[macro_export]
macro_rules! pr_err { ($($arg:tt)*) => { $crate::print::print($crate::print::Level::Error, format_args!($($arg)*)) }; }
/// A line that says that something is odd.
#[macro_export]
macro_rules! pr_warn { ($($arg:tt)*) => { $crate::print::print($crate::print::Level::Warning, format_args!($($arg)*)) }; }
/// A line that says what happened.
#[macro_export]
macro_rules! pr_info { ($($arg:tt)*) => { $crate::print::print($crate::print::Level::Info, format_args!($($arg)*)) }; }
/// A line for developers.
#[macro_export]
macro_rules! pr_debug { ($($arg:tt)*) => { $crate::print::print($crate::print::Level::Debug, format_args!($($arg)*)) }; }
