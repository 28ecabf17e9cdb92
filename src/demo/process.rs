//! Child processes and the folder they live in. Both end with their owner, also on a panic: nothing is left running or
//! lying about.
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::Error;
use super::pos::READY_PREFIX;

const START_PATIENCE: Duration = Duration::from_secs(60);

/// A folder for one demo, removed when dropped unless it is to be kept.
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub fn create(keep: bool) -> Result<Self, Error> {
        let name = format!("holdfast-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok(Self { path, keep })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside; made if it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed stays in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// How the demo's children are started.
#[derive(Clone, Debug)]
pub enum Launcher {
    /// This program, by its subcommands `demo-pos` and `run`.
    Program(PathBuf),
    /// The test program itself, see `standin.rs`.
    #[cfg(test)]
    StandIn,
}

impl Launcher {
    pub fn current() -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(|source| Error::OwnProgram { source })?;
        Ok(Self::Program(program))
    }

    /// As a person types it.
    pub fn program(&self) -> String {
        match self {
            Self::Program(program) => program.display().to_string(),
            #[cfg(test)]
            Self::StandIn => "holdfast".to_owned(),
        }
    }

    fn command(&self, arguments: &[String]) -> Result<Command, Error> {
        match self {
            Self::Program(program) => {
                let mut command = Command::new(program);
                command.args(arguments);
                Ok(command)
            }
            #[cfg(test)]
            Self::StandIn => {
                let program = std::env::current_exe().map_err(|source| Error::OwnProgram { source })?;
                let mut command = Command::new(program);
                command.args(["--exact", super::standin::CHILD, "--nocapture", "--test-threads=1"]);
                command.env(super::standin::ROLE, arguments.join("\n"));
                Ok(command)
            }
        }
    }
}

/// A child that is killed when this is dropped; what it prints goes into a file.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The point-of-sale service ends when this closes, even if the demo itself is killed with -9.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts the service and waits for the address that it prints.
    pub async fn pos(launcher: &Launcher, folder: &Path, listen: SocketAddr) -> Result<(Self, SocketAddr), Error> {
        let db = folder.join("pos.db").to_string_lossy().into_owned();
        let arguments =
            ["demo-pos", "--listen", &listen.to_string(), "--db", &db, "--exit-with-stdin"].map(str::to_owned);
        let log = folder.join("pos.log");
        let mut command = launcher.command(&arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::spawn(command, log)?;
        let stdout = process.child.stdout.take();
        let address = tokio::time::timeout(START_PATIENCE, async {
            let mut lines = BufReader::new(stdout?).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The test program prints before the service does, on the same line.
                if let Some((_, address)) = line.split_once(READY_PREFIX) {
                    return address.trim().parse().ok();
                }
            }
            None
        });
        match address.await.ok().flatten() {
            Some(address) => Ok((process, address)),
            None => Err(Error::ServiceDidNotStart { last_lines: process.last_lines(20) }),
        }
    }

    pub fn appliance(launcher: &Launcher, folder: &Path, config: &Path) -> Result<Self, Error> {
        let arguments = ["run", "--config", &config.to_string_lossy()].map(str::to_owned);
        let log = folder.join("holdfast.log");
        let mut command = launcher.command(&arguments)?;
        let out = open_log(&log)?;
        command.stdin(Stdio::null()).stdout(out);
        Self::spawn(command, log)
    }

    fn spawn(mut command: Command, log: PathBuf) -> Result<Self, Error> {
        command.stderr(open_log(&log)?).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| Error::Spawn { source })?;
        let stdin = child.stdin.take();
        Ok(Self { child, log, _stdin: stdin })
    }

    /// `kill -9`; returns when the process is gone.
    pub async fn kill(mut self) -> Result<(), Error> {
        self.child.kill().await.map_err(|source| Error::Kill { source })
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }
}

fn open_log(path: &Path) -> Result<Stdio, Error> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.map(Stdio::from).map_err(|source| Error::Folder { path: path.to_owned(), source })
}

pub fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Ends when the user asks for the end.
pub async fn interrupted() -> io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::http::Client;

    #[tokio::test]
    async fn children_and_folders_end_with_their_owner() {
        let scratch = Scratch::create(false).unwrap();
        let folder = scratch.folder("a").unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, address) = Process::pos(&Launcher::StandIn, &folder, listen).await.unwrap();
        assert!(Client::new(address).get("/health", START_PATIENCE).await.is_ok());
        drop(process);
        while Client::new(address).get("/health", START_PATIENCE).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(scratch);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_program_that_cannot_serve_is_a_clear_error() {
        let scratch = Scratch::create(false).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let ends_at_once = Launcher::Program("false".into());
        let error = Process::pos(&ends_at_once, scratch.path(), listen).await.err().unwrap();
        assert!(matches!(error, Error::ServiceDidNotStart { .. }), "{error}");
        let nowhere = Launcher::Program("/nowhere/holdfast".into());
        let error = Process::pos(&nowhere, scratch.path(), listen).await.err().unwrap();
        assert!(matches!(error, Error::Spawn { .. }), "{error}");
    }
}
