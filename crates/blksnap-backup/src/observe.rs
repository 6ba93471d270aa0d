// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller sees of work that takes long, and how it ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blksnap::{Error, ErrorKind, Result};

/// Hears of the work. Called from several threads.
pub trait Observer: Sync {
    /// Something worth saying.
    fn note(&self, text: &str);
    /// Something that may be wrong.
    fn warn(&self, text: &str);
    /// Work of a known size begins.
    fn task(&self, label: &str, total_bytes: u64) -> Box<dyn Task>;
}

/// Hears how far a piece of work got; dropped when it ends.
pub trait Task: Send + Sync {
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn note(&self, _text: &str) {}
    fn warn(&self, _text: &str) {}
    fn task(&self, _label: &str, _total_bytes: u64) -> Box<dyn Task> {
        Box::new(Self)
    }
}

impl Task for Silent {
    fn advance(&self, _bytes: u64) {}
}

/// Ends work from outside: a signal's handler sets it.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    outer: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// Asks the work to end.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// For a part of the work: ended with the whole, or alone.
    #[must_use]
    pub(crate) fn part(&self) -> Self {
        Self {
            flag: Arc::default(),
            outer: Some(Arc::clone(&self.flag)),
        }
    }

    /// An error once the work was asked to end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`].
    pub fn check(&self) -> Result<()> {
        let set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        if set(&self.flag) || self.outer.as_ref().is_some_and(set) {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "interrupted; nothing incomplete was left behind",
            ));
        }
        Ok(())
    }
}
