//! The bytes of one allocation.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An allocation's bytes. Kernels' threads may race on them, so every access is a relaxed atomic one: no slower than a plain
/// one, and a racy kernel is then a wrong kernel, not undefined behaviour of this program.
pub(crate) struct Region {
    pub address: u64,
    pub bytes: u64,
    words: Box<[AtomicU64]>,
    /// A bit per byte: written since it was allocated.
    written: Box<[AtomicU64]>,
    /// Words of `written` from the front that are known to be all ones.
    full_words: AtomicUsize,
}

impl Region {
    pub fn new(address: u64, bytes: u64) -> Self {
        let words = bytes.div_ceil(8) as usize;
        let mask_words = bytes.div_ceil(64) as usize;
        Self { address, bytes, words: zeroed(words), written: zeroed(mask_words), full_words: AtomicUsize::new(0) }
    }

    fn at(&self, offset: u64, bytes: u64) -> *mut u8 {
        assert!(
            offset + bytes <= self.bytes && offset & (bytes - 1) == 0,
            "an access that the caller should have checked"
        );
        // SAFETY: inside the allocation, as just asserted.
        unsafe { self.words.as_ptr().cast::<u8>().cast_mut().add(offset as usize) }
    }

    /// The 1, 2, 4 or 8 bytes at an offset that is a multiple of their number.
    #[inline(always)]
    pub fn load(&self, offset: u64, bytes: u64) -> u64 {
        let at = self.at(offset, bytes);
        // SAFETY: `at` is inside the words, aligned to `bytes` (the words are aligned to 8), and only atomics touch them.
        unsafe {
            match bytes {
                1 => u64::from(AtomicU8::from_ptr(at).load(Relaxed)),
                2 => u64::from(AtomicU16::from_ptr(at.cast()).load(Relaxed)),
                4 => u64::from(AtomicU32::from_ptr(at.cast()).load(Relaxed)),
                _ => AtomicU64::from_ptr(at.cast()).load(Relaxed),
            }
        }
    }

    /// Stores 1, 2, 4 or 8 bytes. Does not mark them as written.
    #[inline(always)]
    pub fn store(&self, offset: u64, bytes: u64, value: u64) {
        let at = self.at(offset, bytes);
        // SAFETY: as in `load`.
        unsafe {
            match bytes {
                1 => AtomicU8::from_ptr(at).store(value as u8, Relaxed),
                2 => AtomicU16::from_ptr(at.cast()).store(value as u16, Relaxed),
                4 => AtomicU32::from_ptr(at.cast()).store(value as u32, Relaxed),
                _ => AtomicU64::from_ptr(at.cast()).store(value, Relaxed),
            }
        }
    }

    /// Replaces a value by `f` of it, atomically; the value before.
    pub fn update(&self, offset: u64, bytes: u64, f: impl Fn(u64) -> u64) -> u64 {
        let at = self.at(offset, bytes);
        // SAFETY: as in `load`.
        unsafe {
            match bytes {
                2 => {
                    let cell = AtomicU16::from_ptr(at.cast());
                    u64::from(
                        cell.fetch_update(Relaxed, Relaxed, |old| Some(f(u64::from(old)) as u16)).unwrap_or_default(),
                    )
                }
                4 => {
                    let cell = AtomicU32::from_ptr(at.cast());
                    u64::from(
                        cell.fetch_update(Relaxed, Relaxed, |old| Some(f(u64::from(old)) as u32)).unwrap_or_default(),
                    )
                }
                _ => {
                    let cell = AtomicU64::from_ptr(at.cast());
                    cell.fetch_update(Relaxed, Relaxed, |old| Some(f(old))).unwrap_or_default()
                }
            }
        }
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(((offset.next_multiple_of(8) - offset) as usize).min(out.len()));
        for (i, byte) in head.iter_mut().enumerate() {
            *byte = self.load(offset + i as u64, 1) as u8;
        }
        let offset = offset + head.len() as u64;
        let mut words = rest.chunks_exact_mut(8);
        let mut at = offset;
        for word in &mut words {
            word.copy_from_slice(&self.load(at, 8).to_le_bytes());
            at += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.load(at, 1) as u8;
            at += 1;
        }
    }

