//! Memory for the inside of an operation. Each thread uses its own again, so that decoding, which is many short
//! operations, asks the system for none after its first step.

use std::cell::RefCell;

use bytemuck::{Pod, Zeroable};

use super::packed::Line;

thread_local! {
    /// What no operation of this thread uses at the moment.
    static IDLE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `len` values, which are anything, on the bounds of cache lines.
pub(super) fn scratch<T: Pod, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    // Taken, not borrowed: within `body`, while this thread waits for others, it may be in another operation.
    let mut lines = IDLE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    if lines.len() < needed {
        lines.resize(needed, Line::zeroed());
    }
    let result = body(&mut bytemuck::cast_slice_mut(&mut lines[..needed])[..len]);
    IDLE.with_borrow_mut(|idle| idle.push(lines));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::packed::Slab;

    #[test]
    fn memory_serves_again_but_not_twice_at_once() {
        let place = |x: &mut [f32]| x.as_ptr() as usize;
        let first = scratch(1000, place);
        assert_eq!(scratch(900, place), first, "it is there and long enough");
        scratch(10, |outer: &mut [f32]| {
            outer.fill(1.0);
            scratch(10, |inner: &mut [f32]| inner.fill(2.0));
            assert_eq!(outer, [1.0; 10]);
        });
    }

    #[test]
    fn any_length_of_any_type_is_had() {
        for len in [0, 1, 3, 17, 1000] {
            assert_eq!(scratch(len, |x: &mut [f64]| x.len()), len);
            assert_eq!(scratch(len, |x: &mut [Slab]| (x.len(), x.as_ptr().align_offset(64))), (len, 0));
        }
    }
}
