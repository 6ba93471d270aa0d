// SPDX-License-Identifier: GPL-2.0-only

//! The crate `compiler_builtins`, empty.
//!
//! rustc injects a crate of this name into everything that is not `core`. The intrinsics it would bring are not wanted in a
//! kernel: `memcpy` and its kin are the kernel's own, and a call to any other (128-bit division, floating point) is a mistake
//! that `modpost` reports as an undefined symbol.

#![no_std]
#![allow(internal_features, reason = "the name and the attribute are the compiler's own business")]
#![feature(compiler_builtins)]
#![compiler_builtins]
