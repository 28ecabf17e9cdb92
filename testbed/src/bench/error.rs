//! Why a measurement has no result. A bad figure is a result.
use std::path::PathBuf;

use crate::load;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{}: cannot start it: {source}\n  {hint}", program.display())]
    Spawn { program: PathBuf, hint: &'static str, source: std::io::Error },
    #[error("{name} ended before it was ready; its last lines:\n{last_lines}")]
    Ended { name: String, last_lines: String },
    #[error("{name} was not ready within {seconds} s; its last lines:\n{last_lines}")]
    NotReady { name: String, seconds: u64, last_lines: String },
    #[error("cannot read the CPU time of process {pid}")]
    Cpu { pid: u32 },
    #[error("no answer from {what}")]
    NoAnswer { what: String },
    #[error("cannot find a free port: {source}")]
    Port { source: std::io::Error },
    #[error("{what}: {count} of {expected} came within {seconds} s")]
    Missing { what: String, count: u64, expected: u64, seconds: u64 },
    #[error("{what}: {why}")]
    Network { what: String, why: String },
    #[error(transparent)]
    Load(#[from] load::Error),
}

impl Error {
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { what, path, source }
    }
}
