//! How blocks that run in order come to know of each other.

use std::collections::{HashMap, HashSet};

use super::access::Part;
use super::scene::{Grid, Scene, lanes};
use crate::decode::Level;

/// How blocks that run in order come to know of each other's doings: a block that updates a word after a fence tells whoever
/// updates or reads that word later of all that it did and knew.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    knows: HashMap<u32, Blocks>,
    fenced: HashSet<u32>,
    told: HashMap<u64, Blocks>,
    /// Blocks that took part in such things at all; what the others do cannot hang on anybody.
    partners: Blocks,
}

/// A set of blocks.
#[derive(Clone, Debug, Default)]
struct Blocks(Vec<u64>);

impl Blocks {
    fn insert(&mut self, block: u32) {
        let word = block as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (block % 64);
    }

    fn has(&self, block: u32) -> bool {
        self.0.get(block as usize / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn extend(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(to, from)| *to |= from);
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn holds_all_of(&self, other: &Self) -> bool {
        other.0.iter().enumerate().all(|(at, word)| word & !self.0.get(at).copied().unwrap_or(0) == 0)
    }
}

impl Meetings {
    pub fn begin(&mut self, block: u32) {
        // A block knows of its own doings.
        self.knows.entry(block).or_default().insert(block);
    }

    pub fn end(&mut self, block: u32) {
        self.knows.remove(&block);
        self.fenced.remove(&block);
    }

    fn release(&mut self, block: u32, address: u64, fences: bool) {
        self.partners.insert(block);
        if fences || self.fenced.contains(&block) {
            let told = self.told.entry(address).or_default();
            if let Some(knows) = self.knows.get(&block) {
                told.extend(knows);
            }
        }
    }

    fn acquire(&mut self, block: u32, address: u64) {
        self.partners.insert(block);
        if let (Some(told), Some(knows)) = (self.told.get(&address), self.knows.get_mut(&block)) {
            knows.extend(told);
        }
    }

    /// Whether a block knows all that another did; with none named, all that any did that takes part.
    fn is_known(&self, block: u32, other: Option<u32>) -> bool {
        let knows = self.knows.get(&block);
        knows.is_some_and(|knows| {
            other.map_or_else(|| knows.count() > 1 && knows.holds_all_of(&self.partners), |other| knows.has(other))
        })
    }
}

impl Grid<'_> {
    pub fn meet(&self, f: impl FnOnce(&mut Meetings)) {
        if let Some(meetings) = &self.meetings {
            f(&mut meetings.lock().unwrap_or_else(|e| e.into_inner()));
        }
    }
}

impl Scene<'_, '_> {
    /// Whether all that another block did (none: several others) is known to this one.
    pub(super) fn is_ordered(&self, other: Option<u32>) -> bool {
        let mut ordered = false;
        self.grid.meet(|meetings| ordered = meetings.is_known(self.block, other));
        ordered
    }

    pub(super) fn fence(&mut self, level: Level) {
        if level == Level::Device {
            self.grid.meet(|meetings| {
                meetings.fenced.insert(self.block);
            });
        }
    }

    /// Tells whoever looks at the words of what the block did, if a fence came before or `fences` is one.
    pub(super) fn release_global(&self, part: &Part, fences: bool) {
        self.grid.meet(|meetings| {
            lanes(part.mask).for_each(|lane| meetings.release(self.block, part.addresses[lane], fences));
        });
    }

    pub(super) fn acquire_global(&self, part: &Part) {
        self.grid.meet(|meetings| lanes(part.mask).for_each(|lane| meetings.acquire(self.block, part.addresses[lane])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowledge_is_handed_on() {
        let mut meetings = Meetings::default();
        [3, 70, 200].into_iter().for_each(|block| meetings.begin(block));
        assert!(!meetings.is_known(3, None), "nobody was met");
        meetings.release(3, 8, false);
        meetings.acquire(70, 8);
        assert!(!meetings.is_known(70, Some(3)), "there was no fence");
        meetings.fenced.insert(3);
        meetings.release(3, 8, false);
        meetings.acquire(70, 8);
        assert!(meetings.is_known(70, Some(3)) && !meetings.is_known(70, Some(200)) && meetings.is_known(70, None));
        meetings.release(70, 16, true);
        meetings.acquire(200, 16);
        assert!(meetings.is_known(200, Some(3)) && meetings.is_known(200, None) && !meetings.is_known(3, None));
    }
}
