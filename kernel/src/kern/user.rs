// SPDX-License-Identifier: GPL-2.0-only

//! Memory of the calling process. Each access may sleep and fails with `EFAULT` where the process has no such memory.

use core::ffi::c_ulong;

use crate::errno::{Errno, Result};
use crate::sys;

/// An address in the calling process, not checked until it is used.
#[derive(Clone, Copy)]
pub struct UserPtr(u64);

impl UserPtr {
    /// From a number that the process gave.
    pub fn new(address: u64) -> Self {
        UserPtr(address)
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on.
    pub fn add(self, bytes: u64) -> Self {
        UserPtr(self.0.wrapping_add(bytes))
    }

    /// Copies from the process.
    pub fn read(self, to: &mut [u8]) -> Result {
        // SAFETY: the buffer has `len` bytes; the kernel checks the user's address.
        let left = unsafe { sys::bsk_copy_from_user(to.as_mut_ptr().cast(), self.0, to.len() as c_ulong) };
        if left == 0 {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies to the process.
    pub fn write(self, from: &[u8]) -> Result {
        // SAFETY: as in `read`.
        let left = unsafe { sys::bsk_copy_to_user(self.0, from.as_ptr().cast(), from.len() as c_ulong) };
        if left == 0 {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies a string that ends in NUL, with its NUL, into `to`. `ENAMETOOLONG` when it does not fit.
    pub fn read_str(self, to: &mut [u8]) -> Result<usize> {
        // SAFETY: the buffer has `len` bytes and at most these are written.
        let n = unsafe { sys::bsk_strndup_user(self.0, to.as_mut_ptr(), to.len() as c_ulong) };
        if n < 0 {
            Err(Errno::from_c(n as i32))
        } else {
            Ok(n as usize)
        }
    }
}
