//! A directory on a disk, with what a loss of power does to it.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::file::{Durable, Fates, File, SECTOR_BYTES};
use crate::locks::{FileLock, Held, Level, Shared};
use crate::rng::Rng;

/// Of what is written to real files, this much is there at once.
const LEAK_PERCENT: u64 = 15;

/// Why the disk does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The power is gone, or a real file failed.
    Io,
    Full,
    Locked,
    NotFound,
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Refused::Io
    }
}

/// See the crate. Shared by all connections that use it; cheap to make.
pub struct Disk {
    state: Mutex<State>,
}

type FileId = u64;

/// A change of the directory that no sync has made durable.
#[derive(Debug)]
enum Change {
    Make(String, FileId),
    Remove(String),
}

struct State {
    /// Names are paths of real files.
    is_real: bool,
    rng: Rng,
    files: BTreeMap<FileId, Node>,
    next_file: FileId,
    /// As processes see it. `None`: removed.
    names: BTreeMap<String, Option<FileId>>,
    /// As it is after a loss of power, but for `changes`.
    durable_names: BTreeMap<String, FileId>,
    changes: Vec<Change>,
    faults: Faults,
    operations: u64,
    fates: Fates,
}

#[derive(Default)]
struct Faults {
    is_off: bool,
    off_after: Option<u64>,
    failing_syncs: u32,
    is_full: bool,
}

struct Node {
    file: File,
    lock: FileLock,
    shared: Shared,
    users: u32,
}

/// One open file of one connection.
pub(crate) struct Handle {
    id: FileId,
    level: Level,
    held: Held,
    is_mapped: bool,
    delete_on_close: Option<String>,
}

impl Disk {
    /// An empty disk in memory. Everything that it draws follows from `seed`.
    pub fn in_memory(seed: u64) -> Self {
        Self::new(seed, false)
    }

    /// Names are real paths. What was not synced is in this process's memory only, but for a few sectors that went
    /// through at once: the death of the process is the loss of power.
    pub fn real(seed: u64) -> Self {
        Self::new(seed, true)
    }

    fn new(seed: u64, is_real: bool) -> Self {
        let state = State {
            is_real,
            rng: Rng::new(seed),
            files: BTreeMap::new(),
            next_file: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            faults: Faults::default(),
            operations: 0,
            fates: Fates::default(),
        };
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves files as a panic of the process would.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, syncs, changes of lengths and names so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// What became of unsynced sectors in all cuts so far.
    pub fn fates(&self) -> Fates {
        self.lock().fates
    }

    /// The power goes in the middle of operation `nth` from now, counted from 1. From then on nothing can be read or
    /// written until [`Disk::cut`] or [`Disk::power_on`].
    pub fn off_at(&self, nth: u64) {
        self.lock().faults.off_after = Some(nth.max(1));
    }

    /// At once.
    pub fn power_off(&self) {
        self.lock().faults.is_off = true;
    }

    pub fn is_off(&self) -> bool {
        self.lock().faults.is_off
    }

    /// The process has died and the machine has not: the page cache is as it was.
    pub fn power_on(&self) {
        let mut state = self.lock();
        (state.faults.is_off, state.faults.off_after) = (false, None);
    }

    /// The power was away: what was not synced is drawn anew, sector by sector, and what is left is there from now on.
    /// Only in memory, and only when all connections are closed.
    pub fn cut(&self) {
        let mut state = self.lock();
        assert!(!state.is_real, "real files lose power with their process");
        assert!(state.files.values().all(|node| node.users == 0), "connections are open that died with the power");
        state.cut().expect("memory does not fail");
        (state.faults.is_off, state.faults.off_after) = (false, None);
    }

    /// The next syncs that have something to do fail, as Linux fails: what they did not write counts as clean.
    pub fn fail_syncs(&self, times: u32) {
        self.lock().faults.failing_syncs = times;
    }

    /// No file can grow.
    pub fn set_full(&self, is_full: bool) {
        self.lock().faults.is_full = is_full;
    }

    /// Reads the file, writes the same again and syncs it, as a process can that believes no sync of an earlier one.
    /// `false`: the power went on the way.
    pub fn rewrite(&self, name: &str) -> bool {
        let mut handle = match self.open(Some(name), false, false) {
            Ok(handle) => handle,
            Err(refused) => return refused == Refused::NotFound,
        };
        let rewritten = self.rewrite_all(&handle);
        self.close(&mut handle);
        rewritten.is_ok()
    }

    fn rewrite_all(&self, handle: &Handle) -> Result<(), Refused> {
        let mut chunk = [0; 8 * SECTOR_BYTES];
        for offset in (0..self.size(handle)).step_by(chunk.len()) {
            let length = self.read(handle, offset, &mut chunk)?;
            self.write(handle, offset, &chunk[..length])?;
        }
        self.sync(handle)
    }

    /// How long the file is; `None` where there is none.
    pub fn length(&self, name: &str) -> Option<u64> {
        let state = self.lock();
        let id = state.names.get(name).copied().flatten()?;
        Some(state.files[&id].file.len() as u64)
    }

    /// A bit of the platter changes.
    pub fn flip(&self, name: &str, offset: u64, bit: u8) {
        let mut state = self.lock();
        if let Some(id) = state.names.get(name).copied().flatten() {
            let node = state.files.get_mut(&id).expect("a name is of a file");
            node.file.flip(offset as usize, bit).expect("memory does not fail");
        }
    }
}

// === what SQLite asks for ===

impl Disk {
    /// `None`: a file without a name, gone when it is closed.
    pub(crate) fn open(&self, name: Option<&str>, create: bool, delete_on_close: bool) -> Result<Handle, Refused> {
        let mut state = self.lock();
        let id = match name {
            None => state.add(File::new(Durable::Memory(Vec::new()))?),
            Some(name) => match state.find(name)? {
                Some(id) => id,
                None if create => state.make(name)?,
                None => return Err(Refused::NotFound),
            },
        };
        state.files.get_mut(&id).expect("it was found or made").users += 1;
        let delete_on_close = name.filter(|_| delete_on_close).map(str::to_owned);
        Ok(Handle { id, level: Level::None, held: Held::default(), is_mapped: false, delete_on_close })
    }

