//! The processes that are measured, their CPU time, and the folder they live in. All end with their owner.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Error;
use super::threads::Threads;

const READY_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// `USER_HZ`: 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// What a demo service, or a bare proxy, prints before its address.
const LISTENING: &str = "listening on ";

/// A folder for one measurement, removed when dropped unless it is to be kept.
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub fn create(parent: Option<&Path>, keep: bool) -> Result<Self, Error> {
        let name = format!("holdfast-bench-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = parent.map_or_else(std::env::temp_dir, Path::to_owned).join(name);
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(Self { path, keep })
    }

    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else {
            // What cannot be removed stays in the folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A child that is killed, by its own id, when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its standard error, and its standard output where nobody reads it, go to `folder/name.log`.
    pub fn start(name: &str, folder: &Path, hint: &'static str, mut command: Command) -> Result<Self, Error> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).map_err(Error::file("create", &log))?;
        command.stderr(out);
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(|source| Error::Spawn { program, hint, source })?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Starts a program that prints its address. It ends when its standard input does, so with this process in any
    /// case.
    pub fn start_listening(
        name: &str,
        folder: &Path,
        hint: &'static str,
        mut command: Command,
    ) -> Result<(Self, SocketAddr), Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start(name, folder, hint, command)?;
        let lines = process.child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if let Some(address) = line.split_once(LISTENING).and_then(|(_, address)| address.trim().parse().ok()) {
                return Ok((process, address));
            }
        }
        Err(Error::Ended { name: process.name.clone(), last_lines: process.last_lines() })
    }

    /// Waits until `ready` says so.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + READY_PATIENCE;
        while !ready() {
            let name = self.name.clone();
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(Error::Ended { name, last_lines: self.last_lines() });
            }
            if Instant::now() > deadline {
                let seconds = READY_PATIENCE.as_secs();
                return Err(Error::NotReady { name, seconds, last_lines: self.last_lines() });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    pub fn wait_for_port(&mut self, address: SocketAddr) -> Result<(), Error> {
        self.wait_until(|| TcpStream::connect_timeout(&address, POLL).is_ok())
    }

    pub fn cpu(&self) -> Result<Cpu, Error> {
        let pid = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| Error::Cpu { pid })?;
        Cpu::parse(&stat).ok_or(Error::Cpu { pid })
    }

    pub fn threads(&self) -> Threads {
        Threads::of_process(self.child.id())
    }

    /// Waits until the process has next to nothing to do, so that work put off is counted too; at most `patience`.
    pub fn wait_until_quiet(&self, patience: Duration) -> Result<(), Error> {
        const WINDOW: Duration = Duration::from_millis(150);
        let deadline = Instant::now() + patience;
        let mut before = self.cpu()?;
        while Instant::now() < deadline {
            std::thread::sleep(WINDOW);
            let now = self.cpu()?;
            // One tick: 7 % of one core.
            if (now - before).seconds() <= 1.0 / TICKS_PER_SECOND {
                break;
            }
            before = now;
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    pub user_s: f64,
    pub system_s: f64,
}

impl Cpu {
    pub fn seconds(self) -> f64 {
        self.user_s + self.system_s
    }

    /// `/proc/PID/stat`: the name in parentheses may hold blanks and parentheses; utime and stime are fields 14 and 15.
    pub fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self { user_s: seconds()?, system_s: seconds()? })
    }
}

impl std::ops::Sub for Cpu {
    type Output = Cpu;
    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1";
        for name in ["envoy", "a b", "x) (y"] {
            let cpu = Cpu::parse(&format!("77 ({name}) {tail}"));
            assert_eq!(cpu, Some(Cpu { user_s: 1.5, system_s: 0.25 }), "{name}");
        }
        assert_eq!(Cpu::parse("77 (x) S 1"), None);
        assert_eq!(Cpu::parse(""), None);
    }

    #[test]
    fn a_child_ends_with_its_owner() {
        let scratch = Scratch::create(None, false).unwrap();
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null());
        let process = Process::start("sleep", scratch.path(), "", command).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", process.child.id()));
        assert!(stat.exists());
        drop(process);
        assert!(!stat.exists());
        let folder = scratch.path().to_owned();
        drop(scratch);
        assert!(!folder.exists());
    }
}