    /// Copies bytes in, and marks them as written.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let (head, rest) = data.split_at(((offset.next_multiple_of(8) - offset) as usize).min(data.len()));
        for (i, &byte) in head.iter().enumerate() {
            self.store(offset + i as u64, 1, u64::from(byte));
        }
        let mut at = offset + head.len() as u64;
        let words = rest.chunks_exact(8);
        let tail = words.remainder();
        for word in words {
            self.store(at, 8, u64::from_le_bytes(word.try_into().expect("eight bytes")));
            at += 8;
        }
        for &byte in tail {
            self.store(at, 1, u64::from(byte));
            at += 1;
        }
        self.mark(offset, data.len() as u64);
    }

    /// Marks bytes as written.
    pub fn mark(&self, offset: u64, bytes: u64) {
        for (word, mask) in masks(offset, bytes) {
            let cell = &self.written[word];
            // Most stores go where something was written before: a load is cheaper than a locked operation.
            if cell.load(Relaxed) & mask != mask {
                cell.fetch_or(mask, Relaxed);
            }
        }
    }

    /// Marks bytes as never written.
    pub fn unmark(&self, offset: u64, bytes: u64) {
        for (word, mask) in masks(offset, bytes) {
            self.written[word].fetch_and(!mask, Relaxed);
            self.full_words.fetch_min(word, Relaxed);
        }
    }

    /// The first byte of the range that was never written.
    #[inline]
    pub fn first_unwritten(&self, offset: u64, bytes: u64) -> Option<u64> {
        if offset / 64 == (offset + bytes - 1) / 64 {
            let mask = (!0 >> (64 - bytes)) << (offset % 64);
            let missing = !self.written[(offset / 64) as usize].load(Relaxed) & mask;
            return (missing != 0).then(|| offset / 64 * 64 + u64::from(missing.trailing_zeros()));
        }
        masks(offset, bytes).find_map(|(word, mask)| {
            let missing = !self.written[word].load(Relaxed) & mask;
            (missing != 0).then(|| word as u64 * 64 + u64::from(missing.trailing_zeros()))
        })
    }

    /// Whether every byte was written. Remembers how far it got, so that asking at every launch costs little.
    pub fn is_written(&self) -> bool {
        let mut full = self.full_words.load(Relaxed);
        let whole = (self.bytes / 64) as usize;
        while full < whole && self.written[full].load(Relaxed) == !0 {
            full += 1;
        }
        self.full_words.store(full, Relaxed);
        let tail = self.bytes % 64;
        full == whole && (tail == 0 || self.first_unwritten(self.bytes - tail, tail).is_none())
    }
}

/// The words of the mask that a range of bytes touches, with the bits in each.
fn masks(offset: u64, bytes: u64) -> impl Iterator<Item = (usize, u64)> {
    let end = offset + bytes;
    (offset / 64..end.div_ceil(64)).filter(move |_| bytes > 0).map(move |word| {
        let low = offset.max(word * 64) - word * 64;
        let high = end.min(word * 64 + 64) - word * 64;
        (word as usize, (!0 >> (64 - (high - low))) << low)
    })
}

/// Zeroed words, of pages that the system hands out only once they are touched.
fn zeroed(words: usize) -> Box<[AtomicU64]> {
    let plain = vec![0u64; words].into_boxed_slice();
    // SAFETY: AtomicU64 has the size, alignment and validity of u64.
    unsafe { Box::from_raw(Box::into_raw(plain) as *mut [AtomicU64]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_any_offset() {
        let region = Region::new(0, 203);
        let data: Vec<u8> = (0..203).map(|i| i as u8 ^ 0x5a).collect();
        for (start, end) in [(0, 203), (3, 5), (1, 130), (7, 8), (64, 128), (5, 5)] {
            region.write(start as u64, &data[start..end]);
            let mut out = vec![0; end - start];
            region.read(start as u64, &mut out);
            assert_eq!(out, data[start..end]);
        }
    }

    #[test]
    fn the_first_unwritten_byte_is_found() {
        let region = Region::new(0, 300);
        region.write(0, &[1; 130]);
        region.write(131, &[1; 169]);
        assert_eq!(region.first_unwritten(0, 300), Some(130));
        assert_eq!(region.first_unwritten(131, 169), None);
        assert!(!region.is_written());
        region.mark(130, 1);
        assert!(region.is_written());
        region.unmark(299, 1);
        assert!(!region.is_written());
    }
}