    pub(crate) fn close(&self, handle: &mut Handle) {
        self.unlock(handle, Level::None);
        self.unmap(handle);
        if let Some(name) = handle.delete_on_close.take() {
            // Without power it stays, and is found again.
            let _ = self.delete(&name, false);
        }
        let mut state = self.lock();
        state.node(handle).users -= 1;
        state.drop_if_unreachable(handle.id);
    }

    pub(crate) fn exists(&self, name: &str) -> Result<bool, Refused> {
        Ok(self.lock().find(name)?.is_some())
    }

    pub(crate) fn delete(&self, name: &str, sync_directory: bool) -> Result<(), Refused> {
        let mut state = self.lock();
        state.operate()?;
        if state.find(name)?.is_none() {
            return Err(Refused::NotFound);
        }
        state.names.insert(name.to_owned(), None);
        state.changes.push(Change::Remove(name.to_owned()));
        if sync_directory { state.sync_names(usize::MAX) } else { Ok(()) }
    }

    pub(crate) fn read(&self, handle: &Handle, offset: usize, into: &mut [u8]) -> Result<usize, Refused> {
        let mut state = self.lock();
        if state.faults.is_off {
            return Err(Refused::Io);
        }
        Ok(state.node(handle).file.read(offset, into))
    }

    pub(crate) fn write(&self, handle: &Handle, offset: usize, bytes: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        let grows = offset + bytes.len() > state.node(handle).file.len();
        if grows && state.faults.is_full {
            return Err(Refused::Full);
        }
        // The power may go while it is under way: then it is one of the unsynced writes.
        let was_on = !state.faults.is_off;
        let operated = state.operate();
        if was_on {
            state.node(handle).file.write(offset, bytes);
        }
        operated?;
        if state.is_real {
            let State { files, rng, .. } = &mut *state;
            let node = files.get_mut(&handle.id).expect("an open file exists");
            node.file.leak(offset, bytes.len(), rng, LEAK_PERCENT)?;
        }
        Ok(())
    }

    pub(crate) fn truncate(&self, handle: &Handle, len: usize) -> Result<(), Refused> {
        let mut state = self.lock();
        state.operate()?;
        state.node(handle).file.set_len(len);
        Ok(())
    }

    /// As on ext4: with the file's content, all changes of names so far become durable.
    pub(crate) fn sync(&self, handle: &Handle) -> Result<(), Refused> {
        let mut state = self.lock();
        state.operate()?;
        if state.faults.failing_syncs > 0 {
            state.faults.failing_syncs -= 1;
            let State { files, rng, .. } = &mut *state;
            files.get_mut(&handle.id).expect("an open file exists").file.fail_sync(rng)?;
            return Err(Refused::Io);
        }
        state.sync_names(usize::MAX)?;
        Ok(state.node(handle).file.sync()?)
    }

    pub(crate) fn size(&self, handle: &Handle) -> usize {
        self.lock().node(handle).file.len()
    }

    pub(crate) fn raise(&self, handle: &mut Handle, wanted: Level) -> Result<(), Refused> {
        let mut state = self.lock();
        let lock = &mut state.node(handle).lock;
        lock.raise(&mut handle.level, wanted).map_err(|_| Refused::Locked)
    }

    pub(crate) fn unlock(&self, handle: &mut Handle, to: Level) {
        let mut state = self.lock();
        let lock = &mut state.node(handle).lock;
        lock.lower(&mut handle.level, to);
    }

    pub(crate) fn is_reserved(&self, handle: &Handle) -> bool {
        self.lock().node(handle).lock.is_reserved()
    }

