// SPDX-License-Identifier: GPL-2.0-only
//! Attachments come and go while bios look for theirs, with the kernel's own table.

use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::sync::Arc;
use loom::thread;

use crate::hook::dev::Disk;
use crate::hook::table::{Link, Linked, Table};
use crate::sync::Rcu;

const DISK: Disk = Disk(1);

/// An attachment: its memory is given back when it is dead.
struct Element {
    name: u32,
    link: Link<Element>,
    dead: AtomicBool,
}

impl Linked for Element {
    fn link(&self) -> &Link<Self> {
        &self.link
    }

    fn disk(&self) -> Disk {
        DISK
    }
}

type Owned = rust_alloc::sync::Arc<Element>;

fn element(name: u32) -> Owned {
    Owned::new(Element {
        name,
        link: Link::new(),
        dead: AtomicBool::new(false),
    })
}

/// The names that a bio finds, none of which is dead.
fn find(table: &Table<Element>, rcu: &Rcu) -> Vec<u32> {
    let at = rcu.read();
    let mut found = Vec::new();
    let mut next = table.first(&at, DISK);
    while let Some(element) = next {
        assert!(
            !element.dead.load(Relaxed),
            "element {} was freed",
            element.name
        );
        found.push(element.name);
        next = Table::next(&at, element);
    }
    found
}

/// While a bio looks, the first of two is removed, and a third is added: what is there all the time is found, and what is freed is not.
fn come_and_go(grace: bool) {
    loom::model(move || {
        let table = Arc::new(Table::new());
        let rcu = Arc::new(Rcu::new());
        let [first, second, third] = [1, 2, 3].map(element);
        table.insert(first.clone());
        table.insert(second.clone());
        let bio = {
            let (table, rcu) = (table.clone(), rcu.clone());
            thread::spawn(move || {
                let found = find(&table, &rcu);
                assert!(found.contains(&2), "{found:?} lacks the one that stays");
                assert!(
                    found.is_sorted(),
                    "{found:?} is not in the order of attaching"
                );
            })
        };
        let removed = table.remove(&first).unwrap();
        table.insert(third.clone());
        if grace {
            rcu.grace();
        }
        removed.release().dead.store(true, Relaxed);
        bio.join().unwrap();
        assert_eq!(find(&table, &rcu), [2, 3]);
        // The next world begins with an empty list.
        for element in [second, third] {
            drop(table.remove(&element).unwrap().release());
        }
    });
}

#[test]
fn bios_find_their_attachments() {
    come_and_go(true);
}

#[test]
#[should_panic = "was freed"]
fn defect_no_grace_period() {
    come_and_go(false);
}

/// What is found was whole before it could be found.
#[test]
fn what_is_found_is_whole() {
    loom::model(|| {
        let table = Arc::new(Table::new());
        let rcu = Arc::new(Rcu::new());
        let fresh = element(7);
        fresh.dead.store(true, Relaxed);
        let bio = {
            let (table, rcu) = (table.clone(), rcu.clone());
            thread::spawn(move || find(&table, &rcu).len())
        };
        fresh.dead.store(false, Relaxed);
        table.insert(fresh.clone());
        assert!(bio.join().unwrap() <= 1);
        drop(table.remove(&fresh).unwrap().release());
    });
}
