//! Child processes: each ends with its owner, by its own id.
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, ChildStdin, Command};

use super::{Error, sys};

/// Killed when dropped, and by the kernel when this process dies without dropping anything.
pub struct Process {
    child: Child,
    id: u32,
    log: PathBuf,
    /// The service ends when this closes.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// `command` is the whole line: prefix, program, arguments. Both outputs go to the end of `log`.
    pub fn spawn(command: &[String], environment: &[(String, String)], log: &Path) -> Result<Self, Error> {
        let file = || {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(log);
            opened.map_err(|source| Error::File { path: log.to_owned(), source })
        };
        let with_parent = ["setpriv", "--pdeathsig", "KILL", "--"].map(str::to_owned);
        let whole: Vec<&String> =
            if has_setpriv() { with_parent.iter().chain(command).collect() } else { command.iter().collect() };
        let (program, arguments) = whole.split_first().ok_or_else(|| Error::Hand("an empty command".into()))?;
        let mut line = Command::new(program);
        line.args(arguments).envs(environment.iter().cloned()).kill_on_drop(true);
        line.stdin(Stdio::piped()).stdout(file()?).stderr(file()?);
        let failed = |source: io::Error| Error::Program { what: command.join(" "), source };
        let mut child = line.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let id = child.id().unwrap_or_default();
        Ok(Self { child, id, log: log.to_owned(), _stdin: stdin })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn signal(&self, signal: i32) {
        // An error means that it has ended: whoever needs to know asks.
        let _ = sys::signal(self.id, signal);
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }
}

fn has_setpriv() -> bool {
    ["/usr/bin/setpriv", "/bin/setpriv"].iter().any(|path| Path::new(path).exists())
}

pub fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
