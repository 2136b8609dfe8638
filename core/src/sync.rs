//! The locks of what several tasks share; shuttle's where its test explores their interleavings.

#[cfg(feature = "shuttle")]
use shuttle::sync as base;
#[cfg(not(feature = "shuttle"))]
use std::sync as base;

pub(crate) use base::MutexGuard;

/// A lock that a panic elsewhere does not make useless: one connection's bug ends that connection.
pub(crate) struct Mutex<T>(base::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(base::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
