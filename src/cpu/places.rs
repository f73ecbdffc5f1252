//! One matrix, written by many tasks, each to places of its own that no split of a slice can describe.

use std::marker::PhantomData;

/// The places of a slice, borrowed mutably.
pub(super) struct Places<'a, T> {
    data: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: what `at` gives out is as good as a `&mut [T]`, which may be sent to another thread, and its callers see to it
// that no two of them overlap.
unsafe impl<T: Send> Sync for Places<'_, T> {}

impl<'a, T> Places<'a, T> {
    pub(super) fn of(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// While the result lives, no other task is given any of these elements.
    #[allow(clippy::mut_from_ref, reason = "that is what this is for, and why it is unsafe")]
    pub(super) unsafe fn at(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: within the slice, as asserted; the slice is borrowed mutably for 'a; the caller warrants the rest.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
