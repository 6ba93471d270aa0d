// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! Structs to bytes and back without `unsafe`, and the macros that define them.
//!
//! [`abi_struct!`](macro@crate::abi_struct) writes, from one definition: the `repr(C)` struct, the
//! conversion field by field in native byte order, the constant checks, and (feature
//! `describe`) the table from which the C header is made.

/// A type a field may have: every bit pattern is a value, and nothing is padding.
pub trait Field: Copy {
    /// The value whose bytes are all zero.
    const ZERO: Self;
    /// The C element type, such as `__u32`.
    const C_TYPE: &'static str;
    /// The number of elements when the field is an array.
    const C_ARRAY: Option<usize>;
    /// Writes the value at `at`; what does not fit is left out.
    fn put(&self, out: &mut [u8], at: usize);
    /// Reads the value at `at`; what is not there reads as zero.
    fn get(from: &[u8], at: usize) -> Self;
}

macro_rules! integer_field {
    ($($ty:ty => $c:literal),*) => {$(
        impl Field for $ty {
            const ZERO: Self = 0;
            const C_TYPE: &'static str = $c;
            const C_ARRAY: Option<usize> = None;
            #[inline]
            fn put(&self, out: &mut [u8], at: usize) {
                self.to_ne_bytes().put(out, at);
            }
            #[inline]
            fn get(from: &[u8], at: usize) -> Self {
                Self::from_ne_bytes(Field::get(from, at))
            }
        }
    )*};
}
integer_field!(u16 => "__u16", u32 => "__u32", u64 => "__u64", i32 => "__s32", i64 => "__s64");

impl Field for u8 {
    const ZERO: Self = 0;
    const C_TYPE: &'static str = "__u8";
    const C_ARRAY: Option<usize> = None;
    #[inline]
    fn put(&self, out: &mut [u8], at: usize) {
        [*self].put(out, at);
    }
    #[inline]
    fn get(from: &[u8], at: usize) -> Self {
        let [byte] = Field::get(from, at);
        byte
    }
}

impl<const N: usize> Field for [u8; N] {
    const ZERO: Self = [0; N];
    const C_TYPE: &'static str = "__u8";
    const C_ARRAY: Option<usize> = Some(N);
    #[inline]
    fn put(&self, out: &mut [u8], at: usize) {
        for (to, from) in out.iter_mut().skip(at).zip(self) {
            *to = *from;
        }
    }
    #[inline]
    fn get(from: &[u8], at: usize) -> Self {
        let mut value = [0; N];
        for (to, from) in value.iter_mut().zip(from.iter().skip(at)) {
            *to = *from;
        }
        value
    }
}

/// A struct that crosses the border between user space and the kernel.
pub trait Abi: Copy + Default {
    /// Its size in bytes.
    const SIZE: usize;
    /// The value whose bytes are all zero, padding included.
    const ZERO: Self;
    /// Writes the struct to the front of `out`; what does not fit is left out.
    fn write_to(&self, out: &mut [u8]);
    /// Reads the struct from the front of `from`; what is not there reads as zero.
    fn read_from(from: &[u8]) -> Self;
}

/// Why the bytes of a size-versioned struct were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Shorter than the first version ever published. The kernel answers `EINVAL`.
    TooSmall,
    /// Longer than this side knows, and the unknown part is not zero. The kernel answers `E2BIG`.
    UnknownBytes,
}

/// A struct that begins with its own size, as the caller knows it, and may grow at its end.
///
/// The kernel reads the first four bytes (`size`), then `size` bytes, and decodes them; it
/// writes back the first `min(size, Self::SIZE)` bytes of its answer.
pub trait Versioned: Abi {
    /// The size of the first version; a smaller `size` is refused.
    const FIRST_SIZE: usize;

    /// Decodes what a caller of another version sent: missing fields are zero, unknown ones
    /// must be.
    ///
    /// # Errors
    ///
    /// See [`Mismatch`].
    fn from_versioned(bytes: &[u8]) -> Result<Self, Mismatch> {
        if bytes.len() < Self::FIRST_SIZE {
            return Err(Mismatch::TooSmall);
        }
        if bytes.iter().skip(Self::SIZE).any(|byte| *byte != 0) {
            return Err(Mismatch::UnknownBytes);
        }
        Ok(Self::read_from(bytes))
    }
}

