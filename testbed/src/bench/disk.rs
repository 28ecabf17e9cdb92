//! What one durable append costs on a disk, measured where the journal lies and while it is used.
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::Error;
use crate::load::Histogram;

/// What SQLite appends for a small commit: a page or two.
const APPEND_BYTES: usize = 4_096;

pub struct Disk {
    file: File,
    path: std::path::PathBuf,
    /// Append and `fdatasync`, as SQLite commits to its WAL.
    pub fdatasync: Histogram,
    /// Append and `fsync`.
    pub fsync: Histogram,
}

impl Disk {
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("fsync-probe");
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        Ok(Self { file, path, fdatasync: Histogram::default(), fsync: Histogram::default() })
    }

    pub fn probe(&mut self, times: u32) -> Result<(), Error> {
        let page = [0x5a; APPEND_BYTES];
        for _ in 0..times {
            let began = Instant::now();
            self.file.write_all(&page).and_then(|()| self.file.sync_data()).map_err(Error::file("sync", &self.path))?;
            self.fdatasync.record(began.elapsed());
            let began = Instant::now();
            self.file.write_all(&page).and_then(|()| self.file.sync_all()).map_err(Error::file("sync", &self.path))?;
            self.fsync.record(began.elapsed());
        }
        Ok(())
    }

    /// The cheaper of the two, in ms: a bar made of it is the harder one.
    pub fn p50_ms(&self) -> f64 {
        [&self.fdatasync, &self.fsync]
            .map(|times| times.quantile(0.5).as_secs_f64() * 1_000.0)
            .into_iter()
            .fold(f64::MAX, f64::min)
    }
}
