// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! The interface described as tables, and the C headers written from them.
//!
//! `cargo run -p blksnap_uapi --example header` writes both headers; the test `header`
//! compares them with what is committed and with what a C compiler makes of them.

use core::fmt::{self, Write};

use crate::{control, ctl, extended, filter};

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct StructField {
    /// Its name; padding begins with `_`.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static [&'static str],
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its bytes.
    pub size: usize,
    /// The C element type.
    pub c_type: &'static str,
    /// Elements, when it is an array.
    pub c_array: Option<usize>,
}

/// A struct.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// Its C tag.
    pub c_name: &'static str,
    /// Its doc comment.
    pub doc: &'static [&'static str],
    /// Its bytes.
    pub size: usize,
    /// Its fields in order, padding included.
    pub fields: &'static [StructField],
}

/// The value of a number, named after its Rust type.
#[derive(Clone, Copy, Debug)]
#[expect(
    non_camel_case_types,
    reason = "the macro makes the variant from the type's name"
)]
pub enum Value {
    /// A 32-bit number.
    u32(u32),
    /// A 64-bit number.
    u64(u64),
    /// A length.
    usize(usize),
}

/// A number with a name.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its name, the same in C and Rust.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static [&'static str],
    /// Its value.
    pub value: Value,
}

/// Numbers that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// What they are.
    pub doc: &'static [&'static str],
    /// The numbers.
    pub numbers: &'static [Number],
}

/// An ioctl.
#[derive(Clone, Copy, Debug)]
pub struct Ioctl {
    /// Its name, the same in C and Rust.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static [&'static str],
    /// `ior`, `iow` or `iowr`.
    pub make: &'static str,
    /// Its type.
    pub ty: u8,
    /// Its number.
    pub nr: u8,
    /// The C tag of its argument.
    pub argument: &'static str,
    /// The whole number.
    pub value: u32,
}

/// Ioctls on one kind of descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Ioctls {
    /// What they are issued on.
    pub doc: &'static [&'static str],
    /// The ioctls.
    pub ioctls: &'static [Ioctl],
}

/// A part of a header, in order.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A line of C as it stands.
    Line(&'static str),
    /// Numbers.
    Numbers(&'static Numbers),
    /// A struct.
    Struct(&'static Struct),
    /// Ioctls.
    Ioctls(&'static Ioctls),
}

/// A C header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its path under this crate.
    pub path: &'static str,
    /// The macro that guards it.
    pub guard: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Its parts.
    pub items: &'static [Item],
}

/// `linux/blk-filter.h`.
pub const BLK_FILTER_H: Header = Header {
    path: "include/uapi/linux/blk-filter.h",
    guard: "_UAPI_LINUX_BLK_FILTER_H",
    title: "Attach a filter to a block device, detach it, talk to it.",
    items: &[
        Item::Numbers(&filter::NUMBERS),
        Item::Struct(&filter::BlkfilterAttach::DESCRIPTION),
        Item::Struct(&filter::BlkfilterDetach::DESCRIPTION),
        Item::Struct(&filter::BlkfilterCtl::DESCRIPTION),
        Item::Ioctls(&filter::IOCTLS),
    ],
};

/// `linux/blksnap.h`.
pub const BLKSNAP_H: Header = Header {
    path: "include/uapi/linux/blksnap.h",
    guard: "_UAPI_LINUX_BLKSNAP_H",
    title: "Snapshots and changed block tracking of any block device.",
    items: &[
        Item::Line("#define BLKSNAP_FILTER_NAME \"blksnap\""),
        Item::Line("#define BLKSNAP_CTL \"blksnap-control\""),
        Item::Line("#define BLKSNAP 'V'"),
        Item::Numbers(&ctl::NUMBERS),
        Item::Struct(&ctl::CbtInfo::DESCRIPTION),
        Item::Struct(&ctl::CbtMap::DESCRIPTION),
        Item::Struct(&ctl::SectorRange::DESCRIPTION),
        Item::Struct(&ctl::CbtDirty::DESCRIPTION),
        Item::Struct(&ctl::SnapshotAdd::DESCRIPTION),
        Item::Struct(&ctl::SnapshotInfo::DESCRIPTION),
        Item::Struct(&control::Version::DESCRIPTION),
        Item::Struct(&control::SnapshotCreate::DESCRIPTION),
        Item::Struct(&control::SnapshotDestroy::DESCRIPTION),
        Item::Struct(&control::SnapshotTake::DESCRIPTION),
        Item::Struct(&control::SnapshotCollect::DESCRIPTION),
        Item::Struct(&control::SnapshotEvent::DESCRIPTION),
        Item::Numbers(&control::NUMBERS),
        Item::Struct(&control::EventCorrupted::DESCRIPTION),
        Item::Struct(&control::EventNoSpace::DESCRIPTION),
        Item::Ioctls(&control::IOCTLS),
        Item::Numbers(&extended::NUMBERS),
        Item::Struct(&extended::Features::DESCRIPTION),
        Item::Struct(&extended::SnapshotOpen::DESCRIPTION),
        Item::Struct(&extended::StoreAdd::DESCRIPTION),
        Item::Struct(&extended::SnapshotStat::DESCRIPTION),
        Item::Struct(&extended::EventLowSpace::DESCRIPTION),
        Item::Struct(&extended::Members::DESCRIPTION),
        Item::Struct(&extended::Member::DESCRIPTION),
        Item::Struct(&extended::Devices::DESCRIPTION),
        Item::Struct(&extended::Device::DESCRIPTION),
        Item::Struct(&extended::CbtState::DESCRIPTION),
        Item::Struct(&extended::Extent::DESCRIPTION),
        Item::Struct(&extended::CbtExtents::DESCRIPTION),
        Item::Struct(&extended::ImageStat::DESCRIPTION),
        Item::Struct(&extended::AttachOptions::DESCRIPTION),
        Item::Struct(&extended::Add::DESCRIPTION),
        Item::Struct(&extended::Free::DESCRIPTION),
        Item::Struct(&extended::Consumer::DESCRIPTION),
        Item::Ioctls(&extended::IOCTLS),
    ],
};

/// All headers.
pub const HEADERS: [&Header; 2] = [&BLK_FILTER_H, &BLKSNAP_H];

impl Header {
    /// Writes the header as C.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(
            out,
            "/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */"
        )?;
        writeln!(out, "/*\n * {}\n *", self.title)?;
        writeln!(
            out,
            " * Generated from crates/uapi; do not edit. To make it anew:"
        )?;
        writeln!(out, " *   cargo run -p blksnap_uapi --example header\n */")?;
        writeln!(out, "#ifndef {0}\n#define {0}\n", self.guard)?;
        writeln!(out, "#include <linux/ioctl.h>\n#include <linux/types.h>\n")?;
        let mut after_line = false;
        for item in self.items {
            if after_line && !matches!(item, Item::Line(_)) {
                writeln!(out)?;
            }
            after_line = matches!(item, Item::Line(_));
            match item {
                Item::Line(line) => writeln!(out, "{line}")?,
                Item::Numbers(numbers) => numbers.write(out)?,
                Item::Struct(described) => described.write(out)?,
                Item::Ioctls(ioctls) => ioctls.write(out)?,
            }
        }
        writeln!(out, "#endif /* {} */", self.guard)
    }
}

