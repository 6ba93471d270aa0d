// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client of the older interface, on [`blksnap::upstream`]:
//!
//! ```text
//! upstream take DEVICE STORE       attaches, takes a snapshot; says its id and its image
//! upstream mark DEVICE FIRST COUNT marks sectors as changed
//! upstream map DEVICE FILE BASE    writes the byte map to a file; says what changed since take BASE, in bytes: OFFSET LENGTH
//! upstream wait ID MILLISECONDS    says the next event
//! upstream end ID                  destroys the snapshot
//! ```

use std::error::Error;
use std::time::Duration;

use blksnap::upstream::{Control, Sectors, Tracked};
use blksnap::{Blksnap, SnapshotId};

fn main() -> Result<(), Box<dyn Error>> {
    let blksnap = Blksnap::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["take", device, store] => {
            let device = blksnap.device(device)?;
            device.ensure_attached()?;
            let (tracked, control) = (Tracked::new(&device), Control::open(&blksnap)?);
            let id = control.create(store, None)?;
            tracked.add(id)?;
            control.take(id)?;
            let image = tracked.image()?.ok_or("it has no image")?;
            println!("{id} {}", image.display());
        }
        ["mark", device, first, count] => {
            let sectors = Sectors {
                first: first.parse()?,
                count: count.parse()?,
            };
            Tracked::new(&blksnap.device(device)?).mark(&[sectors])?;
        }
        ["map", device, file, base] => {
            let map = Tracked::new(&blksnap.device(device)?).map()?;
            std::fs::write(file, map.bytes())?;
            for extent in map.changed_since(map.info().generation, base.parse()?)? {
                println!("{} {}", extent.offset, extent.length);
            }
        }
        ["wait", id, milliseconds] => {
            let id: SnapshotId = id.parse()?;
            let timeout = Duration::from_millis(milliseconds.parse()?);
            match Control::open(&blksnap)?.wait_event(id, timeout)? {
                Some(happened) => println!("{:?}", happened.event),
                None => println!("nothing"),
            }
        }
        ["end", id] => Control::open(&blksnap)?.destroy(id.parse()?)?,
        _ => return Err("take DEVICE STORE, mark DEVICE FIRST COUNT, map DEVICE FILE BASE, wait ID MILLISECONDS, or end ID".into()),
    }
    Ok(())
}
