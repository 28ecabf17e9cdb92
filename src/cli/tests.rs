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
