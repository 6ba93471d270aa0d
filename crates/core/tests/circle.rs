// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Storages on devices that are copied themselves, against walking all ways by hand.

use blksnap_core::store::leads_back;
use proptest::prelude::*;

/// Whether one comes from `at` to `home` within `steps` steps.
fn reaches(writes_to: &[(usize, usize)], at: usize, home: usize, steps: usize) -> bool {
    steps > 0
        && writes_to
            .iter()
            .filter(|(from, _)| *from == at)
            .any(|&(_, to)| to == home || reaches(writes_to, to, home, steps - 1))
}

proptest! {
    #[test]
    fn a_way_back_is_found(devices in 1_usize..6, pairs in prop::collection::vec((0_usize..6, 0_usize..6), 0..7)) {
        let known: Vec<_> = pairs.iter().copied().filter(|(from, to)| *from < devices && *to < devices).collect();
        let expected = (0..devices).any(|device| reaches(&known, device, device, devices));
        prop_assert_eq!(leads_back(devices, &pairs), Ok(expected));
    }
}

#[test]
fn chains_end_and_circles_do_not() {
    assert_eq!(leads_back(0, &[]), Ok(false));
    assert_eq!(leads_back(3, &[(0, 1), (1, 2), (0, 2)]), Ok(false));
    assert_eq!(leads_back(2, &[(0, 1), (1, 0)]), Ok(true));
    assert_eq!(leads_back(4, &[(0, 1), (1, 2), (2, 3), (3, 1)]), Ok(true));
    assert_eq!(leads_back(1, &[(0, 0)]), Ok(true));
}
