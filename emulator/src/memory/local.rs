//! The threads' own memory, of one warp.

/// The local bytes of a warp's 32 lanes, each with whether it was written.
#[derive(Default)]
pub(crate) struct Local {
    bytes_per_lane: usize,
    data: Vec<u8>,
    written: Vec<bool>,
}

impl Local {
    /// Forgets everything, and holds `bytes_per_lane`.
    pub fn reset(&mut self, bytes_per_lane: usize) {
        self.bytes_per_lane = bytes_per_lane;
        self.data.clear();
        self.data.resize(32 * bytes_per_lane, 0);
        self.written.clear();
        self.written.resize(32 * bytes_per_lane, false);
    }

    pub fn bytes_per_lane(&self) -> usize {
        self.bytes_per_lane
    }

    /// The bytes of a lane. The caller has checked that they are there.
    pub fn load(&self, lane: usize, offset: usize, bytes: usize) -> u64 {
        let start = lane * self.bytes_per_lane + offset;
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.data[start..start + bytes]);
        u64::from_le_bytes(word)
    }

    /// Stores bytes of a lane.
    pub fn store(&mut self, lane: usize, offset: usize, bytes: usize, value: u64) {
        let start = lane * self.bytes_per_lane + offset;
        self.data[start..start + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        self.written[start..start + bytes].fill(true);
    }

    /// The first byte of the range that was never written.
    pub fn first_unwritten(&self, lane: usize, offset: usize, bytes: usize) -> Option<usize> {
        let start = lane * self.bytes_per_lane + offset;
        self.written[start..start + bytes].iter().position(|&written| !written).map(|i| offset + i)
    }
}
