// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A cell that is filled once, while others look.

/// A place for one value, empty at first, filled at most once, read without a lock.
///
/// What `set` put in is seen whole by each `get` that sees it (release and acquire). The kernel has an atomic pointer for it,
/// user space `std::sync::OnceLock`.
pub trait LazyCell<T>: Default + Send + Sync {
    /// The value, once there is one. Any context.
    fn get(&self) -> Option<&T>;

    /// Puts a value in.
    ///
    /// # Errors
    ///
    /// Gives `value` back if there is one already, or no memory to put it in.
    fn set(&self, value: T) -> Result<(), T>;
}

#[cfg(feature = "std")]
impl<T: Send + Sync> LazyCell<T> for std::sync::OnceLock<T> {
    fn get(&self) -> Option<&T> {
        self.get()
    }

    fn set(&self, value: T) -> Result<(), T> {
        self.set(value)
    }
}
