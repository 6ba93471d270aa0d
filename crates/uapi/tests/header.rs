// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! The committed C headers are current, and a C compiler reads them as we do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use blksnap_uapi::describe::{Header, Item, Struct, Value, HEADERS};

fn committed(header: &Header) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(header.path)
}

#[test]
fn headers_are_current() {
    for header in HEADERS {
        let mut text = String::new();
        header.write(&mut text).unwrap();
        let current = std::fs::read_to_string(committed(header)).unwrap();
        assert_eq!(
            current, text,
            "{} is stale: run `cargo run -p blksnap_uapi --example header`",
            header.path
        );
    }
}

/// One assertion a fact: sizes, offsets and sizes of fields, numbers, ioctls.
fn facts(out: &mut String, item: &Item) -> usize {
    let mut said = 0;
    let mut fact = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "_Static_assert({text}, \"differs\");").unwrap();
        said += 1;
    };
    match item {
        Item::Line(_) => {}
        Item::Numbers(numbers) => {
            for number in numbers.numbers {
                match number.value {
                    Value::u32(value) => fact(format_args!("{} == {value}U", number.name)),
                    Value::u64(value) => fact(format_args!("{} == {value}ULL", number.name)),
                    Value::usize(value) => fact(format_args!("{} == {value}UL", number.name)),
                }
            }
        }
        Item::Struct(Struct {
            c_name,
            size,
            fields,
            ..
        }) => {
            fact(format_args!("sizeof(struct {c_name}) == {size}"));
            for field in fields.iter().filter(|field| !field.is_padding()) {
                let (name, offset, size) = (field.name, field.offset, field.size);
                fact(format_args!(
                    "offsetof(struct {c_name}, {name}) == {offset}"
                ));
                fact(format_args!(
                    "sizeof(((struct {c_name} *)0)->{name}) == {size}"
                ));
            }
        }
        Item::Ioctls(ioctls) => {
            for ioctl in ioctls.ioctls {
                fact(format_args!("{} == {:#x}U", ioctl.name, ioctl.value));
            }
        }
    }
    said
}

#[test]
fn a_c_compiler_agrees() {
    let mut source = String::from("#include <stddef.h>\n");
    let mut said = 0;
    for header in HEADERS {
        writeln!(source, "#include \"{}\"", committed(header).display()).unwrap();
        said += header
            .items
            .iter()
            .map(|item| facts(&mut source, item))
            .sum::<usize>();
    }
    assert!(said > 200, "only {said} facts");
    compile(&source, true);
    // The check itself must be able to fail.
    compile(
        &source.replace(
            "sizeof(struct blksnap_cbtinfo) == 40",
            "sizeof(struct blksnap_cbtinfo) == 33",
        ),
        false,
    );
}

fn compile(source: &str, expect: bool) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("facts-{expect}.c"));
    std::fs::write(&file, source).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("cannot run the C compiler {compiler:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), expect, "{said}");
}
