//! Commands against a listener, and what is deployed against the arguments.
use std::path::Path;

use clap::Parser;

use super::args::{Arguments, Ask, Chosen, Output, QuarantineCommand, StatusArguments, Which, WritesCommand};
use super::*;
use crate::admin::HealthState;

const UNIT: &str = include_str!("../../deploy/systemd/holdfast.service");
const MANIFEST: &str = include_str!("../../deploy/k3s/holdfast.yaml");

/// An admin listener in a thread of its own, because commands bring their own runtime.
fn listener(token: Option<&'static str>) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (address, _) = crate::admin::tests::start(HealthState::Ready, token).await;
            sender.send(address).unwrap();
            std::future::pending::<()>().await;
        });
    });
    format!("http://{}", receiver.recv().unwrap())
}

fn ask(admin: &str, token: Option<&str>) -> Ask {
    Ask { admin: admin.to_owned(), token: token.map(str::to_owned), output: Output::Table, wide: false }
}

#[test]
fn commands_talk_to_the_admin_listener() {
    let admin = listener(Some("0123456789abcdef"));
    let ours = || ask(&admin, Some("0123456789abcdef"));
    let status = |ask, check| status::status(&StatusArguments { check, watch: false, seen: false, ask });
    assert_eq!(status(ours(), false).unwrap(), ExitCode::SUCCESS);
    assert_eq!(status(ours(), true).unwrap(), ExitCode::SUCCESS);
    assert_eq!(status(ask(&admin, Some("wrong")), true).unwrap(), ExitCode::from(3));
    listing::peers(&ours()).unwrap();
    listing::services(None, &ours()).unwrap();
    let ls = |service: &str, ask| WritesCommand::Ls {
        service: Some(service.to_owned()),
        open: true,
        after: None,
        limit: 5,
        ask,
    };
    listing::writes(ls("tx", ours())).unwrap();
    let seven = "01010101010101010101010101010101.1:7";
    let one = || Which { id: Some(seven.to_owned()), ..Which::default() };
    let many =
        |yes| Which { chosen: Chosen { service: Some("tx".to_owned()), ..Chosen::default() }, yes, ..Which::default() };
    quarantine::run(QuarantineCommand::Show { id: seven.to_owned(), body: true, ask: ours() }).unwrap();
    quarantine::run(QuarantineCommand::Discard { which: one(), ask: ours() }).unwrap();
    let quarantined =
        QuarantineCommand::Ls { chosen: Chosen::default(), all: false, after: None, limit: 5, ask: ours() };
    quarantine::run(quarantined).unwrap();
    quarantine::run(QuarantineCommand::Discard { which: many(false), ask: ours() }).unwrap();
    quarantine::run(QuarantineCommand::Discard { which: many(true), ask: ours() }).unwrap();
    // result | what is said
    for (result, said) in [
        (status(ask(&admin, Some("wrong")), false), "unauthorized"),
        (listing::writes(ls("a b&c=d", ours())), "there is no service \"a b&c=d\""),
        (
            quarantine::run(QuarantineCommand::Resend { which: one(), over_later: false, ask: ours() }),
            "its lane has passed it",
        ),
        (
            quarantine::run(QuarantineCommand::Applied { which: many(true), ask: ours() }),
            "01010101010101010101010101010101.1:7: not this one; nothing is done with what stands behind it",
        ),
        (quarantine::run(QuarantineCommand::Discard { which: Which::default(), ask: ours() }), "name an ID"),
        (listing::writes(WritesCommand::Show { asked: "a/b?c".to_owned(), body: false, ask: ours() }), "\"a/b?c\""),
    ] {
        let failure = result.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains(said), "{failure}");
    }
}

/// Something that answers everything so, and closes.
fn stranger(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

/// All commands that ask.
fn asking(admin: &str) -> Vec<(String, Result<ExitCode, Failure>)> {
    let commands = [
        "status",
        "peers",
        "services",
        "services resume tx",
        "writes ls",
        "writes show 1",
        "quarantine ls",
        "quarantine show 1",
        "quarantine applied 1",
        "quarantine resend --service tx --yes",
        "quarantine discard --service tx",
        "identity invite store",
    ];
    let run = |words: &str| {
        let words = format!("holdfast {words} --admin {admin}");
        let arguments = Arguments::try_parse_from(words.split(' ')).unwrap();
        (words.clone(), execute(arguments.command))
    };
    commands.into_iter().map(run).collect()
}

#[test]
fn what_answers_and_is_no_appliance_is_told_apart() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{\"done\":true}",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 99\r\n\r\n{\"title\":\"Nope\"}",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>",
    ];
    for answer in answers {
        for (words, result) in asking(&stranger(answer)) {
            let failure = result.expect_err(&words);
            assert_eq!(failure.exit, Exit::Usage, "{words}: {failure}");
            assert!(failure.to_string().contains("no admin listener of holdfast"), "{words}: {failure}");
        }
    }
}

#[test]
fn where_nobody_answers_a_command_says_what_to_do_and_may_be_tried_again() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (words, result) in asking(&format!("http://{nobody}")) {
        let failure = result.expect_err(&words);
        assert_eq!(failure.exit, Exit::TryAgain, "{words}: {failure}");
        for part in ["no appliance answers at http://127.0.0.1:", "systemctl start holdfast", "--admin"] {
            assert!(failure.to_string().contains(part), "{words}: {failure}");
        }
    }
}

