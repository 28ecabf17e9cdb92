//! A disk that loses power, below a real SQLite: what was not synced is lost, kept or torn, sector by sector, in any
//! order.
//!
//! Owns an SQLite VFS and the disk behind it. Only tests use it: the simulation with a disk in memory
//! ([`Disk::in_memory`]), the real binary with real files ([`install`]), where the end of the process is the loss of
//! power.
//!
//! What is modelled:
//! - A write is seen by every connection at once and is on the platter after `xSync` of its file. At a cut each sector
//!   of 512 bytes that was written since is drawn on its own: as it was, as it became, as it was in between, or torn
//!   (the new beginning, the old end). So unsynced writes reach the platter in any order. SQLite is told of no virtue
//!   of the device.
//! - The length of a file is one of those it had since its last sync. What lies below it and was never written is zero.
//! - Names are as on ext4: made and removed in order, a prefix of it survives, and a sync of any file makes all of it
//!   durable. (So the removal of a rollback journal cannot come after a later commit.) Lengths are not in that order:
//!   stricter than ext4.
//! - A sync may fail as on Linux: part of it is written, what is not counts as clean, is seen by processes and gone
//!   with the power, unless its page is written again.
//! - A process may die without the power ([`Disk::power_off`], then [`Disk::power_on`]): all that it wrote is seen by
//!   the next one.
//! - A full disk takes no write that makes a file longer. A bit of the platter may be flipped.
//!
//! Not modelled: a device that lies about a sync, sectors that cannot be read, writes to another place.
#![allow(unsafe_code)]
mod disk;
mod file;
mod locks;
mod rng;
#[cfg(test)]
mod tests;
mod vfs;

use std::sync::Arc;

pub use disk::Disk;
pub use file::{Fates, SECTOR_BYTES};
pub use vfs::Vfs;

/// From now on every connection of this process that names no VFS loses what it did not sync when the process dies.
pub fn install(seed: u64) {
    let disk = Arc::new(Disk::real(seed));
    std::mem::forget(Vfs::register(&disk, true));
    std::mem::forget(disk);
}
