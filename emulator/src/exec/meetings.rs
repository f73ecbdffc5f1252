//! How blocks that run in order come to know of each other.

use std::collections::{HashMap, HashSet};

use super::access::Part;
use super::scene::{Grid, Scene, lanes};
use crate::decode::Level;

/// How blocks that run in order come to know of each other's doings: a block that updates a word after a fence tells whoever
/// updates or reads that word later of all that it did and knew.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    begun: usize,
    knows: HashMap<u32, HashSet<u32>>,
    fenced: HashSet<u32>,
    told: HashMap<u64, HashSet<u32>>,
}

impl Meetings {
    pub fn begin(&mut self, block: u32) {
        self.begun += 1;
        self.knows.insert(block, HashSet::new());
    }

    pub fn end(&mut self, block: u32) {
        self.knows.remove(&block);
        self.fenced.remove(&block);
    }

    fn release(&mut self, block: u32, address: u64, fences: bool) {
        if fences || self.fenced.contains(&block) {
            let told = self.told.entry(address).or_default();
            told.insert(block);
            told.extend(self.knows.get(&block).into_iter().flatten());
        }
    }

    fn acquire(&mut self, block: u32, address: u64) {
        if let (Some(told), Some(knows)) = (self.told.get(&address), self.knows.get_mut(&block)) {
            knows.extend(told);
        }
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
        self.grid.meet(|meetings| {
            let Some(knows) = meetings.knows.get(&self.block) else { return };
            let others = knows.len() - usize::from(knows.contains(&self.block));
            ordered = other.map_or(others + 1 >= meetings.begun, |other| knows.contains(&other));
        });
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
