//! The index's records and frames as bytes: see `format` for the layout.

use super::format::{
    Check, Digest, FRAME_CHAIN, FRAME_HEADER, Format, INDEX_HEADER, RECORD_HEADER, VERSION, check, digest,
};

const FRAME_MAGIC: [u8; 4] = *b"FRAM";
const ADDED: u8 = 1;
const REMOVED: u8 = 2;
const MOVED: u8 = 3;

/// The longest id in bytes: its length is a u16.
pub(super) const MAX_ID_BYTES: usize = u16::MAX as usize;

/// Where a passage's rows are and what they must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub id: &'a str,
    pub tokens: u32,
    pub shard: u32,
    pub offset: u64,
    pub check: Check,
}

/// One line of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Added(Entry<'a>),
    Removed(&'a str),
    Moved(Entry<'a>),
}

impl<'a> Record<'a> {
    /// Reads the record at `at`, and where the next one begins; `None` if no record's bytes lie there.
    pub fn parse(log: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let bytes = log.get(at..)?;
        let [kind, 0, length @ ..] = *bytes.first_chunk::<4>()? else {
            return None;
        };
        let id_at = if kind == REMOVED { 4 } else { RECORD_HEADER };
        let end = id_at + usize::from(u16::from_le_bytes(length));
        let id = std::str::from_utf8(bytes.get(id_at..end)?).ok()?;
        if id.is_empty() {
            return None;
        }
        if kind == REMOVED {
            return Some((Self::Removed(id), at + end));
        }
        let entry = Entry {
            id,
            tokens: u32::from_le_bytes(field(bytes, 4)?),
            shard: u32::from_le_bytes(field(bytes, 8)?),
            offset: u64::from_le_bytes(field(bytes, 12)?),
            check: field(bytes, 20)?,
        };
        let record = match kind {
            ADDED => Self::Added(entry),
            MOVED => Self::Moved(entry),
            _ => return None,
        };
        Some((record, at + end))
    }

    /// Appends the record's bytes to `log`.
    pub fn write(&self, log: &mut Vec<u8>) {
        let (kind, id, entry) = match self {
            Self::Added(entry) => (ADDED, entry.id, Some(entry)),
            Self::Moved(entry) => (MOVED, entry.id, Some(entry)),
            Self::Removed(id) => (REMOVED, *id, None),
        };
        let length = u16::try_from(id.len()).expect("ids are checked before they get here");
        log.extend([kind, 0]);
        log.extend(length.to_le_bytes());
        if let Some(entry) = entry {
            log.extend(entry.tokens.to_le_bytes());
            log.extend(entry.shard.to_le_bytes());
            log.extend(entry.offset.to_le_bytes());
            log.extend(entry.check);
        }
        log.extend(id.as_bytes());
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The index's header for a store of this shape, written by the encoder with this fingerprint.
pub(super) fn index_header(format: Format, width: usize, fingerprint: &str) -> [u8; INDEX_HEADER] {
    let mut header = [0; INDEX_HEADER];
    header[..8].copy_from_slice(b"GLIMMIDX");
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&format.code().to_le_bytes());
    header[16..20].copy_from_slice(&(width as u32).to_le_bytes());
    header[24..40].copy_from_slice(&digest(&[fingerprint.as_bytes()]));
    let sum = check(&header[..40]);
    header[40..].copy_from_slice(&sum);
    header
}

/// A frame whose header and chain are as they must be.
pub(super) struct Frame {
    /// How many records its header counts.
    pub records: u32,
    /// Where its records begin in the log.
    pub first: usize,
    /// Where its records end.
    pub last: usize,
    /// Where the next frame begins.
    pub end: usize,
    /// The chain up to here.
    pub chain: Digest,
}

impl Frame {
    /// Reads the frame at `at` that continues `chain`; `None` if no whole and sound frame lies there.
    pub fn parse(log: &[u8], at: usize, chain: &Digest) -> Option<Self> {
        let (records, bytes) = parse_frame_header(log.get(at..)?)?;
        let first = at + FRAME_HEADER;
        let last = first.checked_add(usize::try_from(bytes).ok()?)?;
        let end = last.checked_add(FRAME_CHAIN)?;
        let found: Digest = log.get(last..end)?.try_into().ok()?;
        let chain = digest(&[chain, &log[at..last]]);
        (chain == found).then_some(Self { records, first, last, end, chain })
    }

    /// Completes the frame that begins at `at`: fills in the room left for its header, appends its chain.
    pub fn seal(log: &mut Vec<u8>, at: usize, records: u32, chain: &Digest) -> Digest {
        let bytes = (log.len() - at - FRAME_HEADER) as u64;
        let header = &mut log[at..at + FRAME_HEADER];
        header[..4].copy_from_slice(&FRAME_MAGIC);
        header[4..8].copy_from_slice(&records.to_le_bytes());
        header[8..16].copy_from_slice(&bytes.to_le_bytes());
        let sum = check(&header[..16]);
        header[16..].copy_from_slice(&sum);
        let chain = digest(&[chain, &log[at..]]);
        log.extend(chain);
        chain
    }
}

fn parse_frame_header(bytes: &[u8]) -> Option<(u32, u64)> {
    let sound = field(bytes, 0)? == FRAME_MAGIC && field(bytes, 16)? == check(&bytes[..16]);
    sound.then_some((u32::from_le_bytes(field(bytes, 4)?), u64::from_le_bytes(field(bytes, 8)?)))
}

/// Whether a frame begins anywhere after `at`. A writer that was killed leaves one torn frame with nothing behind it,
/// so a later frame says that the one at `at` was damaged afterwards.
pub(super) fn frame_begins_after(log: &[u8], at: usize) -> bool {
    (at + 1..log.len()).any(|later| parse_frame_header(&log[later..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry<'_> {
        Entry { id, tokens: 7, shard: 3, offset: 1 << 40, check: *b"checksum" }
    }

    #[test]
    fn records_lie_as_the_page_states() {
        let mut log = Vec::new();
        Record::Added(entry("12:é")).write(&mut log);
        Record::Removed("12:é").write(&mut log);
        let expected = [
            &[1, 0, 5, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0][..],
            b"checksum",
            "12:é".as_bytes(),
            &[2, 0, 5, 0],
            "12:é".as_bytes(),
        ];
        assert_eq!(log, expected.concat());
        let (first, next) = Record::parse(&log, 0).unwrap();
        assert_eq!(first, Record::Added(entry("12:é")));
        assert_eq!(Record::parse(&log, next), Some((Record::Removed("12:é"), log.len())));
    }

    #[test]
    fn no_bytes_make_parsing_panic() {
        let mut log = Vec::new();
        Record::Moved(entry("a")).write(&mut log);
        for end in 0..log.len() {
            assert_eq!(Record::parse(&log[..end], 0), None);
        }
        for (at, value) in [(0, 0), (0, 4), (1, 1), (2, 0), (2, 9), (28, 0xff)] {
            let mut damaged = log.clone();
            damaged[at] = value;
            assert_eq!(Record::parse(&damaged, 0), None, "byte {at}");
        }
        assert_eq!(Record::parse(&log, log.len() + 1), None);
    }

    #[test]
    fn a_frame_counts_whole_or_not_at_all() {
        let start = [9; 16];
        let mut log = vec![0; FRAME_HEADER];
        Record::Removed("a").write(&mut log);
        let chain = Frame::seal(&mut log, 0, 1, &start);
        let frame = Frame::parse(&log, 0, &start).unwrap();
        assert_eq!((frame.records, frame.end, frame.chain), (1, log.len(), chain));
        for end in 0..log.len() {
            assert!(Frame::parse(&log[..end], 0, &start).is_none());
        }
        for at in 0..log.len() {
            let mut damaged = log.clone();
            damaged[at] ^= 0x10;
            assert!(Frame::parse(&damaged, 0, &start).is_none(), "byte {at}");
        }
        assert!(Frame::parse(&log, 0, &[8; 16]).is_none());
        assert!(!frame_begins_after(&log, 0));
        assert!(frame_begins_after(&[&[0; 5][..], &log].concat(), 0));
    }
}
