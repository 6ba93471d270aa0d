// SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT
//! Writes the C headers under `include/` from the tables, or with `--check` says whether they are stale.
//!
//! ```text
//! cargo run -p blksnap_uapi --example header [-- --check]
//! ```

use std::path::Path;
use std::process::ExitCode;

use blksnap_uapi::describe::HEADERS;

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for header in HEADERS {
        let mut text = String::new();
        header.write(&mut text).expect("a String takes everything");
        let path = root.join(header.path);
        let current = std::fs::read_to_string(&path).unwrap_or_default();
        if current == text {
            continue;
        }
        if check {
            eprintln!(
                "{} is stale: run `cargo run -p blksnap_uapi --example header`",
                path.display()
            );
            return ExitCode::FAILURE;
        }
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("wrote {}", path.display());
    }
    ExitCode::SUCCESS
}