/// What an appliance, or whoever speaks in its place, says of an error.
#[test]
fn what_an_error_says_is_one_line_and_steers_no_terminal() {
    let body = "{\"title\":\"a\u{1b}[2J\\nb\",\"code\":\"c\u{202e}\",\"detail\":\"d\u{9b}31m\u{7}\"}";
    let text = format!(
        "HTTP/1.1 409 Conflict\r\nHoldfast-Admin: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // A sign that steers has no place in JSON as it is; so it is written out, as a service would.
    let text = text.replace('\u{1b}', "\\u001b").replace('\u{7}', "\\u0007");
    let length = text.split_once("\r\n\r\n").unwrap().1.len();
    let text = text.replace(&format!("Length: {}", body.len()), &format!("Length: {length}"));
    for (words, result) in asking(&stranger(text.leak())) {
        let said = result.expect_err(&words).to_string();
        assert!(said.contains("a\\u{1b}[2J\\u{a}b (c\\u{202e}): d\\u{9b}31m\\u{7}"), "{words}: {said:?}");
    }
}

#[test]
fn the_unit_starts_the_binary_as_it_is() {
    let value = |key: &str| UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let words = value("ExecStart").split(' ');
    Arguments::try_parse_from(words).unwrap();
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("RestartPreventExitStatus"), format!("{} {}", Exit::Usage as u8, Exit::Config as u8));
    assert_eq!(value("Restart"), "on-failure");
    assert!(UNIT.contains("\nRestartSec=") && UNIT.contains("\nStartLimitIntervalSec=0\n"), "it is started for ever");
}

#[test]
fn the_manifest_matches_arguments_ports_and_paths() {
    let (_, text) = MANIFEST.split_once("  holdfast.toml: |\n").unwrap();
    let (text, _) = text.split_once("---\n").unwrap();
    let text: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let env = |name: &str| (name == "HOLDFAST_TOKEN").then(|| "0123456789abcdef".to_owned());
    let config = Config::parse(&text, "holdfast.yaml", Path::new("/etc/holdfast"), &env).unwrap();
    for line in [
        format!("containerPort: {}", config.gateway.listen[0].port()),
        format!("containerPort: {}", config.admin.listen.port()),
        format!("mountPath: {} }}", config.data_dir.display()),
        "args: [\"run\", \"--config\", \"/etc/holdfast/holdfast.toml\"]".to_owned(),
        "path: /health/ready, port: admin".to_owned(),
        "path: /health/live, port: admin".to_owned(),
    ] {
        assert!(MANIFEST.contains(&line), "{line}");
    }
    Arguments::try_parse_from(["holdfast", "run", "--config", "/etc/holdfast/holdfast.toml"]).unwrap();
}

#[test]
fn failures_have_the_codes_of_the_design() {
    let code = |words: &str| {
        let arguments = Arguments::try_parse_from(words.split(' ')).unwrap();
        execute(arguments.command).unwrap_err().exit as u8
    };
    assert_eq!(code("holdfast run --config nowhere.toml"), 78);
    assert_eq!(code("holdfast run --site a --upstream x --listen 127.0.0.1:0"), 78);
    assert_eq!(code("holdfast status --admin nonsense"), 64);
}

/// Every `holdfast …` of the documents, in the text and in blocks, with where it stands.
fn documented() -> Vec<(String, String)> {
    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => files(&entry, found),
                false => found.push(entry),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    files(&root.join("docs"), &mut found);
    let mut commands = Vec::new();
    for file in found.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "md")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let of_blocks = text.lines().filter_map(|line| line.strip_prefix("    ")).flat_map(|line| line.split(" && "));
        let of_text = text.split('`').skip(1).step_by(2);
        let place = file.strip_prefix(root).unwrap().display().to_string();
        let of_holdfast = of_blocks
            .chain(of_text)
            .map(|text| text.replace('\n', " "))
            .filter(|text| text.starts_with("holdfast ") && !text.contains('…'));
        commands.extend(of_holdfast.map(|command| (place.clone(), command)));
    }
    commands
}

#[test]
fn every_command_of_the_documents_exists() {
    use clap::error::ErrorKind;
    let commands = documented();
    assert!(commands.len() > 30, "{commands:?}");
    for (place, command) in commands {
        let end = [" #", " | "].iter().filter_map(|end| command.find(end)).min().unwrap_or(command.len());
        let words = command[..end].split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        if let Err(error) = Arguments::try_parse_from(words) {
            // The text may name a command without all that it needs.
            let is_named = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::DisplayHelp
            );
            assert!(is_named, "{place}: {command}: {error}");
        }
    }
}
