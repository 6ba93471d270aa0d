// SPDX-License-Identifier: GPL-2.0-only
//! A failing seed becomes a short list of steps, told in words.

use blksnap_sim::{Defect, Failure, check, replay, schedule};

/// The first world in which `defect` shows.
fn found(defect: Defect) -> Failure {
    let fails = |seed| {
        let (mut config, steps) = schedule(seed, 2000);
        config.defect = Some(defect);
        check(seed, config, steps).err()
    };
    *(0..200).find_map(fails).expect("the defect is found")
}

/// What was found breaks `promise`, is short, can be repeated, needs each of its steps, and says in words what happened: each of `words`
/// is in it, in this order.
fn is_told(failure: &Failure, promise: &str, words: &[&str]) {
    let told = failure.trace.join("\n");
    assert!(failure.what.starts_with(promise), "{}", failure.what);
    assert!(
        failure.steps.len() <= 12,
        "{} steps:\n{told}",
        failure.steps.len()
    );
    assert!(
        failure.trace.len() <= 30,
        "{} lines:\n{told}",
        failure.trace.len()
    );

    let again = replay(&failure.config, &failure.steps);
    assert_eq!(again, (Err(failure.what.clone()), failure.trace.clone()));
    for left_out in 0..failure.steps.len() {
        let mut fewer = failure.steps.clone();
        fewer.remove(left_out);
        let (result, _) = replay(&failure.config, &fewer);
        assert_eq!(result, Ok(()), "step {left_out} is not needed:\n{told}");
    }

    let mut rest = told.as_str();
    for word in words {
        let at = rest.find(word);
        let at = at.unwrap_or_else(|| panic!("`{word}` is not told, or too early:\n{told}"));
        rest = &rest[at + word.len()..];
    }
}

/// Each of these is seen at once, and not only when all has come to an end.
#[test]
fn a_write_that_is_not_marked() {
    let words = ["arrives", "passes"];
    is_told(&found(Defect::Unmarked), "P3: sector", &words);
}

#[test]
fn a_write_that_is_not_copied() {
    let words = ["is taken", "arrives", "passes"];
    is_told(&found(Defect::Uncopied), "P1: snapshot", &words);
}

#[test]
fn a_write_that_nobody_goes_on_with() {
    let words = ["is taken", "arrives", "is parked"];
    is_told(&found(Defect::Forgotten), "P2: nobody goes on", &words);
}
