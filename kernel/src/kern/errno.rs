// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's error numbers: one error type for everything that crosses the C border.

use core::ffi::c_int;
use core::fmt;

/// A kernel error: a positive number below 4096, as in `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u16);

/// What fallible kernel functions return.
pub type Result<T = ()> = core::result::Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs, reason = "the names are those of errno(3)")]
        impl Errno { $(pub const $name: Errno = Errno($number);)* }
        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 { $($number => f.write_str(stringify!($name)),)* n => write!(f, "error {n}") }
            }
        }
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, EBADF = 9, EAGAIN = 11, ENOMEM = 12,
    EACCES = 13, EFAULT = 14, ENOTBLK = 15, EBUSY = 16, EEXIST = 17, EXDEV = 18, ENODEV = 19, ENOTDIR = 20, EISDIR = 21,
    EINVAL = 22, ENFILE = 23, ENOTTY = 25, ETXTBSY = 26, EFBIG = 27, ENOSPC = 28, ESPIPE = 29, EROFS = 30, ERANGE = 34,
    ENAMETOOLONG = 36, ELOOP = 40, ENODATA = 61, EOVERFLOW = 75, EOPNOTSUPP = 95, ESHUTDOWN = 108, ETIMEDOUT = 110, EALREADY = 114, ESTALE = 116,
    ERESTARTSYS = 512, ENOIOCTLCMD = 515,
}

impl Errno {
    /// From a C return value: zero and above is success and is given back, below is an error.
    pub fn check(value: c_int) -> Result<c_int> {
        if value < 0 {
            Err(Errno::from_c(value))
        } else {
            Ok(value)
        }
    }

    /// From a negative C return value. What is out of range becomes `EIO`.
    pub fn from_c(value: c_int) -> Errno {
        match value.unsigned_abs() {
            n @ 1..=4095 => Errno(n as u16),
            _ => Errno::EIO,
        }
    }

    /// The negative number that C returns.
    pub fn to_c(self) -> c_int {
        -c_int::from(self.0)
    }

    /// The positive number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A result as C returns it: the value, or a negative error.
pub fn to_c(result: Result<c_int>) -> c_int {
    result.unwrap_or_else(Errno::to_c)
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
