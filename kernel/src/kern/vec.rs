// SPDX-License-Identifier: GPL-2.0-only

//! Growing a `Vec` where the infallible methods do not exist.

use rust_alloc::vec::Vec;

/// Fallible growth.
pub trait TryPush<T> {
    /// Appends, or gives the value back when there is no memory. May sleep when it grows.
    fn try_push(&mut self, value: T) -> Result<(), T>;
}

impl<T> TryPush<T> for Vec<T> {
    fn try_push(&mut self, value: T) -> Result<(), T> {
        if self.len() == self.capacity() && self.try_reserve(1).is_err() {
            return Err(value);
        }
        let len = self.len();
        match self.spare_capacity_mut().first_mut() {
            Some(slot) => {
                slot.write(value);
                // SAFETY: the capacity is above `len` and the slot at `len` was just written.
                unsafe { self.set_len(len + 1) };
                Ok(())
            }
            None => Err(value),
        }
    }
}
