//! What is counted while a kernel runs.

/// The counts of one instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tick {
    /// Times that a warp executed it.
    pub warps: u64,
    /// Lanes that did.
    pub lanes: u64,
    /// Sectors of global memory, or transactions of shared memory.
    pub transactions: u64,
    /// The fewest with which the same bytes could have been had.
    pub least: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
    /// The shared side of an instruction that has a global one too.
    pub shared_transactions: u64,
    pub shared_least: u64,
}

impl Tick {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Tick) {
        self.warps += other.warps;
        self.lanes += other.lanes;
        self.transactions += other.transactions;
        self.least += other.least;
        self.bytes += other.bytes;
        self.shared_transactions += other.shared_transactions;
        self.shared_least += other.shared_least;
    }
}

/// The counts of a kernel's instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub ticks: Vec<Tick>,
}

impl Tally {
    pub fn new(steps: usize) -> Self {
        Self { ticks: vec![Tick::default(); steps] }
    }

    pub fn add(&mut self, other: &Tally) {
        self.ticks.iter_mut().zip(&other.ticks).for_each(|(to, from)| to.add(from));
    }
}

/// Bytes of a sector: what global memory is fetched and counted in.
pub(crate) const SECTOR: u64 = 32;

/// Sectors that the lanes of a mask touch, and the fewest that could hold as many different bytes.
pub(crate) fn sectors(addresses: &[u64; 32], mask: u32, bytes: u32) -> (u64, u64) {
    if mask == !0 && is_run(addresses, u64::from(bytes)) {
        let end = addresses[0] + 32 * u64::from(bytes);
        return ((end - 1) / SECTOR - addresses[0] / SECTOR + 1, u64::from(bytes));
    }
    let (mut all, mut count) = ([0u64; 32], 0);
    let mut ascending = true;
    for (lane, &address) in addresses.iter().enumerate() {
        if mask >> lane & 1 == 1 {
            ascending &= count == 0 || all[count - 1] <= address;
            all[count] = address;
            count += 1;
        }
    }
    let all = &mut all[..count];
    if !ascending {
        all.sort_unstable();
    }
    let bytes = u64::from(bytes);
    let (mut sectors, mut different, mut last_sector, mut last) = (0, 0, u64::MAX, None);
    for &address in all.iter() {
        if last == Some(address) {
            continue;
        }
        last = Some(address);
        different += bytes;
        let (first, end) = (address / SECTOR, (address + bytes - 1) / SECTOR);
        sectors += end - first + u64::from(first != last_sector || last_sector == u64::MAX);
        last_sector = end;
    }
    (sectors, different.div_ceil(SECTOR))
}

/// Whether each lane's address follows on the one before.
#[inline(always)]
fn is_run(addresses: &[u64; 32], bytes: u64) -> bool {
    let wrong =
        addresses.iter().zip(0u64..).fold(0, |all, (&a, lane)| all | (a ^ addresses[0].wrapping_add(lane * bytes)));
    wrong == 0
}

/// Transactions of shared memory, and the fewest for as many lanes.
///
/// There are 32 banks, each a word of four bytes wide. Eight bytes a lane are served a half-warp at a time, sixteen a quarter;
/// lanes that want the same word are served together.
pub(crate) fn transactions(addresses: &[u64; 32], mask: u32, bytes: u32) -> (u64, u64) {
    let lanes = match bytes {
        16 => 8,
        8 => 16,
        _ => 32,
    };
    let (mut total, mut least) = (0, 0);
    for phase in (0..32).step_by(lanes) {
        let part = if lanes == 32 { mask } else { mask >> phase & ((1 << lanes) - 1) };
        if part == 0 {
            continue;
        }
        least += 1;
        total += conflicts(&addresses[phase..phase + lanes], part, u64::from(bytes.max(4) / 4));
    }
    (total, least)
}

/// The most different words that one bank must serve.
fn conflicts(addresses: &[u64], mask: u32, words: u64) -> u64 {
    // In the common cases each lane has banks of its own, or all want the same words.
    let (shift, last_group) = (2 + words.trailing_zeros(), 32 / words - 1);
    let first = addresses[mask.trailing_zeros() as usize];
    let (mut groups, mut different) = (0u32, 0);
    for (lane, &address) in addresses.iter().enumerate() {
        let on = mask >> lane & 1;
        groups |= on << (address >> shift & last_group);
        different |= (address ^ first) * u64::from(on);
    }
    if groups.count_ones() == mask.count_ones() || different == 0 {
        return 1;
    }
    // Or some lanes share words.
    let mut seen = [u64::MAX; 32];
    let mut collides = false;
    for (lane, &address) in addresses.iter().enumerate() {
        if mask >> lane & 1 == 0 {
            continue;
        }
        for word in address / 4..address / 4 + words {
            let bank = &mut seen[(word % 32) as usize];
            collides |= *bank != u64::MAX && *bank != word;
            *bank = word;
        }
    }
    if !collides {
        return 1;
    }
    let (mut all, mut count) = ([0u64; 128], 0);
    for (lane, &address) in addresses.iter().enumerate() {
        if mask >> lane & 1 == 1 {
            for word in address / 4..address / 4 + words {
                all[count] = word;
                count += 1;
            }
        }
    }
    all[..count].sort_unstable();
    let mut per_bank = [0u64; 32];
    for (at, &word) in all[..count].iter().enumerate() {
        per_bank[(word % 32) as usize] += u64::from(at == 0 || all[at - 1] != word);
    }
    per_bank.into_iter().max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_of_the_common_patterns() {
        let run = |stride: u64| std::array::from_fn(|lane| 0x1000 + lane as u64 * stride);
        assert_eq!(sectors(&run(4), !0, 4), (4, 4));
        assert_eq!(sectors(&run(16), !0, 16), (16, 16));
        assert_eq!(sectors(&run(0), !0, 4), (1, 1));
        assert_eq!(sectors(&run(128), !0, 4), (32, 4));
        assert_eq!(sectors(&run(2), !0, 2), (2, 2));
        assert_eq!(sectors(&run(4), 0b1001, 4), (1, 1));
        let backwards: [u64; 32] = std::array::from_fn(|lane| 0x1000 + (31 - lane as u64) * 4);
        assert_eq!(sectors(&backwards, !0, 4), (4, 4));
        let off: [u64; 32] = std::array::from_fn(|lane| 0x1010 + lane as u64 * 4);
        assert_eq!(sectors(&off, !0, 4), (5, 4));
    }

    #[test]
    fn conflicts_of_the_common_patterns() {
        let run = |stride: u64| std::array::from_fn(|lane| lane as u64 * stride);
        assert_eq!(transactions(&run(4), !0, 4), (1, 1));
        assert_eq!(transactions(&run(8), !0, 4), (2, 1));
        assert_eq!(transactions(&run(128), !0, 4), (32, 1));
        assert_eq!(transactions(&run(132), !0, 4), (1, 1));
        assert_eq!(transactions(&run(0), !0, 4), (1, 1));
        assert_eq!(transactions(&run(8), !0, 8), (2, 2));
        assert_eq!(transactions(&run(16), !0, 16), (4, 4));
        assert_eq!(transactions(&run(128), !0, 16), (32, 4));
        assert_eq!(transactions(&run(2), !0, 2), (1, 1));
    }
}
