//! Damage of the write-ahead log that SQLite would not tell.
//!
//! SQLite reads its frames up to the first whose checksum is wrong and takes all behind it for what a crash tore; a log
//! that is missing is an empty one. Both without a word, and what was applied or acknowledged would be forgotten. What
//! tells damage from a crash, where each commit is synced:
//!
//! - A crash tears the last transaction only. A commit that more frames follow was synced. They are told from older
//!   frames by the salts of the log, and from what a failed commit left by their checksums, each of which rests on the
//!   one before.
//! - The index beside the log (`-shm`) says how many frames it has, and is told so after their sync. It need not be
//!   there, or be of this log; where it is, the frames must be too.
use std::io;
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order the checksum reads its words.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;
/// In the index.
const ATTEMPTED_AT: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Commits that were durable stand behind a broken frame (counted from 1): at least so many.
    Frame { frame: usize, commits: usize },
    /// Shorter than it was. Zero: it is gone.
    Short { frames: usize, had: usize },
    /// Without its header none of what stands behind it is read.
    Header { bytes: usize },
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Frame { frame, commits } => {
                write!(f, "is damaged at frame {frame}: at least {commits} commits behind it cannot be read")
            }
            Broken::Header { bytes } => {
                write!(f, "is damaged in its header: no commit in the {bytes} bytes behind it can be read")
            }
            Broken::Short { frames: 0, had } => write!(f, "is missing: it had {had} frames"),
            Broken::Short { frames, had } => write!(f, "was cut short: {frames} of {had} frames are there"),
        }
    }
}

/// `None`: nothing is wrong, or nothing that a crash could not have done.
pub(super) fn broken(log: &Path, index: &Path) -> io::Result<Option<Broken>> {
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    // Only its first page is needed; it is small.
    let index = read(index)?.and_then(|bytes| Index::new(&bytes));
    Ok(match (read(log)?, index) {
        // All of it was in the database already, and synced there, when it was told so: nothing is missing.
        (None, Some(Index { frames, moved, .. })) if frames > moved => Some(Broken::Short { frames: 0, had: frames }),
        (None, _) => None,
        (Some(bytes), index) => match Log::new(&bytes) {
            Some(log) => log.broken().or_else(|| log.short(index?)),
            None => beheaded(&bytes, index),
        },
    })
}

/// As [`broken`], where a loss of power may have left any part of what was not synced: a header is synced before there
/// are frames behind it at each level.
pub(super) fn without_header(log: &Path) -> io::Result<Option<Broken>> {
    match std::fs::read(log) {
        Ok(bytes) if Log::new(&bytes).is_none() => Ok(beheaded(&bytes, None)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A log whose header is none. It is written over the one before it when all of that log is in the database, and
/// synced:
/// a crash may leave it half the one and half the other, which are equal up to the size of a page.
fn beheaded(bytes: &[u8], index: Option<Index>) -> Option<Broken> {
    let behind = bytes.len().checked_sub(HEADER_BYTES + FRAME_HEADER_BYTES)? + FRAME_HEADER_BYTES;
    let page_bytes = word(bytes, 8);
    let may_be_torn = word(bytes, 0) & !1 == MAGIC
        && word(bytes, 4) == VERSION
        && PAGE_BYTES.contains(&page_bytes)
        && page_bytes.is_power_of_two();
    let holds = |index: Index| {
        let last = HEADER_BYTES + index.frames.checked_sub(1)? * (FRAME_HEADER_BYTES + page_bytes as usize);
        Some(index.frames > index.moved && *bytes.get(last + 8..last + 16)? == index.salts)
    };
    // What the index knows to be there alone, and is.
    let is_missed = may_be_torn && index.and_then(holds) == Some(true);
    (!may_be_torn || is_missed).then_some(Broken::Header { bytes: behind })
}

/// A log in use, held against what its index says. `read` is `false` where the log is not so long.
pub(super) struct Stands<'i, R> {
    pub(super) index: &'i Index,
    pub(super) read: R,
}

impl<E, R: Fn(u64, &mut [u8]) -> Result<bool, E>> Stands<'_, R> {
    fn head(&self) -> Result<Option<[u8; HEADER_BYTES]>, E> {
        let mut head = [0; HEADER_BYTES];
        let is_there = (self.read)(0, &mut head)? && Log::new(&head).is_some() && head[16..24] == self.index.salts;
        Ok(is_there.then_some(head))
    }

    pub(super) fn header(&self) -> Result<bool, E> {
        Ok(self.head()?.is_some())
    }

    /// Frame `n`, from 1, is the last one that an index knew.
    pub(super) fn frame(&self, n: usize, known: &Index) -> Result<bool, E> {
        let Some(head) = self.head()? else { return Ok(false) };
        let frame_bytes = FRAME_HEADER_BYTES + word(&head, 8) as usize;
        let mut frame = [0; FRAME_HEADER_BYTES];
        let is_there = (self.read)((HEADER_BYTES + (n - 1) * frame_bytes) as u64, &mut frame)?;
        Ok(is_there && frame[8..16] == known.salts && (word(&frame, 16), word(&frame, 20)) == known.sum)
    }

    /// Reads all of them.
    pub(super) fn first_broken(&self) -> Result<Option<usize>, E> {
        let Some(head) = self.head()? else { return Ok(Some(1)) };
        let big_endian = head[3] & 1 == 1;
        let mut said = (word(&head, 24), word(&head, 28));
        let mut frame = vec![0; FRAME_HEADER_BYTES + word(&head, 8) as usize];
        for n in 0..self.index.frames {
            let is_there = (self.read)((HEADER_BYTES + n * frame.len()) as u64, &mut frame)?;
            said = sum(big_endian, sum(big_endian, said, &frame[..8]), &frame[FRAME_HEADER_BYTES..]);
            if !is_there || frame[8..16] != self.index.salts || said != (word(&frame, 16), word(&frame, 20)) {
                return Ok(Some(n + 1));
            }
        }
        Ok(None)
    }
}

/// What SQLite says of a log in the memory that its connections share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// Counts commits.
    change: u32,
    pub(super) frames: usize,
    /// Of these, so many are in the database.
    moved: usize,
    /// And so many have been begun to be moved there.
    attempted: usize,
    /// Of the last frame.
    sum: Sum,
    pub(super) salts: [u8; 8],
}

