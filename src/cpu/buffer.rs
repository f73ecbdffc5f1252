//! Memory that is used again: fresh pages cost more than the arithmetic that fills them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use half::bf16;

use super::Real;
use super::packed::Packed;

/// Buffers that no matrix uses at the moment.
#[derive(Default)]
pub(super) struct Shelf<T>(Mutex<Inventory<T>>);

/// A training step holds hundreds of buffers and returns them all, so that it is not their number that is bounded:
/// what is idle and what is lent are together at most half as much again as was once lent. Without that half a layer's
/// attention and its feed-forward, whose buffers differ in size, would take each other's from the shelf.
#[derive(Default)]
struct Inventory<T> {
    /// The longest idle first.
    idle: Vec<Vec<T>>,
    /// Elements of the idle ones, of those lent, and of the most that were ever lent.
    idle_len: usize,
    lent: usize,
    most_lent: usize,
}

/// Lengths are rounded up to this many elements, so that batches of nearly one size share buffers.
const GRAIN: usize = 1 << 12;

impl<T: Real> Inventory<T> {
    /// A buffer of at least `len` elements and not many more.
    fn take(&mut self, len: usize) -> Vec<T> {
        let fitting = |size: usize| size >= len && size / 2 <= len.max(GRAIN);
        let best = (0..self.idle.len()).filter(|&i| fitting(self.idle[i].len())).min_by_key(|&i| self.idle[i].len());
        let data = match best {
            Some(i) => self.idle.remove(i),
            None => vec![T::ZERO; len.next_multiple_of(GRAIN)],
        };
        if best.is_some() {
            self.idle_len -= data.len();
        }
        self.lent += data.len();
        self.most_lent = self.most_lent.max(self.lent);
        self.discard();
        data
    }

    fn give_back(&mut self, data: Vec<T>) {
        self.lent -= data.len();
        self.idle_len += data.len();
        self.idle.push(data);
        self.discard();
    }

    /// Drops what was idle longest, of some earlier shape, as far as the bound asks for it.
    fn discard(&mut self) {
        let (mut count, mut len) = (0, 0);
        let most = self.most_lent + self.most_lent / 2;
        while self.idle_len - len + self.lent > most {
            len += self.idle[count].len();
            count += 1;
        }
        self.idle.drain(..count);
        self.idle_len -= len;
    }
}

impl<T: Real> Shelf<T> {
    fn inventory(&self) -> MutexGuard<'_, Inventory<T>> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}

/// A run of values in the host's memory.
pub struct Buffer<T> {
    data: Vec<T>,
    /// Values; of a packed weight none.
    len: usize,
    /// Where the memory goes when this is dropped; none for weights and ids.
    home: Option<Home<T>>,
    form: Form,
}

/// How the values are there.
enum Form {
    /// As they are.
    Plain,
    /// In bf16, as many to a `T` as fit there: keys or values that are there to be attended to.
    Rounded,
    /// In `data` they are not: a weight that is there to be multiplied by.
    Packed(Packed),
}

/// Gives a buffer back. A function and not a bound, since `Drop` may not ask more of `T` than [`Buffer`] does.
struct Home<T> {
    shelf: Arc<Shelf<T>>,
    give_back: fn(&Shelf<T>, Vec<T>),
}

impl<T: Real> Buffer<T> {
    pub(super) fn from_shelf(shelf: &Arc<Shelf<T>>, len: usize) -> Self {
        let mut data = shelf.inventory().take(len);
        if cfg!(debug_assertions) {
            data.fill(T::NAN);
        }
        Self {
            data,
            len,
            home: Some(Home { shelf: shelf.clone(), give_back: |shelf, data| shelf.inventory().give_back(data) }),
            form: Form::Plain,
        }
    }

    /// `len` values in bf16, and as little memory.
    pub(super) fn rounded_from_shelf(shelf: &Arc<Shelf<T>>, len: usize) -> Self {
        let words = (len * size_of::<bf16>()).div_ceil(size_of::<T>());
        let mut buffer = Self::from_shelf(shelf, words);
        (buffer.len, buffer.form) = (len, Form::Rounded);
        if cfg!(debug_assertions) {
            buffer.rounded_mut().expect("it is").fill(bf16::NAN);
        }
        buffer
    }
}

impl<T: bytemuck::Pod> Buffer<T> {
    pub(super) fn rounded(&self) -> Option<&[bf16]> {
        matches!(self.form, Form::Rounded).then(|| &bytemuck::cast_slice(&self.data)[..self.len])
    }

