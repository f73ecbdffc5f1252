//! Handles: numbers that no object has twice, so that a handle used after its object's end is known as such.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::status::{Outcome, Status};

/// An opaque pointer of the C interface. Never followed.
pub type Handle = usize;

// Outside of every mapped page: a program that follows a handle should crash there and then.
static NEXT: AtomicUsize = AtomicUsize::new(0x0dea_0000_0000_1000);

/// A handle that was never given out before.
pub fn fresh() -> Handle {
    NEXT.fetch_add(16, Ordering::Relaxed)
}

/// The live objects of one kind.
pub struct Table<T: ?Sized> {
    kind: &'static str,
    live: Mutex<Option<HashMap<Handle, Arc<T>>>>,
}

impl<T: ?Sized> Table<T> {
    /// No objects yet; `kind` is what failures call them.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, live: Mutex::new(None) }
    }

    /// Makes an object findable.
    pub fn insert(&self, handle: Handle, object: Arc<T>) -> Handle {
        lock(&self.live).get_or_insert_default().insert(handle, object);
        handle
    }

    /// The object of a handle.
    pub fn get(&self, handle: Handle) -> Outcome<Arc<T>> {
        lock(&self.live).as_ref().and_then(|live| live.get(&handle).cloned()).ok_or_else(|| self.unknown(handle))
    }

    /// Ends an object's findability.
    pub fn remove(&self, handle: Handle) -> Outcome<Arc<T>> {
        lock(&self.live).as_mut().and_then(|live| live.remove(&handle)).ok_or_else(|| self.unknown(handle))
    }

    /// Ends all objects that are asked to go.
    pub fn remove_where(&self, goes: impl Fn(&T) -> bool) {
        if let Some(live) = lock(&self.live).as_mut() {
            live.retain(|_, object| !goes(object));
        }
    }

    fn unknown(&self, handle: Handle) -> super::status::Failure {
        Status::InvalidHandle.because(format!("{handle:#x} is no live {}", self.kind))
    }
}

/// Locks, also after a panic elsewhere: what a panic of ours left behind is still the best answer there is.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
