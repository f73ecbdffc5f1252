//! From a passage's id to its record in the index: a hash table of offsets, 8 bytes a slot, the ids staying in the index.

use std::hash::{BuildHasher, RandomState};

use super::log::Record;

/// No record lies at these offsets, the index's header does.
const EMPTY: u64 = 0;
const DELETED: u64 = 1;
/// A slot's low bits hold the offset (an index of 256 TB), the high ones some of the id's hash: a search then looks at
/// hardly any id but the one it wants, each look being a cache miss.
const OFFSET_BITS: u32 = 48;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;

/// Open addressing with linear probing; at most three quarters of the slots are ever taken.
pub(super) struct Table {
    slots: Vec<u64>,
    taken: usize,
    live: usize,
    hasher: RandomState,
}

impl Table {
    pub fn new() -> Self {
        Self { slots: vec![EMPTY; 16], taken: 0, live: 0, hasher: RandomState::new() }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Where the record of `id` begins in `log`.
    pub fn find(&self, log: &[u8], id: &str) -> Option<usize> {
        let slot = self.slot(log, id, self.hasher.hash_one(id));
        offset(self.slots[slot])
    }

    /// Lets `id` stand for the record at `at`, and returns the one it stood for.
    pub fn set(&mut self, log: &[u8], id: &str, at: usize) -> Option<usize> {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow(log);
        }
        let hash = self.hasher.hash_one(id);
        let slot = self.slot(log, id, hash);
        let old = offset(self.slots[slot]);
        if old.is_none() {
            self.taken += 1;
            self.live += 1;
        }
        self.slots[slot] = tag(hash) | at as u64;
        old
    }

    /// Forgets `id`.
    pub fn remove(&mut self, log: &[u8], id: &str) {
        let slot = self.slot(log, id, self.hasher.hash_one(id));
        if self.slots[slot] != EMPTY {
            self.slots[slot] = DELETED;
            self.live -= 1;
        }
    }

    /// The slot that holds `id`, or the empty one that ends the search for it.
    fn slot(&self, log: &[u8], id: &str, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return slot,
                DELETED => {}
                found if found & !OFFSET != tag(hash) => {}
                found if id_at(log, (found & OFFSET) as usize) == Some(id) => return slot,
                _ => {}
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Makes room for as many ids again at least, and drops the deleted ones' slots.
    fn grow(&mut self, log: &[u8]) {
        let size = (self.live * 2).next_power_of_two().max(16);
        let mask = size - 1;
        let mut slots = vec![EMPTY; size];
        for &old in &self.slots {
            let Some(id) = offset(old).and_then(|at| id_at(log, at)) else {
                continue;
            };
            let mut slot = self.hasher.hash_one(id) as usize & mask;
            while slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            slots[slot] = old;
        }
        self.slots = slots;
        self.taken = self.live;
    }
}

fn tag(hash: u64) -> u64 {
    hash & !OFFSET
}

fn offset(slot: u64) -> Option<usize> {
    (slot > DELETED).then_some((slot & OFFSET) as usize)
}

fn id_at(log: &[u8], at: usize) -> Option<&str> {
    match Record::parse(log, at)?.0 {
        Record::Added(entry) | Record::Moved(entry) => Some(entry.id),
        Record::Removed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::log::Entry;
    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(steps in proptest::collection::vec((0u32..40, any::<bool>()), 0..400)) {
            let (mut log, mut table, mut map) = (vec![0; 48], Table::new(), HashMap::new());
            for (n, adding) in steps {
                let id = format!("passage {n}");
                if adding {
                    let at = log.len();
                    Record::Added(Entry { id: &id, tokens: 1, shard: 0, offset: 0, check: [0; 8] }).write(&mut log);
                    table.set(&log, &id, at);
                    map.insert(id, at);
                } else {
                    table.remove(&log, &id);
                    map.remove(&id);
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for n in 0..40 {
                let id = format!("passage {n}");
                prop_assert_eq!(table.find(&log, &id), map.get(&id).copied());
            }
        }
    }
}