    pub(super) fn rounded_mut(&mut self) -> Option<&mut [bf16]> {
        matches!(self.form, Form::Rounded).then(|| &mut bytemuck::cast_slice_mut(&mut self.data)[..self.len])
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(data: Vec<T>) -> Self {
        Self { len: data.len(), data, home: None, form: Form::Plain }
    }
}

impl<T> Buffer<T> {
    pub(super) fn of_packed(packed: Packed) -> Self {
        Self { data: Vec::new(), len: 0, home: None, form: Form::Packed(packed) }
    }

    pub(super) fn packed(&self) -> Option<&Packed> {
        match &self.form {
            Form::Packed(packed) => Some(packed),
            Form::Plain | Form::Rounded => None,
        }
    }

    /// Who asks for the values of what is rounded or packed has mistaken it for another operand, or trains.
    fn assert_plain(&self) {
        match self.form {
            Form::Plain => {}
            Form::Rounded => panic!("rounded keys and values are for attention alone, and have no gradient"),
            Form::Packed(_) => panic!("a packed weight is for products alone, and has no gradient"),
        }
    }
}

/// The values, where they are there as they are.
impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.assert_plain();
        &self.data[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.assert_plain();
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
    use std::collections::BTreeSet;

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
    fn rounded_values_take_half_the_memory() {
        let shelf = Arc::new(Shelf::<f32>::default());
        let lent = |len| (shelf.inventory().lent, len);
        for len in [0, 1, 7, 2 * GRAIN, 10 * GRAIN] {
            let mut rounded = Buffer::rounded_from_shelf(&shelf, len);
            assert_eq!(lent(len), (len.div_ceil(2).next_multiple_of(GRAIN), len));
            rounded.rounded_mut().unwrap().fill(bf16::ONE);
            assert_eq!(rounded.rounded().unwrap(), vec![bf16::ONE; len]);
        }
        assert!(Buffer::from_shelf(&shelf, 7).rounded().is_none());
        assert_eq!(lent(0), (0, 0), "all of it came back");
    }

    #[test]
    fn a_shelf_keeps_little_more_than_was_once_in_use() {
        let shelf = Arc::new(Shelf::<f64>::default());
        let held = |lens: &[usize]| drop(lens.iter().map(|&len| Buffer::from_shelf(&shelf, len)).collect::<Vec<_>>());
        let idle = || shelf.inventory().idle.len();
        held(&[64; 300]);
        assert_eq!(idle(), 300, "a training step holds hundreds");
        held(&[300 * GRAIN]);
        assert_eq!(idle(), 151, "half of the earlier shape are gone");
        held(&[300 * GRAIN; 2]);
        assert_eq!(idle(), 2 + 150, "more was lent at once than before");
        held(&[3 * GRAIN; 200]);
        let inventory = shelf.inventory();
        assert_eq!((inventory.lent, inventory.idle_len, inventory.most_lent), (0, 900 * GRAIN, 600 * GRAIN));
    }

    /// Of the sizes of T5.1.1-base.
    #[test]
    fn the_layers_of_an_encoder_share_their_buffers() {
        let shelf = Arc::new(Shelf::<f32>::default());
        let _residual = Buffer::from_shelf(&shelf, 300 * 768);
        let places = |lens: &[usize]| {
            let held: Vec<_> = lens.iter().map(|&len| Buffer::from_shelf(&shelf, len)).collect();
            held.iter().map(|buffer| buffer.as_ptr() as usize).collect::<BTreeSet<_>>()
        };
        let layer = || &places(&[300 * 768; 5]) | &places(&[300 * 768, 300 * 2048]);
        let first = layer();
        assert_eq!(first.len(), 6);
        assert!((0..3).all(|_| layer() == first));
    }
}
