//! Locks between the connections of one process: of the database file, and of the memory that they share in WAL mode.
use std::cell::UnsafeCell;

/// What SQLite calls NONE to EXCLUSIVE, in that order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            0 => Level::None,
            1 => Level::Shared,
            2 => Level::Reserved,
            3 => Level::Pending,
            _ => Level::Exclusive,
        }
    }
}

/// Somebody else has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken;

#[derive(Debug, Default)]
pub(crate) struct FileLock {
    readers: u32,
    is_reserved: bool,
    is_pending: bool,
}

impl FileLock {
    /// `held` is the caller's level; it is raised as far as it goes.
    pub(crate) fn raise(&mut self, held: &mut Level, wanted: Level) -> Result<(), Taken> {
        if *held >= wanted {
            return Ok(());
        }
        if *held == Level::None {
            if self.is_pending {
                return Err(Taken);
            }
            self.readers += 1;
            *held = Level::Shared;
        }
        if *held == Level::Shared && wanted > Level::Shared {
            if self.is_reserved {
                return Err(Taken);
            }
            self.is_reserved = true;
            *held = Level::Reserved;
        }
        if wanted == Level::Exclusive {
            self.is_pending = true;
            *held = Level::Pending;
            if self.readers > 1 {
                return Err(Taken);
            }
            *held = Level::Exclusive;
        }
        Ok(())
    }

    pub(crate) fn lower(&mut self, held: &mut Level, to: Level) {
        if *held <= to {
            return;
        }
        if *held >= Level::Pending {
            self.is_pending = false;
        }
        if *held >= Level::Reserved && to < Level::Reserved {
            self.is_reserved = false;
        }
        if to == Level::None {
            self.readers -= 1;
        }
        *held = to;
    }

    pub(crate) fn is_reserved(&self) -> bool {
        self.is_reserved || self.is_pending
    }
}

/// A piece of memory at an address that does not change. Only SQLite looks into it, by its own protocol of locks and
/// barriers.
pub(crate) struct Region(Box<[UnsafeCell<u64>]>);

// SAFETY: this crate never reads or writes the content; it hands the address to SQLite, which synchronises its
// connections with the locks of `Shared` and `xShmBarrier`, as it does between processes.
unsafe impl Send for Region {}

impl Region {
    pub(crate) fn new(bytes: usize) -> Self {
        Self((0..bytes.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect())
    }

    pub(crate) fn address(&self) -> *mut u64 {
        self.0.as_ptr().cast_mut().cast()
    }
}

const SLOTS: usize = 8;

/// The memory beside a database in WAL mode. Gone with its last user, as after a restart.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) users: u32,
    pub(crate) regions: Vec<Region>,
    readers: [u32; SLOTS],
    is_exclusive: [bool; SLOTS],
}

/// What one connection holds of [`Shared`], a bit for each slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    shared: u8,
    exclusive: u8,
}

impl Shared {
    pub(crate) fn lock(
        &mut self,
        held: &mut Held,
        slots: std::ops::Range<usize>,
        exclusive: bool,
    ) -> Result<(), Taken> {
        let mine = |slot: usize, mask: u8| mask & 1 << slot != 0;
        let free = |slot: usize| {
            let others = self.readers[slot] - u32::from(mine(slot, held.shared));
            (!self.is_exclusive[slot] || mine(slot, held.exclusive)) && (!exclusive || others == 0)
        };
        if !slots.clone().all(free) {
            return Err(Taken);
        }
        for slot in slots {
            if exclusive {
                self.is_exclusive[slot] = true;
                held.exclusive |= 1 << slot;
            } else if !mine(slot, held.shared) {
                self.readers[slot] += 1;
                held.shared |= 1 << slot;
            }
        }
        Ok(())
    }

    pub(crate) fn unlock(&mut self, held: &mut Held, slots: std::ops::Range<usize>) {
        for slot in slots {
            if held.exclusive & 1 << slot != 0 {
                self.is_exclusive[slot] = false;
                held.exclusive &= !(1 << slot);
            }
            if held.shared & 1 << slot != 0 {
                self.readers[slot] -= 1;
                held.shared &= !(1 << slot);
            }
        }
    }

    pub(crate) fn unlock_all(&mut self, held: &mut Held) {
        self.unlock(held, 0..SLOTS);
    }
}