    /// The address of a region; null where there is none and none is to be made.
    pub(crate) fn map(&self, handle: &mut Handle, region: usize, bytes: usize, extend: bool) -> *mut u64 {
        let mut state = self.lock();
        let shared = &mut state.node(handle).shared;
        if !std::mem::replace(&mut handle.is_mapped, true) {
            shared.users += 1;
        }
        while extend && shared.regions.len() <= region {
            shared.regions.push(crate::locks::Region::new(bytes));
        }
        shared.regions.get(region).map_or(std::ptr::null_mut(), crate::locks::Region::address)
    }

    pub(crate) fn unmap(&self, handle: &mut Handle) {
        if !std::mem::replace(&mut handle.is_mapped, false) {
            return;
        }
        let mut state = self.lock();
        let shared = &mut state.node(handle).shared;
        shared.unlock_all(&mut handle.held);
        shared.users -= 1;
        if shared.users == 0 {
            shared.regions.clear();
        }
    }

    pub(crate) fn lock_shared(
        &self,
        handle: &mut Handle,
        slots: std::ops::Range<usize>,
        exclusive: bool,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        let shared = &mut state.node(handle).shared;
        shared.lock(&mut handle.held, slots, exclusive).map_err(|_| Refused::Locked)
    }

    pub(crate) fn unlock_shared(&self, handle: &mut Handle, slots: std::ops::Range<usize>) {
        let mut state = self.lock();
        state.node(handle).shared.unlock(&mut handle.held, slots);
    }
}

impl State {
    /// One operation that changes something.
    fn operate(&mut self) -> Result<(), Refused> {
        if self.faults.is_off {
            return Err(Refused::Io);
        }
        self.operations += 1;
        match self.faults.off_after.as_mut() {
            None => Ok(()),
            Some(left) if *left > 1 => {
                *left -= 1;
                Ok(())
            }
            Some(_) => {
                (self.faults.is_off, self.faults.off_after) = (true, None);
                Err(Refused::Io)
            }
        }
    }

    fn node(&mut self, handle: &Handle) -> &mut Node {
        self.files.get_mut(&handle.id).expect("an open file exists")
    }

    fn add(&mut self, file: File) -> FileId {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, Node { file, lock: FileLock::default(), shared: Shared::default(), users: 0 });
        id
    }

    fn find(&mut self, name: &str) -> Result<Option<FileId>, Refused> {
        if self.faults.is_off {
            return Err(Refused::Io);
        }
        if let Some(known) = self.names.get(name) {
            return Ok(*known);
        }
        if !self.is_real {
            return Ok(None);
        }
        match fs::File::options().read(true).write(true).open(name) {
            Ok(real) => {
                let id = self.add(File::new(Durable::Real(real))?);
                self.names.insert(name.to_owned(), Some(id));
                Ok(Some(id))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(Refused::Io),
        }
    }

    fn make(&mut self, name: &str) -> Result<FileId, Refused> {
        if self.is_real && PathBuf::from(name).parent().is_some_and(|dir| !dir.is_dir()) {
            return Err(Refused::NotFound);
        }
        self.operate()?;
        let id = self.add(File::new(Durable::Memory(Vec::new()))?);
        self.names.insert(name.to_owned(), Some(id));
        self.changes.push(Change::Make(name.to_owned(), id));
        Ok(id)
    }

    /// The first `count` changes of the directory, in their order: its journal knows no other.
    fn sync_names(&mut self, count: usize) -> Result<(), Refused> {
        let count = count.min(self.changes.len());
        for change in self.changes.drain(..count) {
            match change {
                Change::Make(name, id) => {
                    if self.is_real
                        && let Some(node) = self.files.get_mut(&id)
                    {
                        let real =
                            fs::File::options().read(true).write(true).create(true).truncate(true).open(&name)?;
                        node.file.set_durable(Durable::Real(real));
                    }
                    self.durable_names.insert(name, id);
                }
                Change::Remove(name) => {
                    if self.is_real {
                        fs::remove_file(&name)?;
                    }
                    self.durable_names.remove(&name);
                }
            }
        }
        self.drop_unreachable();
        Ok(())
    }

    fn cut(&mut self) -> Result<(), Refused> {
        let survive = self.rng.below(self.changes.len() as u64 + 1) as usize;
        self.sync_names(survive)?;
        self.changes.clear();
        self.names = self.durable_names.iter().map(|(name, &id)| (name.clone(), Some(id))).collect();
        self.drop_unreachable();
        let State { files, rng, fates, .. } = self;
        for node in files.values_mut() {
            node.file.cut(rng, fates)?;
        }
        Ok(())
    }

    fn drop_unreachable(&mut self) {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drop_if_unreachable(id));
    }

    fn drop_if_unreachable(&mut self, id: FileId) {
        let is_named = self.names.values().any(|named| *named == Some(id))
            || self.durable_names.values().any(|named| *named == id)
            || self.changes.iter().any(|change| matches!(change, Change::Make(_, made) if *made == id));
        if !is_named && self.files[&id].users == 0 {
            self.files.remove(&id);
        }
    }
}
