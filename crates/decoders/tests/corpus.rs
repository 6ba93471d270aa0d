// SPDX-License-Identifier: GPL-2.0-only
//! The corpora of `fuzz/corpus` through the decoders: as they are, cut off at each byte, and with changes.
//!
//! The same inputs in every run. What `make fuzz` finds goes into the corpus, and so is tried here from then on.

use std::fs;
use std::path::Path;

use blksnap_decoders::{extents, image, manifest, records, texts, uapi};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The files of a decoder's corpus, by their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
        .iter()
        .map(|file| fs::read(file).expect("a file"))
        .collect()
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    /// A byte becomes another.
    Byte(Index, u8),
    /// One bit of it.
    Bit(Index, u8),
    /// An aligned word of 8 bytes becomes a number at a limit of some width, of either byte order.
    Word(Index, u64, bool),
    /// What is between two places goes.
    Drop(Index, Index),
    /// What is between two places comes once more.
    Double(Index, Index),
    /// The rest is that of another file.
    Splice(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let limit = prop_oneof![
        (0_u32..64).prop_map(|shift| 1 << shift),
        (0_u32..64).prop_map(|shift| (1_u64 << shift) - 1),
        (0_u32..64).prop_map(|shift| 0_u64.wrapping_sub(1 << shift)),
    ];
    prop_oneof![
        any::<(Index, u8)>().prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (any::<Index>(), limit, any::<bool>())
            .prop_map(|(at, word, big)| Change::Word(at, word, big)),
        any::<(Index, Index)>().prop_map(|(from, to)| Change::Drop(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Change::Double(from, to)),
        any::<(Index, Index)>().prop_map(|(file, at)| Change::Splice(file, at)),
    ]
}

fn range(bytes: &[u8], one: Index, other: Index) -> std::ops::Range<usize> {
    let (one, other) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
    one.min(other)..one.max(other)
}

fn apply(bytes: &mut Vec<u8>, change: &Change, files: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    match *change {
        Change::Byte(at, byte) => *at.get_mut(bytes) = byte,
        Change::Bit(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
        Change::Word(at, word, big) => {
            let (words, _) = bytes.as_chunks_mut::<8>();
            if !words.is_empty() {
                *at.get_mut(words) = if big {
                    word.to_be_bytes()
                } else {
                    word.to_le_bytes()
                };
            }
        }
        Change::Drop(from, to) => drop(bytes.drain(range(bytes, from, to))),
        Change::Double(from, to) => {
            let range = range(bytes, from, to);
            let (end, more) = (range.end, bytes[range].to_vec());
            bytes.splice(end..end, more);
        }
        Change::Splice(file, at) => {
            let file = file.get(files);
            let at = at.index(bytes.len());
            bytes.truncate(at);
            bytes.extend_from_slice(file.get(at..).unwrap_or_default());
        }
    }
}

/// Every file, every beginning of it, and so many changed ones.
fn replay(name: &str, cases: u32, check: fn(&[u8])) {
    let files = corpus(name);
    for file in &files {
        (0..=file.len()).for_each(|length| check(&file[..length]));
    }
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let changes = prop::collection::vec(change(), 1..6);
    let changed = (any::<Index>(), changes).prop_map(|(file, changes)| {
        let mut bytes = file.get(&files).clone();
        changes
            .iter()
            .for_each(|change| apply(&mut bytes, change, &files));
        bytes
    });
    TestRunner::new_with_rng(config, random)
        .run(&changed, |bytes| {
            check(&bytes);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn sets_of_ranges() {
    replay("extents", 5000, extents::check);
}

#[test]
fn images() {
    replay("image", 3000, image::check);
}

#[test]
fn manifests() {
    replay("manifest", 5000, manifest::check);
}

#[test]
fn records_of_free_space() {
    replay("records", 10_000, records::check);
}

#[test]
fn texts_from_outside() {
    replay("texts", 10_000, texts::check);
}

#[test]
fn arguments_of_ioctls() {
    replay("uapi", 5000, uapi::check);
}
