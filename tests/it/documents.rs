//! What README and the operator's handbook tell a reader to type is typed here, block by block, in a network of its own
//! with the ports that they name.
//!
//! A comment before a block says how it is run: `<!-- test: … -->` with a list of
//!
//! - `skip, WHY`: not at all;
//! - `background`: each line is a process of its own that goes on;
//! - `stop N`, `start N`: before it, of these the Nth is told to end (as by Ctrl-C), or is started again;
//! - `until TEXT`: again and again, until all of it succeeds and TEXT was printed;
//! - `exit N, WHY`: ends with this code, and not with 0.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::process::{Ended, Process, holdfast, run_within};
use crate::harness::{Act, Appliance, Call, SOON, Service, Site, Upstream, is_root, ledger, skipped, wait_for};

/// `holdfast check` syncs some hundred times, which takes minutes on a disk that others keep busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// A block of commands.
#[derive(Debug)]
struct Block {
    line: usize,
    directive: String,
    commands: Vec<String>,
}

impl Block {
    /// What stands behind one of the directive's words.
    fn word(&self, name: &str) -> Option<&str> {
        let parts = self.directive.split(", ");
        parts.filter_map(|part| part.strip_prefix(name)).map(str::trim).next()
    }
    fn number(&self, name: &str) -> Option<usize> {
        self.word(name).map(|text| text.parse().expect("a number"))
    }
}

/// All blocks that are indented by four, unless they are drawings.
fn blocks(markdown: &str) -> Vec<Block> {
    let (mut blocks, mut directive, mut is_fenced): (Vec<Block>, _, _) = (Vec::new(), String::new(), false);
    let mut is_open = false;
    for (at, line) in markdown.lines().enumerate() {
        is_fenced ^= line.starts_with("```");
        let said = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(said) = said {
            directive = said.to_owned();
        }
        let command = line.strip_prefix("    ").filter(|_| !is_fenced);
        match command {
            Some(more) if is_open => {
                let commands = &mut blocks.last_mut().expect("one is open").commands;
                match commands.last_mut() {
                    Some(last) if last.ends_with('\\') => {
                        last.pop();
                        last.push_str(more.trim_start());
                    }
                    _ => commands.push(more.to_owned()),
                }
            }
            Some(first) if first.starts_with(|c: char| c.is_ascii_lowercase() || c == '.') => {
                let (directive, commands) = (std::mem::take(&mut directive), vec![first.to_owned()]);
                blocks.push(Block { line: at + 1, directive, commands });
                is_open = true;
            }
            _ => {
                is_open = false;
                if said.is_none() && !line.trim().is_empty() {
                    directive.clear();
                }
            }
        }
    }
    blocks
}

/// The TOML files that the text shows, each behind its name.
fn write_files(markdown: &str, folder: &Path) {
    let mut parts = markdown.split("```toml\n");
    let mut before = parts.next().unwrap_or_default();
    for part in parts {
        let (text, after) = part.split_once("```").expect("a block has an end");
        let name = before.trim_end().rsplit('`').nth(1).expect("a file has a name");
        std::fs::write(folder.join(name), text).unwrap();
        before = after;
    }
}

