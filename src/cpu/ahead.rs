//! Reading ahead, in loops that go through more memory than any cache holds and do little with it. Processors see such
//! loops, but stop at the end of every page, where the loop then waits.

/// Bytes between what is read and what is asked for: half a page or more, and little enough to be still there.
const AHEAD: usize = 2048;
/// Bytes that come at once.
const LINE: usize = 64;

/// Asks for memory that lies behind `read` by [`AHEAD`] bytes, as much of it as `read` is.
#[inline(always)]
pub(super) fn read_ahead<T>(read: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for byte in (0..size_of_val(read)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let place = read.as_ptr().cast::<i8>().wrapping_add(AHEAD + byte);
        // SAFETY: it is a hint: nothing is read that the program could see, whether there is memory at `place` or not.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = read;
}

/// Asks for the line at `place`, where there need not be any.
#[inline(always)]
pub(super) fn ask<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