impl Index {
    const BYTES: usize = 48;

    /// Two copies of it, the second written first, each with a checksum: else somebody died while it wrote.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.get(..2 * Self::BYTES)?.split_at(Self::BYTES);
        let native = |at: usize| u32::from_ne_bytes(first[at..at + 4].try_into().expect("four bytes"));
        let sum = sum(cfg!(target_endian = "big"), (0, 0), &first[..40]);
        let is_whole = first == second && first[12] == 1 && sum == (native(40), native(44));
        let salts = first[32..40].try_into().expect("eight bytes");
        let behind = |at: usize| {
            bytes.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes(word.try_into().expect("four bytes"))) as usize
        };
        let (moved, attempted) = (behind(2 * Self::BYTES), behind(ATTEMPTED_AT));
        let (change, frames, sum) = (native(8), native(16) as usize, (native(24), native(28)));
        is_whole.then_some(Self { change, frames, moved, attempted, sum, salts })
    }

    /// Of fewer commits: that never happens by SQLite's rules.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (self.change.wrapping_sub(other.change) as i32) < 0
    }

    /// Nothing was moved into the database from the one to the other.
    pub(super) fn same_checkpoint(&self, other: &Self) -> bool {
        (self.salts, self.moved, self.attempted) == (other.salts, other.moved, other.attempted)
    }

    /// Somebody does it just now, or died while he did.
    pub(super) fn is_moving(&self) -> bool {
        self.attempted > self.moved
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

type Sum = (u32, u32);

/// SQLite's running checksum. The length is a multiple of 8.
fn sum(big_endian: bool, (mut a, mut b): Sum, bytes: &[u8]) -> Sum {
    let read = |four: &[u8]| {
        let four = four.try_into().expect("four bytes");
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(read(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(read(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}

struct Log<'b> {
    bytes: &'b [u8],
    frame_bytes: usize,
    big_endian: bool,
}

impl<'b> Log<'b> {
    fn new(bytes: &'b [u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || word(bytes, 0) & !1 != MAGIC {
            return None;
        }
        let log =
            Self { bytes, frame_bytes: FRAME_HEADER_BYTES + word(bytes, 8) as usize, big_endian: bytes[3] & 1 == 1 };
        // A broken header makes SQLite drop everything. Whether a crash tore it or not cannot be told.
        (sum(log.big_endian, (0, 0), &bytes[..24]) == (word(bytes, 24), word(bytes, 28))).then_some(log)
    }

    fn frame(&self, n: usize) -> Option<&'b [u8]> {
        self.bytes.get(HEADER_BYTES + n * self.frame_bytes..HEADER_BYTES + (n + 1) * self.frame_bytes)
    }

    /// The checksum behind so many frames, as the log says it.
    fn said(&self, frames: usize) -> Sum {
        let header = frames.checked_sub(1).and_then(|n| self.frame(n)).map_or(&self.bytes[8..32], |frame| &frame[..24]);
        (word(header, 16), word(header, 20))
    }

    /// Of this log, and its bytes follow from the frame before.
    fn is_whole(&self, n: usize) -> bool {
        self.frame(n).is_some_and(|frame| {
            let head = sum(self.big_endian, self.said(n), &frame[..8]);
            let sum = sum(self.big_endian, head, &frame[FRAME_HEADER_BYTES..]);
            frame[8..16] == self.bytes[16..24] && sum == self.said(n + 1)
        })
    }

    fn is_commit(&self, n: usize) -> bool {
        self.frame(n).is_some_and(|frame| word(frame, 4) != 0)
    }

    fn broken(&self) -> Option<Broken> {
        let count = (self.bytes.len() - HEADER_BYTES) / self.frame_bytes;
        let broken = (0..count).find(|n| !self.is_whole(*n))?;
        let again = (broken + 1..count).find(|n| self.is_whole(*n))?;
        let end = (again..count).find(|n| !self.is_whole(*n)).unwrap_or(count);
        // One more frame behind a commit: it was synced.
        let commits = (again..end - 1).filter(|n| self.is_commit(*n)).count();
        (commits > 0).then_some(Broken::Frame { frame: broken + 1, commits })
    }

    fn short(&self, index: Index) -> Option<Broken> {
        if index.salts != self.bytes[16..24] {
            return None;
        }
        let frames = (0..index.frames).find(|n| !self.is_whole(*n))?;
        Some(Broken::Short { frames, had: index.frames })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of twenty small commits; the database that it belongs to is not closed in order.
    fn log() -> Vec<u8> {
        log_and_index().0
    }

    fn log_and_index() -> (Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database
            .execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
            .unwrap();
        for n in 0..20 {
            database.execute("INSERT INTO t (b) VALUES (randomblob(?1))", [n * 300]).unwrap();
        }
        ["a.db-wal", "a.db-shm"].map(|file| std::fs::read(dir.path().join(file)).unwrap()).into()
    }

    fn judge(bytes: &[u8]) -> Option<Broken> {
        Log::new(bytes).and_then(|log| log.broken())
    }

    #[test]
    fn what_a_crash_may_leave_is_not_broken() {
        let log = log();
        assert_eq!(judge(&log), None);
        let frame_bytes = Log::new(&log).unwrap().frame_bytes;
        for length in (0..log.len()).step_by(512) {
            assert_eq!(judge(&log[..length]), None, "cut at {length}");
        }
        // Of the last transaction any sector may be missing.
        let parsed = Log::new(&log).unwrap();
        let count = (log.len() - HEADER_BYTES) / frame_bytes;
        let last = (0..count - 1).rev().find(|n| parsed.is_commit(*n)).unwrap() + 1;
        for at in (HEADER_BYTES + last * frame_bytes..log.len()).step_by(512) {
            let mut torn = log.clone();
            let end = (at + 512).min(torn.len());
            torn[at..end].fill(0);
            assert_eq!(judge(&torn), None, "torn at {at}");
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_commits_is_found_and_said_where() {
        let log = log();
        let (frame_bytes, parsed) = (Log::new(&log).unwrap().frame_bytes, Log::new(&log).unwrap());
        let count = (log.len() - HEADER_BYTES) / frame_bytes;
        let commits: Vec<usize> = (0..count).filter(|n| parsed.is_commit(*n)).collect();
        // Behind the last but three, one commit that others follow is left for certain.
        let end = HEADER_BYTES + (commits[commits.len() - 4] + 1) * frame_bytes;
        for at in (HEADER_BYTES..end).step_by(97) {
            let mut flipped = log.clone();
            flipped[at] ^= 1 << (at % 8);
            let found = judge(&flipped).unwrap_or_else(|| panic!("byte {at} of {}", log.len()));
            let broken = (at - HEADER_BYTES) / frame_bytes + 1;
            assert!(matches!(found, Broken::Frame { frame, .. } if frame == broken), "byte {at}: {found}");
        }
    }

    fn judge_files(log: Option<&[u8]>, index: &[u8]) -> Option<Broken> {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["log", "index"].map(|file| dir.path().join(file));
        log.into_iter().for_each(|log| std::fs::write(&a, log).unwrap());
        std::fs::write(&b, index).unwrap();
        broken(&a, &b).unwrap()
    }

    #[test]
    fn a_log_that_is_shorter_than_its_index_says_is_found() {
        let (log, index) = log_and_index();
        let parsed = Log::new(&log).unwrap();
        let (frame_bytes, had) = (parsed.frame_bytes, Index::new(&index).unwrap().frames);
        assert_eq!(had, (log.len() - HEADER_BYTES) / frame_bytes);
        assert_eq!(judge_files(Some(&log), &index), None);
        assert_eq!(judge_files(None, &index), Some(Broken::Short { frames: 0, had }));
        for frames in 0..had {
            for more in [0, 512, frame_bytes - 1] {
                let length = HEADER_BYTES + frames * frame_bytes + more;
                assert_eq!(judge_files(Some(&log[..length]), &index), Some(Broken::Short { frames, had }));
            }
        }
        // Of another log, half written, or lost: it says nothing.
        let (other, _) = log_and_index();
        let mut half = index.clone();
        half[16] ^= 1;
        for (log, index) in
            [(&other[..], &index[..]), (&log[..5000], &half), (&log[..5000], &index[..3]), (&[], &index)]
        {
            assert_eq!(judge_files(Some(log), index), None);
        }
        assert_eq!(judge_files(None, &[]), None);
    }

    #[test]
    fn a_log_without_its_header_is_broken_and_one_with_a_torn_header_is_not() {
        let (log, index) = log_and_index();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for (what, bytes) in [("all of it", 0..32), ("magic", 0..1), ("version", 6..7), ("page size", 8..12)] {
            let mut bent = log.clone();
            bent[bytes].fill(0);
            let expected = Some(Broken::Header { bytes: log.len() - HEADER_BYTES });
            assert_eq!(judge_files(Some(&bent), &[]), expected, "{what}");
            std::fs::write(&path, &bent).unwrap();
            assert_eq!(without_header(&path).unwrap(), expected, "{what}");
        }
        // Salts and checksum of two logs: a crash may have done it, but not where the index knows this one.
        let mut torn = log.clone();
        torn[26] ^= 1;
        assert_eq!(judge_files(Some(&torn), &[]), None);
        assert!(matches!(judge_files(Some(&torn), &index), Some(Broken::Header { .. })));
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(without_header(&path).unwrap(), None);
        // Before the first frame.
        assert_eq!(judge_files(Some(&[0; 32]), &[]), None);
        assert_eq!(judge_files(Some(&[]), &[]), None);
    }

    #[test]
    fn what_failed_commits_left_is_not_broken() {
        let mut log = log();
        let frame_bytes = Log::new(&log).unwrap().frame_bytes;
        // A later, shorter transaction was written over the beginning of a failed one: its last frame stands before
        // frames of the same log that do not rest on it.
        let count = (log.len() - HEADER_BYTES) / frame_bytes;
        let parsed = Log::new(&log).unwrap();
        let last = (0..count - 1).rev().find(|n| parsed.is_commit(*n)).unwrap();
        let at = HEADER_BYTES + (last + 1) * frame_bytes;
        let (page, said) = (vec![7; frame_bytes - FRAME_HEADER_BYTES], parsed.said(last + 1));
        let head = [1_u32.to_be_bytes(), 9_u32.to_be_bytes()].concat();
        let sum = sum(parsed.big_endian, sum(parsed.big_endian, said, &head), &page);
        let salts = log[16..24].to_vec();
        let written = [&head[..], &salts, &sum.0.to_be_bytes(), &sum.1.to_be_bytes(), &page].concat();
        assert!(count > last + 3, "frames are left behind it");
        log[at..at + frame_bytes].copy_from_slice(&written);
        assert!(Log::new(&log).unwrap().is_whole(last + 1));
        assert_eq!(judge(&log), None);
    }
}
