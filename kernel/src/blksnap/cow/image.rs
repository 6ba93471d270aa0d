// SPDX-License-Identifier: GPL-2.0-only

//! The image's block device, seen from the submitter: reads of what nobody has written since the take go straight to the
//! origin and are looked at again when they come back; all else goes to the worker.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use kern::bio::{Bio, Op};
use kern::disk::Serve;
use kern::errno::{Errno, Result};
use kern::io::{forward, Forward};
use kern::worker::List;

use super::Cow;

impl Serve for Cow {
    fn serve(self: &Arc<Self>, bio: Bio) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        if self.failure.load(Ordering::Acquire) != 0 {
            return self.end_request(bio, Err(Errno::EIO));
        }
        if bio.sectors() == 0 {
            // A flush: nothing of an image outlives a crash.
            return self.end_request(bio, Ok(()));
        }
        if bio.op() == Op::Read {
            self.image_reads.fetch_add(1, Ordering::Relaxed);
            if self.saved.untouched(self.range(&bio)) {
                let Ok(origin) = self.origin() else { return self.end_request(bio, Err(Errno::EIO)) };
                let Err(bio) = forward(&self.pool, &origin, bio, self) else { return };
                return self.worker.push(List::Requests, bio);
            }
        }
        self.worker.push(List::Requests, bio);
    }
}

impl Forward for Cow {
    fn forwarded(&self, bio: Bio, result: Result) {
        // Still untouched now: so no write had passed when the data was read. A failure makes everything touched.
        if result.is_ok() && self.saved.untouched(self.range(&bio)) {
            self.end_request(bio, Ok(()));
        } else {
            self.worker.push(List::Requests, bio);
        }
    }
}

impl Cow {
    pub(super) fn end_request(&self, bio: Bio, result: Result) {
        bio.end(result);
        self.leave(&self.requests);
    }
}
