//! Memory that is used again: fresh pages cost more than the arithmetic that fills them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use super::Real;

/// Buffers that no matrix uses at the moment.
#[derive(Default)]
pub(super) struct Shelf<T>(Mutex<Vec<Vec<T>>>);

/// A forward pass holds about a dozen sizes at a time; what is beyond that is of some earlier shape.
const SHELVED: usize = 24;
/// Lengths are rounded up to this many elements, so that batches of nearly one size share buffers.
const GRAIN: usize = 1 << 12;

impl<T: Real> Shelf<T> {
    /// A buffer of at least `len` elements and not many more.
    fn take(&self, len: usize) -> Vec<T> {
        let mut shelved = self.0.lock().expect("no holder of this lock can panic");
        let fitting = |size: usize| size >= len && size / 2 <= len.max(GRAIN);
        let best = (0..shelved.len()).filter(|&i| fitting(shelved[i].len())).min_by_key(|&i| shelved[i].len());
        match best {
            Some(i) => shelved.swap_remove(i),
            None => vec![T::ZERO; len.next_multiple_of(GRAIN)],
        }
    }

    fn give_back(&self, data: Vec<T>) {
        let mut shelved = self.0.lock().expect("no holder of this lock can panic");
        if shelved.len() == SHELVED {
            shelved.remove(0);
        }
        shelved.push(data);
    }
}

/// A run of values in the host's memory.
pub struct Buffer<T> {
    data: Vec<T>,
    len: usize,
    /// Where the memory goes when this is dropped; none for weights and ids.
    home: Option<Home<T>>,
}

/// Gives a buffer back. A function and not a bound, since `Drop` may not ask more of `T` than [`Buffer`] does.
struct Home<T> {
    shelf: Arc<Shelf<T>>,
    give_back: fn(&Shelf<T>, Vec<T>),
}

impl<T: Real> Buffer<T> {
    pub(super) fn from_shelf(shelf: &Arc<Shelf<T>>, len: usize) -> Self {
        let mut data = shelf.take(len);
        if cfg!(debug_assertions) {
            data.fill(T::NAN);
        }
        Self { data, len, home: Some(Home { shelf: shelf.clone(), give_back: Shelf::give_back }) }
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(data: Vec<T>) -> Self {
        Self { len: data.len(), data, home: None }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.data[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[..self.len]
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            (home.give_back)(&home.shelf, std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_to_the_shelf_and_serves_again() {
        let shelf = Arc::new(Shelf::<f32>::default());
        let first = Buffer::from_shelf(&shelf, 10_000);
        let place = first.as_ptr();
        drop(first);
        let again = Buffer::from_shelf(&shelf, 9_000);
        assert_eq!((again.as_ptr(), again.len()), (place, 9_000));
        assert_ne!(Buffer::from_shelf(&shelf, 10_000).as_ptr(), place, "it is in use");
        assert_ne!(Buffer::from_shelf(&shelf, 100_000).as_ptr(), place, "too small");
    }

    #[test]
    fn a_shelf_keeps_a_bounded_number() {
        let shelf = Arc::new(Shelf::<f64>::default());
        drop((0..SHELVED + 5).map(|_| Buffer::from_shelf(&shelf, 64)).collect::<Vec<_>>());
        assert_eq!(shelf.0.lock().unwrap().len(), SHELVED);
    }
}
