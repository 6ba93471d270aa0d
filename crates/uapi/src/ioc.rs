// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! How an ioctl number is made: direction, size of the argument, type, number.
//!
//! This is the generic layout (`asm-generic/ioctl.h`), which x86, arm64, riscv, s390 and
//! loongarch share. PowerPC, MIPS, SPARC and Alpha use another and are not supported.

/// The caller reads nothing back: the argument goes to the kernel.
pub const WRITE: u32 = 1;
/// The kernel fills the argument.
pub const READ: u32 = 2;

const SIZE_BITS: u32 = 14;

/// `_IOC(dir, ty, nr, size)`.
#[must_use]
pub const fn ioc(dir: u32, ty: u8, nr: u8, size: usize) -> u32 {
    assert!(size < 1 << SIZE_BITS, "an ioctl argument is under 16 KiB");
    #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
    let size = size as u32;
    let (ty, nr) = (ty as u32, nr as u32);
    dir << 30 | size << 16 | ty << 8 | nr
}

/// `_IOR(ty, nr, T)`.
#[must_use]
pub const fn ior<T>(ty: u8, nr: u8) -> u32 {
    ioc(READ, ty, nr, size_of::<T>())
}

/// `_IOW(ty, nr, T)`.
#[must_use]
pub const fn iow<T>(ty: u8, nr: u8) -> u32 {
    ioc(WRITE, ty, nr, size_of::<T>())
}

/// `_IOWR(ty, nr, T)`.
#[must_use]
pub const fn iowr<T>(ty: u8, nr: u8) -> u32 {
    ioc(READ | WRITE, ty, nr, size_of::<T>())
}

/// The type (letter) in an ioctl number.
#[must_use]
pub const fn type_of(cmd: u32) -> u8 {
    cmd.to_le_bytes()[1]
}

/// The number in an ioctl number. From 64 up the kernel looks at type and number only, never
/// at the size, so that a struct may grow.
#[must_use]
pub const fn nr_of(cmd: u32) -> u8 {
    cmd.to_le_bytes()[0]
}

/// The size of the argument in an ioctl number.
#[must_use]
pub const fn size_in(cmd: u32) -> u32 {
    cmd >> 16 & ((1 << SIZE_BITS) - 1)
}

/// The direction in an ioctl number: [`READ`], [`WRITE`], both or none.
#[must_use]
pub const fn dir_of(cmd: u32) -> u32 {
    cmd >> 30
}