fn shell(script: &str, folder: &Path) -> Command {
    let program = holdfast();
    let bin = Path::new(program.get_program()).parent().expect("it lies in a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).env("PATH", path).stdin(std::process::Stdio::null());
    for name in ["RUST_LOG", "NOTIFY_SOCKET", "HOLDFAST_TOKEN"] {
        command.env_remove(name);
    }
    command
}

/// Runs `play` in a network that has nothing but a loopback of its own. `false`: there can be none.
#[allow(unsafe_code)]
fn alone(play: impl FnOnce() + Send + 'static) -> bool {
    let playing = std::thread::spawn(move || {
        // SAFETY: concerns the network of this thread alone, and of what it starts.
        let is_alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        let is_up = is_alone
            && Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success());
        if is_up {
            play();
        }
        is_up
    });
    playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn can_play(what: &str) -> bool {
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !is_root() || !has_curl {
        skipped(what, "a network of its own needs root, and its commands curl");
    }
    is_root() && has_curl
}

/// `&& holdfast run` in its place, so that a signal reaches it.
fn spawn(line: &str, number: usize, folder: &Path) -> Process {
    let line = line.replace("&& holdfast run", "&& exec holdfast run");
    Process::spawn(shell(&line, folder), &format!("number {number}"), &folder.join(format!("{number}.log")))
}

#[test]
fn the_five_minutes_of_the_readme_are_true() {
    let what = "the commands of README.md";
    if can_play(what) && !alone(readme) {
        skipped(what, "no network namespace can be made here");
    }
}

fn readme() {
    let markdown = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_files(&markdown, folder);
    let services = ["127.0.0.1:9001", "127.0.0.1:9002"].map(|at| Upstream::start_at(at.parse().unwrap()));
    let mut running: Vec<(String, Process)> = Vec::new();
    let mut played = 0;
    for block in blocks(&markdown).iter().filter(|block| block.word("skip").is_none()) {
        played += 1;
        if block.word("background").is_some() {
            for line in &block.commands {
                let number = running.len() + 1;
                running.push((line.clone(), spawn(line, number, folder)));
            }
            continue;
        }
        if let Some(number) = block.number("stop") {
            let (_, process) = &mut running[number - 1];
            // Before that it may still be the check, or a start.
            wait_for("it runs", SOON, || process.log().contains("ready site="));
            process.signal("INT");
            assert_eq!(process.wait_end().code(), Some(0), "line {}: {}", block.line, process.log());
        }
        if let Some(number) = block.number("start") {
            let line = running[number - 1].0.clone();
            running[number - 1].1 = spawn(&line, number, folder);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ended { code, out, err } = run_within(PATIENCE, shell(&block.commands.join("\n"), folder));
            if code == Some(0) && block.word("until").is_none_or(|text| out.contains(text)) {
                break;
            }
            assert!(Instant::now() < deadline, "line {}: {:?}: {code:?}\n{out}\n{err}", block.line, block.commands);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(played, 4, "blocks that are not skipped");
    wait_for("both services are equal", SOON, || {
        services[1].applied_keys() == ["first", "second"] && ledger::equal(&[&services[0], &services[1]])
    });
}

#[test]
fn the_commands_of_the_handbook_do_what_they_are_there_for() {
    let what = "the commands of docs/operating.md";
    if can_play(what) && !alone(handbook) {
        skipped(what, "no network namespace can be made here");
    }
}

fn handbook() {
    const FILE: &str = "/etc/holdfast/holdfast.toml";
    let markdown = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap();
    let service = Upstream::start();
    let site = Site::alone().admin("127.0.0.1:9797").service(Service::new("tx", &service).replicas(&["store"]));
    let mut store = site.start();
    // Enough for a person to decide about.
    service.at("/tx/fails", Act::answer(500));
    for n in 0..10 {
        store.tell(&Call::post("/tx/fails").key(&format!("k{n}")).lane(&format!("l{n}"))).expect(500);
    }
    wait_for("they wait for a person", SOON, || store.count("quarantine") == 10);
    let file = store.site.folder().join("holdfast.toml").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut played = 0;
    for block in blocks(&markdown).iter().filter(|block| block.word("skip").is_none()) {
        played += 1;
        for line in &block.commands {
            match line.strip_prefix("systemctl ").map(|order| order.split(' ').next().unwrap_or_default()) {
                Some("stop") => store.stop(),
                Some("start" | "restart") => store.restart(),
                Some(other) => panic!("line {}: systemctl {other}", block.line),
                None => {
                    let script = filled(line, &store).replace(FILE, &file);
                    let ended = run_within(PATIENCE, shell(&script, folder.path()));
                    let expected = block.number("exit").unwrap_or(0) as i32;
                    assert_eq!(ended.code, Some(expected), "line {}: {script}: {ended:?}", block.line);
                }
            }
        }
        if store.process.ended().is_some() {
            store.restart();
        }
    }
    assert!(played >= 5, "{played} blocks were played");
}

/// A command with what stands in capital letters filled in.
fn filled(line: &str, store: &Appliance) -> String {
    if !line.contains(" ID") {
        return line.replace(" SERVICE", " tx").replace(" STORE", " store");
    }
    let listed = store.api("/quarantine");
    let id = listed[0]["id"].as_str().expect("something waits for a person");
    line.replace(" ID", &format!(" {id}"))
}