fn comment(out: &mut dyn Write, indent: &str, doc: &[&str]) -> fmt::Result {
    match doc {
        [] => Ok(()),
        [line] => writeln!(out, "{indent}/* {} */", line.trim()),
        lines => {
            writeln!(out, "{indent}/*")?;
            for line in lines {
                writeln!(out, "{indent} * {}", line.trim())?;
            }
            writeln!(out, "{indent} */")
        }
    }
}

impl Numbers {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        comment(out, "", self.doc)?;
        for number in self.numbers {
            comment(out, "", number.doc)?;
            match number.value {
                Value::u32(value) => writeln!(out, "#define {} {value}", number.name)?,
                Value::u64(value) => writeln!(out, "#define {} {value}ULL", number.name)?,
                Value::usize(value) => writeln!(out, "#define {} {value}", number.name)?,
            }
        }
        writeln!(out)
    }
}

impl Struct {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        comment(out, "", self.doc)?;
        writeln!(out, "struct {} {{", self.c_name)?;
        for field in self.fields.iter().filter(|field| !field.is_padding()) {
            comment(out, "\t", field.doc)?;
            match field.c_array {
                Some(length) => writeln!(out, "\t{} {}[{length}];", field.c_type, field.name)?,
                None => writeln!(out, "\t{} {};", field.c_type, field.name)?,
            }
        }
        writeln!(out, "}};\n")
    }
}

impl StructField {
    /// Whether this is a hole that the C compiler makes by itself.
    #[must_use]
    pub fn is_padding(&self) -> bool {
        self.name.starts_with('_')
    }
}

impl Ioctls {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        comment(out, "", self.doc)?;
        for ioctl in self.ioctls {
            comment(out, "", ioctl.doc)?;
            let make = match ioctl.make {
                "ior" => "_IOR",
                "iow" => "_IOW",
                _ => "_IOWR",
            };
            write!(out, "#define {} {make}(", ioctl.name)?;
            match ioctl.ty {
                b'V' => write!(out, "BLKSNAP")?,
                other => write!(out, "{other:#x}")?,
            }
            writeln!(out, ", {}, struct {})", ioctl.nr, ioctl.argument)?;
        }
        writeln!(out)
    }
}
