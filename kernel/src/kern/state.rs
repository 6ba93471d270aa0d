// SPDX-License-Identifier: GPL-2.0-only

//! A module's state as text, below `/sys/module/NAME/parameters`: one line for each thing.
//!
//! Whoever reads such a file may be anybody, at any time between the end of the module's init and the begin of its exit, without a
//! reference to the module: the shim sees to that (`shim/module.c`). The kernel's lock of the module's parameters is held meanwhile, which
//! nobody takes with a lock of ours held. Sleeps for locks alone.

use core::fmt::{self, Write};
use core::slice;

/// Room that is left for the last line, when others had to be left out.
const LAST: usize = 24;

/// Lines in a page of bounded size: whole ones, as many as fit, and how many did not.
pub struct Lines<'a> {
    page: &'a mut [u8],
    len: usize,
    left_out: u32,
}

impl Lines<'_> {
    /// Adds a line. Once one does not fit, no other does.
    pub fn line(&mut self, write: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        let begin = self.len;
        if self.left_out > 0 || write(&mut Room(self)).and_then(|()| Room(self).write_char('\n')).is_err() {
            self.len = begin;
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn put(&mut self, text: &str, spare: usize) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        let room = self.page.len().saturating_sub(spare);
        let to = self.page.get_mut(self.len..end).filter(|_| end <= room).ok_or(fmt::Error)?;
        to.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.len = end;
        Ok(())
    }

    /// Writes how many were left out, if any were; the length of it all.
    fn end(mut self) -> usize {
        if self.left_out > 0 {
            let left_out = self.left_out;
            let _ = Last(&mut self).write_fmt(format_args!("more={left_out}\n"));
        }
        self.len
    }
}

struct Room<'a, 'b>(&'a mut Lines<'b>);

impl Write for Room<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text, LAST)
    }
}

struct Last<'a, 'b>(&'a mut Lines<'b>);

impl Write for Last<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text, 0)
    }
}

/// A name that others have chosen, up to its end or a NUL: what is no visible letter of ASCII is shown as `?`.
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take_while(|&&byte| byte != 0)
            .try_for_each(|&byte| f.write_char(if byte.is_ascii_graphic() { byte.into() } else { '?' }))
    }
}

/// The text of a file.
///
/// # Safety
/// `page` has `size` bytes and is the call's alone.
#[doc(hidden)]
pub unsafe fn text(page: *mut u8, size: usize, show: fn(&mut Lines<'_>)) -> usize {
    // SAFETY: as this function demands; the kernel gives a page that it has filled with zeros.
    let mut lines = Lines { page: unsafe { slice::from_raw_parts_mut(page, size) }, len: 0, left_out: 0 };
    show(&mut lines);
    lines.end()
}

/// Gives functions that write [`Lines`] the names that the shim knows.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! state {
    ($($name:ident = $show:path;)*) => {
        const _: () = {
            $(
                #[no_mangle]
                unsafe extern "C" fn $name(page: *mut u8, size: usize) -> usize {
                    // SAFETY: called by the shim with the page that it was given.
                    unsafe { $crate::state::text(page, size, $show) }
                }
            )*
        };
    };
}
