//! One file: what processes see, what the platter has, and what lies between.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use crate::rng::Rng;

/// What a disk writes whole, as SQLite is told.
pub const SECTOR_BYTES: usize = 512;
/// A page of the page cache: written back together.
const PAGE_SECTORS: u64 = 8;
/// Contents of an unsynced sector that are remembered: the kernel may have written any of them back.
const EARLIER_MAX: usize = 3;

type Sector = [u8; SECTOR_BYTES];

/// What is left after a loss of power.
#[derive(Debug)]
pub(crate) enum Durable {
    Memory(Vec<u8>),
    Real(fs::File),
}

impl Durable {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        match self {
            Durable::Memory(all) => {
                let end = offset + bytes.len();
                if all.len() < end {
                    all.resize(end, 0);
                }
                all[offset..end].copy_from_slice(bytes);
                Ok(())
            }
            Durable::Real(file) => file.write_all_at(bytes, offset as u64),
        }
    }

    fn set_len(&mut self, len: usize) -> io::Result<()> {
        match self {
            Durable::Memory(all) => {
                all.resize(len, 0);
                Ok(())
            }
            Durable::Real(file) => file.set_len(len as u64),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        match self {
            Durable::Memory(all) => Ok(all.clone()),
            Durable::Real(file) => {
                let mut all = vec![0; file.metadata()?.len() as usize];
                file.read_exact_at(&mut all, 0)?;
                Ok(all)
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct File {
    visible: Vec<u8>,
    durable: Durable,
    /// Sectors changed since the last sync, each with what it held in between.
    unsynced: BTreeMap<u64, Vec<Sector>>,
    /// Lengths since the last sync.
    lengths: Vec<usize>,
    /// A failed sync took them for written, and they are not: processes see them until the power goes.
    dropped: BTreeSet<u64>,
}

/// What became of unsynced sectors, over all files and cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub lost: u64,
    pub kept: u64,
    /// Another content than the last: the kernel had written it back before.
    pub earlier: u64,
    pub torn: u64,
    pub shorter: u64,
}

impl File {
    pub(crate) fn new(durable: Durable) -> io::Result<Self> {
        let visible = durable.bytes()?;
        Ok(Self { visible, durable, unsynced: BTreeMap::new(), lengths: Vec::new(), dropped: BTreeSet::new() })
    }

    /// From now on this is what is left after a loss of power; it is empty.
    pub(crate) fn set_durable(&mut self, durable: Durable) {
        self.durable = durable;
    }

    pub(crate) fn len(&self) -> usize {
        self.visible.len()
    }

    #[cfg(test)]
    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Fills what there is; returns how many bytes there were.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let Some(rest) = self.visible.get(offset..) else { return 0 };
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        length
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.touch((offset / SECTOR_BYTES) as u64, ((end - 1) / SECTOR_BYTES) as u64);
        if end > self.visible.len() {
            self.visible.resize(end, 0);
            self.lengths.push(end);
        }
        self.visible[offset..end].copy_from_slice(bytes);
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        if len == self.visible.len() {
            return;
        }
        if len < self.visible.len() {
            self.touch((len / SECTOR_BYTES) as u64, ((self.visible.len() - 1) / SECTOR_BYTES) as u64);
        }
        self.visible.resize(len, 0);
        self.lengths.push(len);
    }

    /// These are about to change.
    fn touch(&mut self, first: u64, last: u64) {
        for sector in first..=last {
            match self.unsynced.get(&sector).map(Vec::len) {
                None => drop(self.unsynced.insert(sector, Vec::new())),
                Some(earlier) => {
                    let now = sector_of(&self.visible, sector);
                    let versions = self.unsynced.entry(sector).or_default();
                    if earlier == EARLIER_MAX {
                        versions.remove(0);
                    }
                    versions.push(now);
                }
            }
        }
        // A page that gets dirty is written back whole, with what a failed sync had left out of it.
        if !self.dropped.is_empty() {
            let pages = first / PAGE_SECTORS * PAGE_SECTORS..(last / PAGE_SECTORS + 1) * PAGE_SECTORS;
            let again: Vec<u64> = self.dropped.range(pages).copied().collect();
            for sector in again {
                self.dropped.remove(&sector);
                self.unsynced.entry(sector).or_default();
            }
        }
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        for (sector, _) in std::mem::take(&mut self.unsynced) {
            self.write_back(sector)?;
        }
        self.durable.set_len(self.visible.len())?;
        self.lengths.clear();
        Ok(())
    }

    fn write_back(&mut self, sector: u64) -> io::Result<()> {
        let start = sector as usize * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.visible.len());
        if start < end { self.durable.write(start, &self.visible[start..end]) } else { Ok(()) }
    }

    /// As Linux fails: some of it is on the platter, and what is not counts as clean from now on.
    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) -> io::Result<()> {
        for (sector, _) in std::mem::take(&mut self.unsynced) {
            if rng.chance(50) {
                self.write_back(sector)?;
            } else {
                self.dropped.insert(sector);
            }
        }
        Ok(())
    }

    /// Some of what was just written goes to the platter at once, whole or in part: for files that a killed process
    /// leaves.
    pub(crate) fn leak(&mut self, offset: usize, length: usize, rng: &mut Rng, percent: u64) -> io::Result<()> {
        let end = (offset + length).min(self.visible.len());
        for start in (offset / SECTOR_BYTES * SECTOR_BYTES..end).step_by(SECTOR_BYTES) {
            if rng.chance(percent) {
                let whole = SECTOR_BYTES.min(self.visible.len() - start);
                let part = if rng.chance(25) { rng.below(whole as u64) as usize } else { whole };
                self.durable.write(start, &self.visible[start..start + part])?;
            }
        }
        Ok(())
    }

    /// The power goes and comes back.
    pub(crate) fn cut(&mut self, rng: &mut Rng, fates: &mut Fates) -> io::Result<()> {
        // Some cuts find the write-back nearly done, others hardly begun.
        let written_percent = rng.pick(&[0, 20, 50, 80, 100]);
        let before = self.durable.bytes()?;
        let changes = match self.lengths.len() {
            0 => 0,
            all if rng.chance(50) => all,
            all => rng.below(all as u64 + 1) as usize,
        };
        let len = changes.checked_sub(1).map_or(before.len(), |last| self.lengths[last]);
        // A shortening that did not come to be: what stood behind it is there whole, as blocks are given away only
        // after it.
        let whole_from = self.lengths[changes..].iter().copied().min().unwrap_or(usize::MAX);
        fates.shorter += u64::from(len < self.visible.len());
        for (sector, earlier) in std::mem::take(&mut self.unsynced) {
            let start = sector as usize * SECTOR_BYTES;
            if start >= len {
                continue;
            }
            if start + SECTOR_BYTES > whole_from {
                fates.lost += 1;
                continue;
            }
            if !rng.chance(written_percent) {
                fates.lost += 1;
                continue;
            }
            let last = sector_of(&self.visible, sector);
            let now = match rng.below(4) {
                0 if !earlier.is_empty() => {
                    fates.earlier += 1;
                    earlier[rng.below(earlier.len() as u64) as usize]
                }
                1 => {
                    fates.torn += 1;
                    let mut torn = sector_of(&before, sector);
                    let new = rng.below(SECTOR_BYTES as u64) as usize;
                    torn[..new].copy_from_slice(&last[..new]);
                    torn
                }
                _ => {
                    fates.kept += 1;
                    last
                }
            };
            self.durable.write(start, &now)?;
        }
        self.durable.set_len(len)?;
        self.visible = self.durable.bytes()?;
        self.lengths.clear();
        self.dropped.clear();
        Ok(())
    }

    /// A bit of the platter is wrong, and whoever reads it sees it.
    pub(crate) fn flip(&mut self, offset: usize, bit: u8) -> io::Result<()> {
        let Some(byte) = self.visible.get_mut(offset) else { return Ok(()) };
        *byte ^= 1 << (bit % 8);
        self.durable.write(offset, &[*byte])
    }
}

/// Zeros behind the end.
fn sector_of(bytes: &[u8], sector: u64) -> Sector {
    let mut content = [0; SECTOR_BYTES];
    if let Some(rest) = bytes.get(sector as usize * SECTOR_BYTES..) {
        let length = rest.len().min(SECTOR_BYTES);
        content[..length].copy_from_slice(&rest[..length]);
    }
    content
}
