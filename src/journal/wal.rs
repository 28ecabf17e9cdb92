//! Damage in the write-ahead log that SQLite would not tell.
//!
//! SQLite reads its frames up to the first whose checksum is wrong and takes all behind it for what a crash tore, without a word. With a
//! sync at each commit a crash tears the last transaction only: a later commit that more frames follow was synced, so it was reported
//! durable. Those frames are told from older ones by the salts of the log, and from what a failed commit left by their checksums, each of
//! which rests on the one before.
use std::io;
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order the checksum reads its words.
const MAGIC: u32 = 0x377f_0682;

/// What stands behind the first broken frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Counted from 1.
    pub(super) frame: usize,
    /// Behind it, for certain durable before. There may be more.
    pub(super) commits: usize,
    /// Of the log up to the last commit before the broken frame.
    pub(super) whole_bytes: u64,
}

/// `None`: nothing is wrong, or nothing that a crash could not have done.
pub(super) fn broken(path: &Path) -> io::Result<Option<Broken>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Log::new(&bytes).and_then(|log| log.broken())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

type Sum = (u32, u32);

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
        let log = Self { bytes, frame_bytes: FRAME_HEADER_BYTES + word(bytes, 8) as usize, big_endian: bytes[3] & 1 == 1 };
        // A broken header makes SQLite drop everything. Whether a crash tore it or not cannot be told.
        (log.sum((0, 0), &bytes[..24]) == (word(bytes, 24), word(bytes, 28))).then_some(log)
    }

    /// SQLite's running checksum. The length is a multiple of 8.
    fn sum(&self, (mut a, mut b): Sum, bytes: &[u8]) -> Sum {
        let read = |four: &[u8]| {
            let four = four.try_into().expect("four bytes");
            if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(read(&pair[..4])).wrapping_add(b);
            b = b.wrapping_add(read(&pair[4..])).wrapping_add(a);
        }
        (a, b)
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
            let sum = self.sum(self.sum(self.said(n), &frame[..8]), &frame[FRAME_HEADER_BYTES..]);
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
        let whole = (0..broken).rev().find(|n| self.is_commit(*n)).map_or(0, |n| n + 1);
        let whole_bytes = (HEADER_BYTES + whole * self.frame_bytes) as u64;
        (commits > 0).then_some(Broken { frame: broken + 1, commits, whole_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of twenty small commits; the database that it belongs to is not closed in order.
    fn log() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)").unwrap();
        for n in 0..20 {
            database.execute("INSERT INTO t (b) VALUES (randomblob(?1))", [n * 300]).unwrap();
        }
        std::fs::read(dir.path().join("a.db-wal")).unwrap()
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
            assert_eq!(found.frame, (at - HEADER_BYTES) / frame_bytes + 1);
            assert!(found.whole_bytes <= at as u64 && judge(&flipped[..found.whole_bytes as usize]).is_none());
        }
    }

    #[test]
    fn what_failed_commits_left_is_not_broken() {
        let mut log = log();
        let frame_bytes = Log::new(&log).unwrap().frame_bytes;
        // A later, shorter transaction was written over the beginning of a failed one: its last frame stands before frames of the same
        // log that do not rest on it.
        let count = (log.len() - HEADER_BYTES) / frame_bytes;
        let parsed = Log::new(&log).unwrap();
        let last = (0..count - 1).rev().find(|n| parsed.is_commit(*n)).unwrap();
        let at = HEADER_BYTES + (last + 1) * frame_bytes;
        let (page, said) = (vec![7; frame_bytes - FRAME_HEADER_BYTES], parsed.said(last + 1));
        let head = [1_u32.to_be_bytes(), 9_u32.to_be_bytes()].concat();
        let sum = parsed.sum(parsed.sum(said, &head), &page);
        let salts = log[16..24].to_vec();
        let written = [&head[..], &salts, &sum.0.to_be_bytes(), &sum.1.to_be_bytes(), &page].concat();
        assert!(count > last + 3, "frames are left behind it");
        log[at..at + frame_bytes].copy_from_slice(&written);
        assert!(Log::new(&log).unwrap().is_whole(last + 1));
        assert_eq!(judge(&log), None);
    }
}