/// Defines a struct of the interface.
///
/// Doc comments become the comments of the C header. A field whose name begins with `_` is
/// padding: it is not in the header, where the C compiler puts the same hole by itself.
/// After the C name comes the size in bytes, checked; `versioned` implements [`Versioned`].
#[macro_export]
macro_rules! abi_struct {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident as $c_name:ident, $size:literal $(, versioned $first:literal)? {
            $( $(#[doc = $field_doc:literal])* pub $field:ident: $ty:ty, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $( $(#[doc = $field_doc])* pub $field: $ty, )* }

        const _: () = {
            assert!(size_of::<$name>() == $size, "the size is part of the interface");
            assert!(0 $( + size_of::<$ty>() )* == $size, "padding must be a field");
        };

        impl $name {
            /// The size in bytes.
            pub const SIZE: usize = $size;
            /// The value whose bytes are all zero.
            pub const ZERO: Self = Self { $( $field: <$ty as $crate::Field>::ZERO, )* };

            /// The bytes of the struct, as a C program has them in memory.
            #[must_use]
            #[inline]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut out = [0; $size];
                $crate::Abi::write_to(self, &mut out);
                out
            }

            /// The struct whose bytes these are.
            #[must_use]
            #[inline]
            pub fn from_bytes(bytes: &[u8; $size]) -> Self {
                $crate::Abi::read_from(bytes)
            }
        }

        impl Default for $name {
            fn default() -> Self { Self::ZERO }
        }

        impl $crate::Abi for $name {
            const SIZE: usize = $size;
            const ZERO: Self = $name::ZERO;
            #[inline]
            fn write_to(&self, out: &mut [u8]) {
                $( $crate::Field::put(&self.$field, out, core::mem::offset_of!($name, $field)); )*
            }
            #[inline]
            fn read_from(from: &[u8]) -> Self {
                Self { $( $field: $crate::Field::get(from, core::mem::offset_of!($name, $field)), )* }
            }
        }

        $(
            impl $crate::Versioned for $name { const FIRST_SIZE: usize = $first; }
        )?

        #[cfg(feature = "describe")]
        impl $name {
            /// What the C header says of this struct.
            pub const DESCRIPTION: $crate::describe::Struct = $crate::describe::Struct {
                c_name: stringify!($c_name),
                doc: &[$($doc),*],
                size: $size,
                fields: &[$( $crate::describe::StructField {
                    name: stringify!($field),
                    doc: &[$($field_doc),*],
                    offset: core::mem::offset_of!($name, $field),
                    size: size_of::<$ty>(),
                    c_type: <$ty as $crate::Field>::C_TYPE,
                    c_array: <$ty as $crate::Field>::C_ARRAY,
                }, )*],
            };
        }
    };
}

/// Defines numbers of the interface, with their description for the C header in `$table`.
macro_rules! abi_numbers {
    (
        $(#[doc = $table_doc:literal])*
        table $table:ident;
        $( $(#[doc = $doc:literal])* pub const $name:ident: $ty:ident = $value:expr; )*
    ) => {
        $( $(#[doc = $doc])* pub const $name: $ty = $value; )*

        $(#[doc = $table_doc])*
        #[cfg(feature = "describe")]
        pub const $table: $crate::describe::Numbers = $crate::describe::Numbers {
            doc: &[$($table_doc),*],
            numbers: &[$( $crate::describe::Number {
                name: stringify!($name),
                doc: &[$($doc),*],
                value: $crate::describe::Value::$ty($name),
            }, )*],
        };
    };
}

/// Defines ioctl numbers, with their description for the C header in `$table`.
macro_rules! abi_ioctls {
    (
        $(#[doc = $table_doc:literal])*
        table $table:ident;
        $( $(#[doc = $doc:literal])*
           pub const $name:ident = $make:ident($ty:literal, $nr:literal, $arg:ident); )*
    ) => {
        $( $(#[doc = $doc])* pub const $name: u32 = $crate::ioc::$make::<$arg>($ty, $nr); )*

        $(#[doc = $table_doc])*
        #[cfg(feature = "describe")]
        pub const $table: $crate::describe::Ioctls = $crate::describe::Ioctls {
            doc: &[$($table_doc),*],
            ioctls: &[$( $crate::describe::Ioctl {
                name: stringify!($name),
                doc: &[$($doc),*],
                make: stringify!($make),
                ty: $ty,
                nr: $nr,
                argument: $arg::DESCRIPTION.c_name,
                value: $name,
            }, )*],
        };
    };
}
