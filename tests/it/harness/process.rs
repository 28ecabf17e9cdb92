//! The real binary as a child: killed by its id when its owner goes, its log shown when the test fails.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{SOON, wait_for};

const LOG_LINES_SHOWN: usize = 60;

pub fn holdfast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.stdin(Stdio::null());
    for name in ["RUST_LOG", "NOTIFY_SOCKET", "HOLDFAST_FAILPOINT", "HOLDFAST_PANIC", "HOLDFAST_POWER_LOSS"] {
        command.env_remove(name);
    }
    command
}

/// A command that ends by itself.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs to the end; killed, and the test fails, when it takes longer than a start ever may.
#[track_caller]
pub fn run(command: Command) -> Ended {
    run_within(SOON, command)
}

/// For what measures a disk, which may be a busy one.
#[track_caller]
pub fn run_within(patience: Duration, mut command: Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let deadline = Instant::now() + patience;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still runs: {command:?}\n{}", err.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ended { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    /// A crash on purpose is no failure to show.
    expected_to_end: bool,
}

impl Process {
    /// What it prints is appended to `log`.
    pub fn spawn(mut command: Command, name: &str, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("open the log");
        command.stdout(file.try_clone().expect("share the log")).stderr(file);
        Self::spawn_to(command, name, log)
    }

    /// With standard output and error as the command has them; `log` is what is shown of it.
    pub fn spawn_to(mut command: Command, name: &str, log: &Path) -> Self {
        let child = command.spawn().expect("the binary starts");
        Self { child, name: name.to_owned(), log: log.to_owned(), expected_to_end: false }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.expected_to_end = true;
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP, and waits until every thread stands: what is under way in the kernel comes to its end first.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.id());
        let stands = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            // The name before it may hold anything.
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
        };
        wait_for(&format!("{} stands", self.name), SOON, || {
            std::fs::read_dir(&tasks).is_ok_and(|mut all| all.all(stands))
        });
    }

    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs").success());
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for our own child")
    }

    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        self.expected_to_end = true;
        wait_for(&format!("{} ends", self.name), SOON, || self.ended().is_some());
        self.ended().expect("just seen")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- log of {} (last of {} lines) ---\n{}", self.name, lines.len(), lines[shown..].join("\n"));
        } else if !self.expected_to_end
            && let Some(status) = self.ended()
        {
            eprintln!("{} ended on its own: {status}\n{}", self.name, self.log());
        }
        self.kill();
    }
}
