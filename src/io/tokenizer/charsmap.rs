//! A check of SentencePiece's compiled table of character replacements, before a library walks it unchecked.
//!
//! The table is a little-endian `u32` of trie bytes, the trie, and the replacements, each ended by a NUL. The trie is a
//! double array as Darts builds it: a unit holds its label (low 8 bits), whether a value hangs below it (bit 8) and
//! the distance to its children (the high 22 bits, times 256 if bit 9 is set); the child for byte `c` of the node at
//! `i` is unit `i ^ c` after the distance is applied, and a value unit holds an offset into the replacements.

use anyhow::{Context, Result, ensure};

/// Checks that no text can lead a walk of the trie out of the table or to a broken replacement.
pub(super) fn check(charsmap: &[u8]) -> Result<()> {
    let (size, rest) = charsmap.split_first_chunk::<4>().context("it has no length")?;
    let size = u32::from_le_bytes(*size) as usize;
    ensure!(size > 0 && size.is_multiple_of(4), "its trie has {size} bytes");
    let (trie, replacements) = rest.split_at_checked(size).context("its trie is cut short")?;
    let replacements = std::str::from_utf8(replacements).context("its replacements are not UTF-8")?;
    let units: Vec<u32> = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    walk(&units, replacements)
}

fn walk(units: &[u32], replacements: &str) -> Result<()> {
    let unit = |at: usize| units.get(at).copied().context("its trie leads out of the table");
    let mut seen = vec![false; units.len()];
    let mut open = vec![distance(units[0])];
    while let Some(node) = open.pop() {
        unit(node)?;
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        for byte in 1..=255 {
            let at = node ^ byte;
            let child = unit(at)?;
            if child & LABEL != byte as u32 {
                continue;
            }
            let below = at ^ distance(child);
            if child & HAS_VALUE != 0 {
                let value = (unit(below)? & !IS_VALUE) as usize;
                ensure!(
                    replacements.is_char_boundary(value),
                    "a replacement begins at byte {value}, which is not the start of a character"
                );
            }
            open.push(below);
        }
    }
    Ok(())
}

const IS_VALUE: u32 = 1 << 31;
const HAS_VALUE: u32 = 1 << 8;
/// A value unit is no child, whatever its low bits say.
const LABEL: u32 = IS_VALUE | 0xff;

fn distance(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(units: &[u32], replacements: &[u8]) -> String {
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let bytes = [&(trie.len() as u32).to_le_bytes(), &trie[..], replacements].concat();
        format!("{:#}", check(&bytes).unwrap_err())
    }

    /// One replacement, of the byte `a`, at an offset of the replacements.
    fn replaces_a(offset: u32) -> Vec<u32> {
        let mut units = vec![0; 512];
        units[0] = 256 << 10;
        units[256 ^ 0x61] = 0x61 | HAS_VALUE | (0x61 << 10);
        units[256] = IS_VALUE | offset;
        units
    }

    #[test]
    fn a_whole_table_passes() {
        let trie: Vec<u8> = replaces_a(0).iter().flat_map(|unit| unit.to_le_bytes()).collect();
        check(&[&(trie.len() as u32).to_le_bytes(), &trie[..], b"b\0"].concat()).unwrap();
    }

    #[test]
    fn broken_tables_are_refused() {
        assert!(format!("{:#}", check(b"abc").unwrap_err()).contains("no length"));
        assert!(format!("{:#}", check(&[0; 4]).unwrap_err()).contains("0 bytes"));
        assert!(format!("{:#}", check(&[8, 0, 0, 0, 1]).unwrap_err()).contains("cut short"));
        assert!(complaint(&replaces_a(0), b"\xff").contains("not UTF-8"));
        assert!(complaint(&replaces_a(9), b"b\0").contains("byte 9"));
        assert!(complaint(&replaces_a(1), "é\0".as_bytes()).contains("byte 1"));
        assert!(complaint(&[0; 16], b"").contains("out of the table"));
        assert!(complaint(&[u32::MAX], b"").contains("out of the table"));
    }

    #[test]
    fn a_trie_in_a_circle_ends() {
        let mut units = vec![0; 256];
        units[0x61] = 0x61 | (0x61 << 10);
        let trie: Vec<u8> = units.iter().flat_map(|unit: &u32| unit.to_le_bytes()).collect();
        check(&[&(trie.len() as u32).to_le_bytes(), &trie[..]].concat()).unwrap();
    }
}
